"""From the command line's flat names to the fields of a pipeline's form: `-p learning_rate=…` goes into `advanced`."""

from collections.abc import Collection, Mapping
from typing import Any, get_origin

from components.core.errors import UserError
from components.core.parameters import ADVANCED, DECLARED, NO_LIMIT, PLANNED, TIME_LIMIT, Form, Parameter, near
from components.core.tasks.parameters import forms, settings_of
from pipelines.runner.ir import pipeline as ir
from pipelines.runner.ir.parameters import from_text
from pipelines.runner.ir.pipeline import MISSING

_TYPES = {str: "STRING", int: "NUMBER_INTEGER", float: "NUMBER_DOUBLE", bool: "BOOLEAN", list: "LIST", dict: "STRUCT"}


def form_of(pipeline: str, inputs: Collection[str]) -> Form | None:
    """The form of a compiled pipeline: of one of ours that has the fields which this version gives it, else None."""
    # KFP writes `retrain_segmentation` as `retrain-segmentation`.
    form = next((form for name, form in forms().items() if name.replace("_", "-") == pipeline), None)
    return form if form and set(inputs) == {*form.fields, ADVANCED} else None


def boxed(pipeline: str, given: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """The pipeline that does the search `pipeline` within a time box, where `given` has a limit of time; else itself.

    -1 and 0 are no limit, and are taken out.

    Args:
        pipeline: a pipeline's name.
        given: name → text of the command line.

    Raises:
        UserError: the task has no search within a time box.
    """
    form = forms().get(pipeline)
    name = next((one for one in (TIME_LIMIT, DECLARED[TIME_LIMIT].field) if one in given), None)
    if form is None or form.kind != "optimize" or name is None:
        return pipeline, dict(given)
    try:
        unlimited = float(given[name]) in (NO_LIMIT, 0.0)
    except ValueError:
        unlimited = False  # the form says what is wrong
    if unlimited:
        return pipeline, {one: text for one, text in given.items() if one != name}
    racing = next((one for one in forms().values() if one.kind == "race" and one.task == form.task), None)
    if racing is None:
        raise UserError(
            f"{name}: there is no search within a time limit for {form.task}; leave it out, and give epochs instead"
        )
    return racing.pipeline, dict(given)


def name_and_inputs(spec: Mapping[str, Any]) -> tuple[str, Collection[str]]:
    """The name of a compiled pipeline and the names of its parameters; of anything else, nothing."""
    try:
        return str(spec["pipelineInfo"]["name"]), list(spec["root"]["inputDefinitions"]["parameters"])
    except (KeyError, TypeError):
        return "", []


def form_arguments(form: Form, given: Mapping[str, str]) -> dict[str, Any]:
    """Values of the form's fields, as far as something is given for them.

    Args:
        given: name → text of the command line; the name is a parameter's flat name, a field's, or `advanced`.

    Raises:
        UserError: an unknown name, a wrong type, a parameter that is given twice, or a value that the first task of the
            pipeline would refuse.
    """
    flat = {parameter.name: parameter for parameter in form.parameters}
    fields: dict[str, Any] = {}
    advanced: dict[str, Any] = {}
    said: dict[str, str] = {}
    for name, text in given.items():
        if name == ADVANCED:
            value = typed(text, dict, name)
            if value is not MISSING:
                _refuse_twice(said, {key: f"{ADVANCED} with {key!r}" for key in value})
                advanced |= value
            continue
        parameter = form.fields.get(name) or flat.get(name)
        if parameter is None and form.kind == "race" and name in PLANNED:
            raise UserError(f"{name} cannot be given together with {TIME_LIMIT}, which plans it; give one of the two")
        if parameter is None:
            known = sorted({*flat, *form.fields, ADVANCED})
            raise UserError(f"unknown parameter {name!r}{near(name, known)} (parameters: {', '.join(sorted(flat))})")
        _refuse_twice(said, {parameter.name: name})
        value = typed(text, parameter.type, name)
        if value is MISSING:
            continue
        value = parameter.check(value, called=name)
        if parameter.field:
            fields[parameter.field] = value
        else:
            advanced[parameter.name] = value
    form.resolve(fields, advanced)
    return {**fields, **({ADVANCED: advanced} if advanced else {})}


def resolved(form: Form, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The outputs of the form's first task for these inputs: every parameter under its flat name, and the settings of
    the task's parts."""
    fields = {name: value for name, value in inputs.items() if name != ADVANCED}
    values = form.resolve(fields, inputs.get(ADVANCED) or {})
    return {**values, **settings_of(form, values)}


def kfp_type(parameter: Parameter) -> str:
    """KFP's name of a parameter's type."""
    return _TYPES[get_origin(parameter.type) or parameter.type]


def typed(text: str, kind: Any, name: str) -> Any:
    """A parameter's value of that type from its text on the command line; MISSING for none given.

    Raises:
        UserError: the text says no such value.
    """
    declared = ir.Parameter(type=_TYPES[get_origin(kind) or kind], default=None, optional=True)
    return from_text(text, declared, f"parameter {name!r}")


def _refuse_twice(said: dict[str, str], more: Mapping[str, str]) -> None:
    for name, how in more.items():
        if name in said:
            raise UserError(f"{name} is given twice, as {said[name]} and as {how}; give it once")
        said[name] = how
