"""Checks across tasks: every reference leads somewhere, and no task waits for itself."""

from collections.abc import Mapping

from components.core.errors import UserError
from pipelines.runner.ir.pipeline import Component, Dag, FinalStatusOf, FromInput, FromTask, ParameterSource, Task

DEEPEST_NESTING = 64


def check(root: Component, components: Mapping[str, Component]) -> None:
    """Checks all DAGs that the root reaches.

    Raises:
        UserError: an unknown component, task, input or output, a cycle of tasks, or a pipeline inside itself.
    """
    _check_component(root, components, (), set())


def _check_component(
    component: Component, components: Mapping[str, Component], path: tuple[str, ...], done: set[str]
) -> None:
    if component.dag is None or component.name in done:
        return
    if component.name in path:
        raise UserError(f"the pipeline {component.name!r} contains itself: {' → '.join([*path, component.name])}")
    if len(path) >= DEEPEST_NESTING:
        raise UserError(f"pipelines are nested more than {DEEPEST_NESTING} deep at {component.name!r}")
    for task in component.dag.tasks.values():
        if task.component not in components:
            raise UserError(f"task {task.name!r} refers to the unknown component {task.component!r}")
        _check_task(task, component, components)
    _check_outputs(component, components)
    _check_order(component.name, component.dag)
    for name in dict.fromkeys(task.component for task in component.dag.tasks.values()):
        _check_component(components[name], components, (*path, component.name), done)
    done.add(component.name)


def _check_task(task: Task, parent: Component, components: Mapping[str, Component]) -> None:
    assert parent.dag is not None
    where = f"task {task.name!r}"
    for other in task.dependencies:
        if other not in parent.dag.tasks:
            raise UserError(f"{where} depends on the unknown task {other!r}")
    for name, item in task.parameters.items():
        _check_parameter(f"{where}, input {name!r}", item, parent, components)
    _check_condition(where, task)
    for name, source in task.artifacts.items():
        known = parent.input_artifacts if isinstance(source, FromInput) else _outputs(source, parent, components)[1]
        key = source.name if isinstance(source, FromInput) else source.key
        if key not in known:
            raise UserError(f"{where}, input {name!r}, refers to the artifact {key!r}, which does not exist")
    target = components[task.component]
    if task.retry and target.dag is not None:
        raise UserError(f"{where}: retries of a nested pipeline are not supported by the local runner")
    if task.iterator is None:
        given = set(task.parameters)
    else:
        given = {*task.parameters, task.iterator.item}
        over = task.parameters if task.iterator.over == "parameters" else task.artifacts
        if task.iterator.items is None and task.iterator.items_input not in over:
            raise UserError(f"{where} iterates over the unknown input {task.iterator.items_input!r}")
    if target.dag is None:
        for name, parameter in target.input_parameters.items():
            if name not in given and not parameter.optional:
                raise UserError(f"{where} does not give the input {name!r} that {target.name!r} needs")


def _check_condition(where: str, task: Task) -> None:
    for name in task.condition.parameters if task.condition else ():
        if name not in task.parameters:
            given = ", ".join(task.parameters) or "none"
            raise UserError(
                f"{where}: its condition asks for the input {name!r}, which it is not given (given: {given})"
            )


def _check_parameter(where: str, item: ParameterSource, parent: Component, components: Mapping[str, Component]) -> None:
    match item.source:
        case FromInput(name=name) if name not in parent.input_parameters:
            raise UserError(f"{where}, refers to the pipeline input {name!r}, which does not exist{_hint(name)}")
        case FromTask() as source if source.key not in _outputs(source, parent, components)[0]:
            raise UserError(f"{where}, refers to the output {source.key!r} of {source.task!r}, which does not exist")
        case FinalStatusOf(task=task):
            assert parent.dag is not None
            assert task in parent.dag.tasks, "it is a dependency, checked before"


def _hint(name: str) -> str:
    if "-subvar-" not in name and "loop-item" not in name:
        return ""
    # A flaw of every SDK from 2.0 to 2.17; KFP's driver says "parent DAG does not have input parameter".
    return (
        " (the SDK writes this where an f-string holds a part of a loop item, as in f'{item.a}', and a cluster cannot "
        "run it either: give item.a to the component as an input of its own)"
    )


def _outputs(
    source: FromTask, parent: Component, components: Mapping[str, Component]
) -> tuple[Mapping[str, object], Mapping[str, object]]:
    assert parent.dag is not None
    if source.task not in parent.dag.tasks:
        raise UserError(f"an output of {parent.name!r} refers to the unknown task {source.task!r}")
    name = parent.dag.tasks[source.task].component
    if name not in components:
        raise UserError(f"task {source.task!r} refers to the unknown component {name!r}")
    return components[name].output_parameters, components[name].output_artifacts


def _check_outputs(component: Component, components: Mapping[str, Component]) -> None:
    assert component.dag is not None
    for side, outputs in enumerate((component.dag.output_parameters, component.dag.output_artifacts)):
        for name, sources in outputs.items():
            for source in sources:
                if source.key not in _outputs(source, component, components)[side]:
                    raise UserError(
                        f"output {name!r} of {component.name!r} refers to {source.key!r} of {source.task!r}, "
                        "which does not exist"
                    )


def _check_order(name: str, dag: Dag) -> None:
    """Kahn's algorithm: what never becomes ready waits, in the end, for itself."""
    waiting = {task.name: len(task.dependencies) for task in dag.tasks.values()}
    followers: dict[str, list[str]] = {task: [] for task in waiting}
    for task in dag.tasks.values():
        for other in task.dependencies:
            followers[other].append(task.name)
    ready = [task for task, count in waiting.items() if count == 0]
    while ready:
        for follower in followers[ready.pop()]:
            waiting[follower] -= 1
            if waiting[follower] == 0:
                ready.append(follower)
    stuck = sorted(task for task, count in waiting.items() if count)
    if stuck:
        raise UserError(f"the tasks of {name!r} wait for each other in a circle: {', '.join(stuck[:6])}")
