"""Inputs of one task of a compiled pipeline, as far as they are known before it runs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from components.core.component_names import base_name
from components.core.errors import UserError
from components.core.results.loaded_files import loaded_files
from pipelines.cluster.sections import near
from pipelines.runner.ir.pipeline import MISSING, Parameter
from pipelines.runner.reading.fields import Fields
from pipelines.runner.reading.reader import read_parameter

LAUNCHER = "core/training/launch.py"
"""File of the module that a stage imports to train in several processes."""

LATER: Any = object()
"""A value that another task gives, or a loop: known when the pipeline runs."""


Outputs = Mapping[str, Mapping[str, Any]]
NONE_KNOWN: Outputs = {}


@dataclass(frozen=True, kw_only=True)
class Producer:
    """The component and its output that an input artifact is."""

    component: str
    output: str


@dataclass(frozen=True, kw_only=True)
class GivenTask:
    """A task that runs in a container.

    name: as the UI shows it; path: its name in its DAG. component: its function's name. executor: its label.
    parameters: name → value or `LATER`, defaults filled in; what has neither is left out.
    producers: input artifact → who makes it, None if that is not known. types: input or output artifact → KFP's type.
    """

    name: str
    path: str
    component: str
    executor: str
    declared: Mapping[str, Parameter]
    parameters: Mapping[str, Any]
    producers: Mapping[str, Producer | None]
    types: Mapping[str, str]
    outputs: tuple[str, ...]


def find_training_task(
    spec: Mapping[str, Any], wanted: str, values: Mapping[str, Any], outputs: Outputs = NONE_KNOWN
) -> GivenTask:
    """The task of that name that can train in several processes: its stage is one of ours that starts them.

    Args:
        spec: a compiled pipeline.
        wanted: a task's name in the pipeline or as the UI shows it; `fine_tune` and `fine-tune` are the same.
        values: the pipeline's parameters, defaults filled in.
        outputs: what tasks will give that is known already: component → output parameter → value.

    Raises:
        UserError: there is none, or there are several.
    """
    tasks = [task for task in tasks_of(spec, values, outputs) if _trains_in_several(task)]
    names = sorted({task.name for task in tasks})
    for said in ("name", "path"):
        found = [task for task in tasks if _folded(getattr(task, said)) == _folded(wanted)]
        if len(found) == 1:
            return found[0]
        if found:
            raise UserError(f"{len(found)} tasks are called {wanted!r}; trimtab trainjob needs a unique name")
    listed = f"; give one that does: {', '.join(names)}" if names else ""
    raise UserError(f"no task called {wanted!r} trains in several processes{near(wanted, names)}{listed}")


def _trains_in_several(task: GivenTask) -> bool:
    stage = find_spec(f"components.{task.component}")
    if "num_processes" not in task.declared or stage is None:
        return False
    return any(LAUNCHER in loaded_files(Path(folder)) for folder in stage.submodule_search_locations or ())


def tasks_of(spec: Mapping[str, Any], values: Mapping[str, Any], outputs: Outputs = NONE_KNOWN) -> Iterator[GivenTask]:
    """Every task that runs in a container, in whatever DAG."""
    yield from _walk(spec, spec["root"]["dag"], values, {}, outputs)


def _walk(
    spec: Mapping[str, Any],
    dag: Mapping[str, Any],
    parameters: Mapping[str, Any],
    artifacts: Mapping[str, Producer | None],
    outputs: Outputs,
) -> Iterator[GivenTask]:
    for path, task in dag.get("tasks", {}).items():
        component = spec["components"][task["componentRef"]["name"]]
        inputs = component.get("inputDefinitions", {})
        fields = Fields(component, path).group("inputDefinitions")
        declared = {name: read_parameter(item, name) for name, item in fields.groups("parameters")}
        sources = task.get("inputs", {})
        known = _known(dag, outputs)
        given = {name: _value(source, parameters, known) for name, source in sources.get("parameters", {}).items()}
        if "parameterIterator" in task:
            given[task["parameterIterator"]["itemInput"]] = LATER
        given = {name: given.get(name, MISSING) for name in {**declared, **given}}
        given = {name: _or_default(value, declared.get(name)) for name, value in given.items()}
        given = {name: value for name, value in given.items() if value is not MISSING}
        made_by = {
            name: _producer(spec, dag, source, artifacts) for name, source in sources.get("artifacts", {}).items()
        }
        if "dag" in component:
            yield from _walk(spec, component["dag"], given, made_by, outputs)
            continue
        made = component.get("outputDefinitions", {}).get("artifacts", {})
        yield GivenTask(
            name=task.get("taskInfo", {}).get("name", path), path=path, executor=component.get("executorLabel", ""),
            component=_plain(task["componentRef"]["name"]), declared=declared, parameters=given, producers=made_by,
            types={name: item["artifactType"].get("schemaTitle", "")
                   for name, item in {**inputs.get("artifacts", {}), **made}.items()},
            outputs=tuple(made),
        )  # fmt: skip


def _known(dag: Mapping[str, Any], outputs: Outputs) -> Outputs:
    """The outputs by the names of this DAG's tasks."""
    return {
        path: outputs[component]
        for path, task in dag.get("tasks", {}).items()
        if (component := _plain(task["componentRef"]["name"])) in outputs
    }


def _value(source: Mapping[str, Any], outer: Mapping[str, Any], known: Outputs) -> Any:
    if "runtimeValue" in source:
        constant = source["runtimeValue"].get("constant", LATER)
        return LATER if isinstance(constant, str) and "{{$" in constant else constant
    if "componentInputParameter" in source and "parameterExpressionSelector" not in source:
        return outer.get(source["componentInputParameter"], MISSING)
    made = source.get("taskOutputParameter", {})
    return known.get(made.get("producerTask", ""), {}).get(made.get("outputParameterKey", ""), LATER)


def _or_default(value: Any, declared: Parameter | None) -> Any:
    return declared.default if value is MISSING and declared is not None else value


def _producer(
    spec: Mapping[str, Any],
    dag: Mapping[str, Any],
    source: Mapping[str, Any],
    outer: Mapping[str, Producer | None],
) -> Producer | None:
    if "componentInputArtifact" in source:
        return outer.get(source["componentInputArtifact"])
    made = source.get("taskOutputArtifact")
    if not made or made.get("producerTask") not in dag["tasks"]:
        return None
    name = dag["tasks"][made["producerTask"]]["componentRef"]["name"]
    inner = spec["components"][name].get("dag")
    if inner is None:
        return Producer(component=_plain(name), output=made["outputArtifactKey"])
    selectors = inner.get("outputs", {}).get("artifacts", {}).get(made["outputArtifactKey"], {})
    handed_on = selectors.get("artifactSelectors", [])
    if len(handed_on) != 1:
        return None
    selected = {
        "producerTask": handed_on[0].get("producerSubtask"), "outputArtifactKey": handed_on[0].get("outputArtifactKey"),
    }  # fmt: skip
    return _producer(spec, inner, {"taskOutputArtifact": selected}, {})


def _plain(component: str) -> str:
    """`comp-fine-tune-2-2` → `fine_tune`: the compiler numbers a component that is there twice, in each pipeline."""
    return base_name(component.removeprefix("comp-")).replace("-", "_")


def _folded(name: str) -> str:
    return name.lower().replace("_", "-").replace(" ", "-")
