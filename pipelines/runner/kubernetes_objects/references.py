"""Which tasks refer to which Kubernetes objects; a name may be known only when the task starts."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from components.core.errors import UserError
from pipelines.runner.ir.pipeline import MISSING, Component, Constant, Container, FromInput, Pipeline, Task
from pipelines.runner.ir.settings import Name


@dataclass(frozen=True, kw_only=True)
class TaskReferences:
    """A task that runs code. `known` are its known inputs, `names` the known names of the objects it refers to."""

    name: str
    container: Container
    known: Mapping[str, Any]
    names: Mapping[Name, str]


def references_of(pipeline: Pipeline, values: Mapping[str, Any]) -> Iterator[TaskReferences]:
    """Every task of the pipeline, once for each set of known inputs.

    Args:
        pipeline: what is to run.
        values: its parameters.

    Raises:
        UserError: the name of an object comes from somewhere that is not there.
    """
    yield from _inside(pipeline.root, pipeline, values, set())


def _inside(
    component: Component, pipeline: Pipeline, known: Mapping[str, Any], seen: set[str]
) -> Iterator[TaskReferences]:
    assert component.dag is not None
    # Also what keeps a hostile file, where each of 64 levels uses the next one twice, from taking for ever.
    case = f"{component.name} {json.dumps(known, sort_keys=True, default=str)}"
    if case in seen:
        return
    seen.add(case)
    for task in component.dag.tasks.values():
        target = pipeline.components[task.component]
        inner = _known_inputs(task, target, known)
        if target.dag is not None:
            yield from _inside(target, pipeline, inner, seen)
        if target.container is None:
            continue
        names = {}
        for name in target.container.settings.names:
            _check(name, task, component)
            text = name.text or known.get(name.input)
            if isinstance(text, str) and text:
                names[name] = text
        yield TaskReferences(name=task.display_name, container=target.container, known=inner, names=names)


def _known_inputs(task: Task, target: Component, known: Mapping[str, Any]) -> dict[str, Any]:
    found = {
        name: port.default
        for name, port in target.input_parameters.items()
        if port.default is not MISSING and name not in task.parameters
    }
    for name, item in task.parameters.items():
        match item.source:
            case Constant(value=value) if "{{$" not in json.dumps(value, default=str):
                found[name] = value
            case FromInput(name=key) if item.selector is None and key in known:
                found[name] = known[key]
    return found


def _check(name: Name, task: Task, parent: Component) -> None:
    if name.input and name.input not in parent.input_parameters:
        raise UserError(f"task {task.name!r} names an object by the input {name.input!r}, which does not exist")
    if name.task and name.task not in task.dependencies:
        raise UserError(
            f"task {task.name!r} names an object by an output of {name.task!r}, but does not wait for that task"
        )
