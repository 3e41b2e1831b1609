"""KFP face of the preflight check: the first, cheap task of every pipeline.

Each form has a component of its own, since KFP wants to know every input and output by name and type. They are one
function with other signatures: `preflight`, and `preflight__PIPELINE` for the pipelines beside the first.
"""

import inspect
from collections.abc import Mapping
from functools import cache
from typing import Any, List, NamedTuple

from kfp import dsl

from components.core.parameters import ADVANCED, TIME_LIMIT, Form
from components.core.parameters.form import SETTINGS
from components.core.tasks.parameters import FIRST, forms
from components.images import BASE_IMAGE, DATA_IMAGE, TRAIN_IMAGE

_FACTS = {
    "task": str, "recipes": List[dict], "parts": List[dict], "dataset_state": str,
    **dict.fromkeys(SETTINGS.values(), dict),
}  # fmt: skip


def facts_of(form: Form) -> dict[str, Any]:
    """The outputs of the check beside the parameters, with their types.

    The form's task; one recipe for each way to compress; one entry for each part of the data; digests that change when
    the files do, for the cache keys of the stages that read them; the task's own parameters by the part that they go
    to. Of a given network its classes. Of a search in a time box its end, in seconds of Unix time; there is one recipe
    then, for what all candidates have in common.
    """
    if form.kind == "compress":
        return _FACTS | {"model_state": str, "classes": List[str]}
    return _FACTS | {"catalog_state": str, "prunes": bool} | ({"deadline": float} if form.kind == "race" else {})


def _check(form: Form, given: Mapping[str, Any]) -> dict[str, Any]:
    import time

    from components.core.data.ingestion.sources import quick_look, source_state
    from components.core.data.slices import parse_slice_columns
    from components.core.store.names import check_name
    from components.core.tasks import get_task
    from components.core.tasks.parameters import settings_of
    from components.preflight import plan

    began = time.time()
    fields = {name: value for name, value in given.items() if name != ADVANCED}
    asked = form.resolve(fields, given.get(ADVANCED) or {})
    settings = settings_of(form, asked)
    # A mistake in the data parameters is said before a large model is read.
    rows = get_task(form.task).rows.with_options(settings["data_settings"])
    for name in {"release_name", "champion"} & set(asked):
        check_name(asked[name], what=name)
    recipes = plan.plan_recipes(
        asked.get("prune_targets", [1.0]),
        student_size=asked.get("student_size", 0),
        price=asked.get("prune_price", "macs"),
        more=form.recipe(asked),
    )
    network = _check_given(form, asked, settings) if form.kind == "compress" else _check_backbones(form, asked)
    rows = rows.with_options(settings["data_settings"])

    slices, allowed = parse_slice_columns(asked["slice_columns"]), asked.get("allow_paths", [])
    quick_look(asked["dataset"], rows, slice_columns=slices, allow_paths=allowed)

    timed = {}
    if form.kind == "race":
        timed["deadline"] = began + 60 * asked[TIME_LIMIT]
        print(
            f"a time box of {asked[TIME_LIMIT]:g} minutes; recipes are planned once a training step has been measured"
        )
    else:
        print(f"{len(recipes)} recipes: {'; '.join(recipe.name for recipe in recipes)}")
    return {
        **asked,
        **timed,
        **network,
        "task": form.task,
        "recipes": [recipe.to_json() for recipe in recipes],
        "parts": plan.plan_parts(asked["data_parts"]),
        "dataset_state": source_state(asked["dataset"], rows, allow_paths=allowed),
        **settings,
    }


def _check_given(form: Form, asked: Mapping[str, Any], settings: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Facts about the network that the user has trained; its classes become an option of the rows."""
    from components.core.store import store_from_environment
    from components.preflight.given_network import check_given_network

    found = check_given_network(asked, store_from_environment(), task=form.task, settings=settings["network_settings"])
    if found.classes:
        settings["data_settings"]["classes"] = list(found.classes)
    print(f"model {asked['model']}: {len(found.classes)} classes, sha256 {found.state[:12]}")
    return {"model_state": found.state, "classes": list(found.classes)}


def _check_backbones(form: Form, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Facts about the backbones that a search starts from."""
    from components.core.models.catalog import (
        catalog_state,
        check_task,
        check_weights_available,
        find_backbone,
        load_catalog,
    )
    from components.core.parameters import limit
    from components.core.tasks import get_task
    from components.preflight import plan

    known = load_catalog(asked["catalog"] or None)
    found = [find_backbone(name, known) for name in plan.distinct_names(asked["backbones"])]
    for backbone in found:
        check_task(backbone, form.task)
        check_weights_available(backbone)
    get_task(form.task).candidates(found, form.settings(asked)["network_settings"])
    targets = asked.get("prune_targets")
    # A fraction of the time bounds neither MACs nor size.
    if targets and asked.get("prune_price", "macs") == "macs" and not asked.get("prune_to_fit", False):
        plan.check_size_budget(
            max_size_mb=limit(asked["max_size_mb"]),
            parameters={backbone.name: backbone.parameters for backbone in found},
            prune_targets=targets,
        )
    names = [backbone.name for backbone in found]
    print(f"backbones: {', '.join(names)}")
    return {
        "backbones": names,
        "catalog_state": catalog_state(asked["catalog"] or None),
        "prunes": not targets or min(targets) < 1 or asked.get("prune_to_fit", False),
    }


@cache
def preflight_of(pipeline: str) -> Any:
    """The component that checks the form of this pipeline.

    In: the form's fields and `advanced`. Out: one typed output per parameter under its flat name, whether it is a field
    or advanced, and `facts_of` it. So a later task depends on the parameters that it takes, and on no others.

    Raises:
        KeyError: no such pipeline.
    """
    form = forms()[pipeline]
    outputs = NamedTuple("Checked", [(one.name, one.type) for one in form.parameters] + list(facts_of(form).items()))  # type: ignore[misc]

    def check(**given: Any) -> Any:
        return outputs(**_check(form, given))

    inputs = {name: (one.type, one.default) for name, one in form.fields.items()} | {ADVANCED: (dict, {})}
    check.__name__ = "preflight" if pipeline == FIRST else f"preflight__{pipeline}"
    check.__doc__ = _document(form)
    check.__annotations__ = {name: kind for name, (kind, _) in inputs.items()} | {"return": outputs}
    check.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=default)
            for name, (kind, default) in inputs.items()
        ],
        return_annotation=outputs,
    )
    # A network is built, and its tensors are put in their places: that needs torch.
    image = TRAIN_IMAGE if form.kind == "compress" else DATA_IMAGE
    component = dsl.component(check, base_image=BASE_IMAGE, target_image=image)
    # The stage is the same in each pipeline, and so is its name in the UI, in the journal and in the compiled YAML.
    component.component_spec.name = "preflight"
    return component


def _document(form: Form) -> str:
    fields = "\n".join(f"    {name}: {one.described}" for name, one in form.fields.items())
    return (
        "Checks every parameter, and refuses in one line what cannot work.\n\n"
        "A mistake in a parameter of the last stage then costs seconds, not the hours of the stages before it.\n\n"
        f"Args:\n{fields}\n    {ADVANCED}: All other parameters by name, as a JSON object.\n"
    )


def __getattr__(name: str) -> Any:
    """`preflight__PIPELINE`, by which KFP's executor asks for the function that it is to execute."""
    _, _, pipeline = name.partition("preflight__")
    if pipeline in forms():
        return preflight_of(pipeline)
    raise AttributeError(name)


preflight = preflight_of(FIRST)
for _pipeline in forms():
    # KFP's build of an image lists the components that the import of this file has made.
    preflight_of(_pipeline)
