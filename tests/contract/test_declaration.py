"""Every stage holds to the declared parameters: names, defaults and rules.

Which input of which stage is which parameter is read from the compiled pipelines, so that a new stage or parameter
needs no edit here. A stage is asked by calling it: it must refuse a value that the declaration refuses, before it opens
the store or reads an artifact, and take every other.
"""

import importlib
import inspect
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
import yaml

from components.core.errors import UserError
from components.core.parameters import Parameter, Range
from components.core.parameters.form import SETTINGS
from components.core.tasks.parameters import forms
from pipelines.cli.catalog import COMPILED
from pipelines.cluster.task_inputs import tasks_of

FACTS = {
    "task", "recipes", "parts", "dataset_state", "catalog_state", "model_state", "classes", "prunes", "deadline",
    *SETTINGS.values(),
}  # fmt: skip
"""Outputs of the first task that are no parameters."""


class Mark(str):
    """Stands for an output of the first task while a compiled pipeline is walked."""


class GoesToWork(Exception):  # noqa: N818  (not an error)
    """A stage has checked its parameters and goes to work."""


class _Artifact:
    metadata: Mapping[str, Any] = {}

    @property
    def path(self) -> str:
        raise GoesToWork


def uses() -> set[tuple[str, str, str, str]]:
    """(pipeline, stage, the stage's input, parameter) for every parameter that any task of any pipeline takes."""
    found = set()
    for pipeline, form in forms().items():
        spec = next(yaml.safe_load_all((COMPILED / f"{pipeline}.yaml").read_text()))
        marks = {name: Mark(name) for name in (*(one.name for one in form.parameters), *FACTS)}
        for task in tasks_of(spec, {}, {"preflight": marks}):
            given = [(name, value) for name, value in task.parameters.items() if isinstance(value, Mark)]
            found |= {(pipeline, task.component, name, str(value)) for name, value in given}
    return found


USES = uses()
PARAMETERS = {one.name: one for name in reversed(forms()) for one in forms()[name].parameters}
"""By name. Where tasks differ in a default it is that of classification, the first: a stage has the same."""
ALONE = sorted({(stage, name, parameter) for _, stage, name, parameter in USES if parameter not in FACTS})


def stage_function(stage: str) -> Any:
    component = getattr(importlib.import_module(f"components.{stage}.component"), stage)
    return inspect.unwrap(component.python_func)


@pytest.mark.parametrize("pipeline", forms())
def test_every_parameter_is_taken_by_a_stage_and_every_value_comes_from_the_first_task(pipeline):
    taken = {parameter for where, _, _, parameter in USES if where == pipeline}
    by_part = {one.name for one in forms()[pipeline].parameters if one.part}
    # These make the recipes and the parts; the first task reads the labels and gives the classes.
    names = {one.name for one in forms()[pipeline].parameters}
    made = {"prune_targets", "student_size", "data_parts"} | (
        {"labels"} if forms()[pipeline].kind == "compress" else set()
    )
    assert names - taken - by_part == made & names
    assert "recipes" in taken
    spec = next(yaml.safe_load_all((COMPILED / f"{pipeline}.yaml").read_text()))
    checked = spec["root"]["dag"]["tasks"]["run"]["componentRef"]["name"]
    asking = spec["components"][checked]["dag"]["tasks"]
    assert "preflight" in asking
    for name, task in asking.items():
        unchecked = [one for one in task["inputs"].get("parameters", {}).values() if "componentInputParameter" in one]
        assert bool(unchecked) is (name == "preflight"), name


@pytest.mark.parametrize(("stage", "name", "parameter"), ALONE, ids=lambda one: str(one))
def test_a_stage_has_the_declared_default(stage, name, parameter):
    default = inspect.signature(stage_function(stage)).parameters[name].default
    if default is inspect.Parameter.empty:
        return
    # One input may be several parameters: the epochs of fine-tuning are also those of the baseline and the champion's.
    others = {one for where, called, one in ALONE if (where, called) == (stage, name)}
    expected = PARAMETERS[name if name in others else parameter].default
    assert default == expected
    assert type(default) is type(expected)


def probes(parameter: Parameter) -> Iterator[tuple[Any, bool]]:
    """Values at and beyond the borders of a parameter's rule, and whether they are allowed."""
    for choice in parameter.choices:
        yield choice, True
    if parameter.choices:
        yield f"{parameter.choices[0]}x", False
    rule: Range | None = parameter.rule
    if rule is None:
        return
    whole = parameter.type is int
    step = 1 if whole else 1e-6
    borders = [rule.low, *([rule.high] if rule.high < math.inf else []), *rule.also]
    for border in borders:
        for value in (border - step, border, border + step):
            yield (int(value) if whole else value), rule.holds(value)
    yield math.nan, False


def refusal(stage: str, **given: Any) -> UserError | None:
    """The stage's refusal of these parameters, the others being the declared defaults; None if it goes to work."""
    function = stage_function(stage)
    arguments: dict[str, Any] = {}
    called = {name: parameter for where, name, parameter in ALONE if where == stage}
    for name, one in inspect.signature(function).parameters.items():
        if name in given:
            arguments[name] = given[name]
        elif name in called:
            arguments[name] = PARAMETERS[called[name]].default
        elif name in ("recipe", "recipes"):
            arguments[name] = {"name": "r"} if name == "recipe" else [{"name": "r"}]
        elif get_origin(one.annotation) is list or "List[" in str(one.annotation):
            arguments[name] = [_Artifact()]
        elif one.default is inspect.Parameter.empty:
            arguments[name] = next(iter(forms().values())).task if name == "task" else _Artifact()
    try:
        function(**arguments)
    except GoesToWork:
        return None
    except UserError as error:
        return error
    raise AssertionError(f"{stage} ended without reading an input")


RULED = [(stage, name, parameter) for stage, name, parameter in ALONE if list(probes(PARAMETERS[parameter]))]


@pytest.mark.parametrize(("stage", "name", "parameter"), RULED, ids=lambda one: str(one))
def test_a_stage_refuses_what_the_declaration_refuses_and_nothing_else(stage, name, parameter, tmp_path, monkeypatch):
    monkeypatch.setenv("TRIMTAB_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    wrong = []
    for value, allowed in probes(PARAMETERS[parameter]):
        others = {"large_label_shift": 1.0, "large_feature_drift": 1.0, "label_shift": 0.0, "feature_drift": 0.5}
        steady = {"validation_fraction": 1e-7, "test_fraction": 1e-7, "batch_size": 64}
        here = inspect.signature(stage_function(stage)).parameters
        around = {one: at for one, at in {**others, **steady}.items() if one in here and one != name}
        refused = refusal(stage, **around, **{name: [value] if get_args(PARAMETERS[parameter].type) else value})
        if refused is not None and re.search(
            r"leave \d+%", str(refused)
        ):  # a share that is valid and leaves nothing to train on
            refused = None
        if refused is not None and "divisor of batch_size" in str(refused) and parameter == "num_processes":
            refused = None
        if refused is not None and "there is no champion" in str(refused):  # incumbent has gone to work
            refused = None
        if (refused is None) is not allowed:
            wrong.append((value, allowed, str(refused)))
        assert refused is None or name in str(refused) or parameter in str(refused)
    assert not wrong


BETWEEN = [
    ({"num_processes": 3}, "num_processes must be a divisor"),
    ({"num_processes": 2, "batch_norm": "train"}, "batch_norm must be frozen"),
    ({"accumulation_steps": 2, "batch_norm": "train"}, "batch_norm must be frozen"),
    ({"validation_fraction": 0.5, "test_fraction": 0.45}, "of the data for training"),
    ({"label_shift": 0.5, "large_label_shift": 0.3}, "must be at most large_label_shift"),
    ({"feature_drift": 0.9, "large_feature_drift": 0.8}, "must be at most large_feature_drift"),
]


@pytest.mark.parametrize(("values", "message"), BETWEEN, ids=lambda one: str(one))
def test_a_stage_and_the_first_task_refuse_the_same_combinations(values, message, tmp_path, monkeypatch):
    monkeypatch.setenv("TRIMTAB_STORE", str(tmp_path / "store"))
    stages = {stage for stage, name, _ in ALONE if set(values) <= {one for at, one, _ in ALONE if at == stage}}
    assert stages
    for stage in stages:
        assert message in str(refusal(stage, **values))
    for form in forms().values():
        flat = {one.name: one for one in form.parameters}
        if set(values) <= set(flat):
            fields = {flat[name].field: value for name, value in values.items() if flat[name].field}
            with pytest.raises(UserError, match=message):
                form.resolve(fields, {name: value for name, value in values.items() if not flat[name].field})


def test_the_compiled_pipelines_are_where_the_uses_are_read_from():
    assert {stage for _, stage, _, _ in USES} >= {"data_prep", "fine_tune", "distill", "judge", "decide", "choose"}
    assert ("distill", "alpha", "distill_alpha") in ALONE
    assert len(list(Path(COMPILED).glob("*.yaml"))) == len(forms())
