"""A part of a pipeline as a pipeline of its own: one node of the graph, with its outputs under names of their own."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from kfp import dsl

import pipelines.quick_stack  # noqa: F401

Types = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Part:
    """A nested pipeline. `parameters` are those of the given ones that its tasks use."""

    component: Any
    parameters: tuple[str, ...]

    def __call__(self, given: Mapping[str, Any], **artifacts: Any) -> dsl.PipelineTask:
        """Adds it to the pipeline; `given` holds at least its parameters, by name."""
        return self.component(**artifacts, **{name: given[name] for name in self.parameters})


def part(
    name: str,
    summary: str,
    body: Callable[..., dict[str, Any] | None],
    *,
    artifacts: Types,
    parameters: Types,
    outputs: Types | None = None,
) -> Part:
    """Makes the nested pipeline.

    Args:
        body: adds the tasks. It is given the parameters by name, and each artifact under its name; it returns the
            outputs by name.
        artifacts: inputs, name → KFP's class.
        parameters: what there is, name → type; inputs are those that a task uses. An artifact of that name hides it.
        outputs: name → KFP's class.
    """
    parameters = {one: kind for one, kind in parameters.items() if one not in artifacts}
    everything = _component(name, summary, body, artifacts, parameters, outputs or {})
    used = {
        source.component_input_parameter
        for task in everything.pipeline_spec.root.dag.tasks.values()
        for source in task.inputs.parameters.values()
    }
    needed = {one: kind for one, kind in parameters.items() if one in used}
    return Part(component=_component(name, summary, body, artifacts, needed, outputs or {}), parameters=tuple(needed))


def _component(
    name: str, summary: str, body: Callable[..., Any], artifacts: Types, parameters: Types, outputs: Types
) -> Any:
    results: Any = NamedTuple("Results", list(outputs.items()))  # type: ignore[misc]

    def nested(*given: Any) -> Any:
        named = dict(zip([*artifacts, *parameters], given, strict=True))
        made = body({one: named[one] for one in parameters}, **{one: named[one] for one in artifacts})
        return results(**made) if outputs else None

    kinds = {one: dsl.Input[kind] for one, kind in artifacts.items()} | dict(parameters)
    returned = results if outputs else inspect.Signature.empty
    nested.__name__ = name.replace("-", "_")
    nested.__annotations__ = kinds | ({"return": results} if outputs else {})
    nested.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(one, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=kind)
            for one, kind in kinds.items()
        ],
        return_annotation=returned,
    )
    return dsl.pipeline(name=name, description=summary)(nested)
