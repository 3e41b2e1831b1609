"""Resolving a task's inputs: from constants, the enclosing DAG's inputs and the outputs of sibling tasks."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from components.core.errors import UserError
from pipelines.runner.ir.expressions import Condition, ExpressionError, Selector
from pipelines.runner.ir.parameters import typed
from pipelines.runner.ir.pipeline import MISSING, Component, Constant, FinalStatusOf, FromInput, FromTask, Task
from pipelines.runner.ir.placeholders import resolve, run_specific
from pipelines.runner.ir.settings import Name
from pipelines.runner.tasks.outcome import Outcome

# The words of KFP 2.17's driver, which are those of ML Metadata; there a task that was not triggered is CANCELED.
_STATES = {"succeeded": "COMPLETE", "failed": "FAILED", "cancelled": "CANCELED", "skipped": "CANCELED"}


@dataclass(kw_only=True)
class Inputs:
    """Values by name. An input that was not given is absent; an artifact is always a list, mostly of one.

    `names` are the resolved names of the secrets, config maps and volumes that the task uses, but for those whose
    input was not given.
    """

    parameters: dict[str, Any] = field(default_factory=dict)
    artifacts: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    run_specific: bool = False
    names: dict[Name, str] = field(default_factory=dict)


def resolve_inputs(
    task: Task, component: Component, scope: Inputs, done: Mapping[str, Outcome], facts: Mapping[str, str]
) -> Inputs:
    """The inputs of one task.

    Args:
        task: whose inputs to resolve.
        component: what it runs; it declares the types.
        scope: the inputs of the enclosing DAG.
        done: how the tasks ended that this one depends on.
        facts: the text of the job and task placeholders.

    Raises:
        UserError: a needed value was not produced, or is of another type than declared.
    """
    found = Inputs()
    constants: dict[str, Any] = {}
    for name, item in task.parameters.items():
        match item.source:
            case Constant(value=value):
                constants[name] = value
                continue
            case FinalStatusOf(task=other):
                value = final_status(other, done[other], facts)
                found.run_specific = True
            case FromInput(name=key):
                value = scope.parameters.get(key, MISSING)
            case FromTask(task=other, key=key):
                value = done[other].parameters.get(key, MISSING)
                _check_produced(value, name, key, other, component.input_parameters.get(name))
        if item.selector is not None and value is not MISSING:
            value = select(item.selector, value)
        _put(found, component, name, value)
    for name, source in task.artifacts.items():
        if isinstance(source, FromInput):
            artifacts = scope.artifacts.get(source.name)
        else:
            artifacts = done[source.task].artifacts.get(source.key)
            _check_produced(
                MISSING if artifacts is None else artifacts, name, source.key, source.task,
                component.input_artifacts.get(name),
            )  # fmt: skip
        if artifacts is not None:
            found.artifacts[name] = artifacts
    for name, value in constants.items():
        found.run_specific = found.run_specific or bool(run_specific(value))
        _put(found, component, name, resolve(value, executor_inputs(found), facts))
    if component.container is not None:
        wanted = [name for name in component.container.settings.names if not _was_not_given(name, scope)]
        found.names = {name: _object_name(name, scope, done) for name in wanted}
    return found


def _was_not_given(name: Name, scope: Inputs) -> bool:
    """Whether an optional input should have held the name."""
    return bool(name.input) and scope.parameters.get(name.input) is None


def _object_name(name: Name, scope: Inputs, done: Mapping[str, Outcome]) -> str:
    found = name.text or scope.parameters.get(name.input) or (name.task and done[name.task].parameters.get(name.key))
    if not isinstance(found, str) or not found:
        raise UserError(f"the name of a secret, config map or volume is missing: it is {name}")
    return found


def with_defaults(inputs: Inputs, component: Component) -> Inputs:
    """The inputs, with the component's defaults for what was not given."""
    defaults = {
        name: parameter.default
        for name, parameter in component.input_parameters.items()
        if name not in inputs.parameters and parameter.default is not MISSING
    }
    return replace(inputs, parameters={**inputs.parameters, **defaults})


def digest_of(inputs: Inputs) -> str:
    """sha256 over the parameters and the content of the artifacts: equal if a task would be given the same again."""
    contents = {name: [item.get("content", "") for item in items] for name, items in inputs.artifacts.items()}
    facts = json.dumps([inputs.parameters, contents], sort_keys=True)
    return hashlib.sha256(facts.encode()).hexdigest()


def executor_inputs(inputs: Inputs) -> dict[str, Any]:
    """The `inputs` of KFP's executor input, as placeholders see them."""
    return {
        "inputs": {
            "parameterValues": inputs.parameters,
            "artifacts": {name: {"artifacts": items} for name, items in inputs.artifacts.items()},
        }
    }


def _check_produced(value: Any, name: str, key: str, producer: str, port: Any) -> None:
    if value is MISSING and port is not None and not port.optional:
        raise UserError(f"input {name!r} needs the output {key!r} of {producer!r}, which did not produce it")


def _put(found: Inputs, component: Component, name: str, value: Any) -> None:
    if value is MISSING or value is None:
        return
    declared = component.input_parameters.get(name)
    # Names that the compiler injected for f-strings are not declared; they serve placeholders only.
    found.parameters[name] = value if declared is None else typed(value, declared.type, f"input {name!r}")


def select(selector: Selector, value: Any) -> Any:
    """The part of a loop item that a selector picks.

    Raises:
        UserError: the item has no such part.
    """
    try:
        return selector.pick(value)
    except ExpressionError as error:
        raise UserError(f"cannot pick a part of a loop item: {error}") from None


def holds(condition: Condition, inputs: Inputs) -> bool:
    """Whether a task's condition is true.

    Raises:
        UserError: it cannot be evaluated, or is neither true nor false.
    """
    try:
        return condition.holds(inputs.parameters, inputs.artifacts)
    except ExpressionError as error:
        raise UserError(f"the condition cannot be evaluated: {error}") from None


def final_status(name: str, outcome: Outcome, facts: Mapping[str, str]) -> dict[str, Any]:
    """`PipelineTaskFinalStatus` of a task that is over, as KFP 2.17 writes it.

    FAILED if a failure kept it from starting. The error is more than a cluster tells: its driver leaves it empty.
    """
    is_cached = outcome.cached and outcome.status == "succeeded"
    status: dict[str, Any] = {
        "state": "CACHED" if is_cached else "FAILED" if outcome.error else _STATES[outcome.status],
        "pipelineJobResourceName": facts["pipeline_job_resource_name"],
        "pipelineTaskName": name,
        "error": {},
    }
    if outcome.error:
        status["error"] = {"code": 3 if outcome.failure == "user" else 13, "message": outcome.error}
    return status
