"""Walks the DAG: every task is a coroutine that waits for its dependencies, then runs, loops, or descends.

Rules, which are KFP's on Kubernetes:
- a task starts when all its dependencies succeeded; if one was skipped, so is it; a task with the trigger strategy
  ALL_UPSTREAM_TASKS_COMPLETED (exit handlers, `ignore_upstream_failure`) starts when they are over, however they ended;
- after a failure no new task starts in the same DAG (but for those); what runs in it, and in other DAGs, continues;
- a task whose condition is false is skipped; a loop's iterations run at once, up to its limit.
"""

import asyncio
import json
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

from components.core.errors import UserError
from pipelines.runner.context import RunContext
from pipelines.runner.ir.parameters import typed
from pipelines.runner.ir.pipeline import Component, FromTask, Iterator, Task
from pipelines.runner.tasks.container_task import run_container
from pipelines.runner.tasks.importer import run_importer
from pipelines.runner.tasks.inputs import Inputs, holds, resolve_inputs, with_defaults
from pipelines.runner.tasks.outcome import Outcome, Position
from pipelines.runner.tasks.task_records import fail, record_skipped

_ANOTHER_FAILED = "another task failed"


class DagRun:
    """One execution of one DAG: its inputs, and how far its tasks are."""

    def __init__(self, context: RunContext, component: Component, scope: Inputs, position: Position) -> None:
        assert component.dag is not None
        self.context = context
        self.component = component
        self.dag = component.dag
        self.scope = scope
        self.position = position
        self.running: dict[str, asyncio.Task[Outcome]] = {}
        self.first_failure: Outcome | None = None
        self.failing = False

    async def run(self) -> Outcome:
        """Runs all tasks; the outcome holds the DAG's outputs as far as they were produced."""
        for name, task in self.dag.tasks.items():
            self.running[name] = asyncio.create_task(self._task(task))
        outcomes = dict(zip(self.running, await together(list(self.running.values())), strict=True))
        statuses = {outcome.status for outcome in outcomes.values()}
        status = next((status for status in ("cancelled", "failed") if status in statuses), "succeeded")
        followed = {name for task in self.dag.tasks.values() for name in task.dependencies}
        leaves = [leaf for name, outcome in outcomes.items() if name not in followed for leaf in outcome.leaves]
        return Outcome(
            status=status,
            parameters=_chosen(self.dag.output_parameters, {n: o.parameters for n, o in outcomes.items()}),
            artifacts=_chosen(self.dag.output_artifacts, {n: o.artifacts for n, o in outcomes.items()}),
            leaves=tuple(dict.fromkeys(leaves)),
            error=self.first_failure.error if self.first_failure else "",
            failure=self.first_failure.failure if self.first_failure else "",
        )

    async def _task(self, task: Task) -> Outcome:
        done = {name: await self.running[name] for name in task.dependencies}
        outcome = await self._start(task, done)
        if outcome.status == "failed":
            self._note_failure()
            self.first_failure = self.first_failure or outcome
        return outcome

    def _note_failure(self) -> None:
        self.failing = True

    async def _start(self, task: Task, done: Mapping[str, Outcome]) -> Outcome:
        after = tuple(dict.fromkeys(leaf for outcome in done.values() for leaf in outcome.leaves))
        position = replace(self.position, after=after or self.position.after)
        component = self.context.pipeline.components[task.component]
        reason = self._why_not(task, done)
        if reason:
            status = "cancelled" if self.context.stop.is_set() else "skipped"
            skipped = await record_skipped(self.context, task, component, position, status, reason)
            return replace(skipped, error=_failure_behind(done, reason))
        path = position.inner(task.name)
        try:
            inputs = resolve_inputs(task, component, self.scope, done, self.context.facts(task.name, path))
            if task.condition is not None and not holds(task.condition, inputs):
                reason = "its condition is false"
                return await record_skipped(self.context, task, component, position, "skipped", reason)
            items = _items(task.iterator, inputs) if task.iterator else None
        except UserError as error:
            return await fail(self.context, task, component, position, str(error))
        if task.iterator is None or items is None:
            return await self._once(task, component, inputs, position, path)
        return await self._loop(task, task.iterator, component, inputs, items, position)

    def _why_not(self, task: Task, done: Mapping[str, Outcome]) -> str:
        """Why the task does not start; "" if it does."""
        if self.context.stop.is_set():
            return "the run was stopped"
        if task.always:
            return ""
        for name, outcome in done.items():
            if outcome.status in ("failed", "cancelled"):
                return f"{name} {outcome.status}"
        for name, outcome in done.items():
            if outcome.status == "skipped":
                return f"{name} was skipped"
        return _ANOTHER_FAILED if self.failing else ""

    async def _once(self, task: Task, component: Component, inputs: Inputs, position: Position, path: str) -> Outcome:
        if component.importer is not None:
            return await run_importer(self.context, task, component, inputs, replace(position, path=path))
        if component.dag is None:
            return await run_container(
                self.context, task, component, inputs, replace(position, path=path),
                why_not=lambda: self._why_not(task, {}),
                # One iteration's failure is not yet the loop's: the others continue.
                on_failure=self._note_failure if task.iterator is None else lambda: None,
            )  # fmt: skip
        outcome = await DagRun(
            self.context, component, with_defaults(inputs, component), replace(position, path=path)
        ).run()
        return outcome if outcome.leaves else replace(outcome, leaves=position.after)

    async def _loop(
        self, task: Task, iterator: Iterator, component: Component, inputs: Inputs, items: list[Any], position: Position
    ) -> Outcome:
        failed: list[Outcome] = []
        limit = asyncio.Semaphore(iterator.limit) if iterator.limit else None

        async def iterate(index: int, item: Any) -> Outcome:
            async with AsyncExitStack() as stack:
                if limit is not None:
                    await stack.enter_async_context(limit)
                inside = _iteration_position(position, task.name, index, item, iterator)
                if self.context.stop.is_set() or (failed and not task.always):
                    status = "cancelled" if self.context.stop.is_set() else "skipped"
                    return Outcome(status=status)
                try:
                    own = _with_item(inputs, component, iterator, item)
                except UserError as error:
                    outcome = await fail(self.context, task, component, inside, str(error))
                else:
                    outcome = await self._once(task, component, own, inside, inside.path)
                if outcome.status == "failed":
                    failed.append(outcome)
                return outcome

        outcomes = await together([asyncio.create_task(iterate(index, item)) for index, item in enumerate(items)])
        statuses = {outcome.status for outcome in outcomes}
        first = failed[0] if failed else Outcome(status="succeeded")
        return Outcome(
            status=next((status for status in ("cancelled", "failed") if status in statuses), "succeeded"),
            parameters={
                name: [outcome.parameters[name] for outcome in outcomes if name in outcome.parameters]
                for name in component.output_parameters
            },
            artifacts={
                name: [item for outcome in outcomes for item in outcome.artifacts.get(name, ())]
                for name in component.output_artifacts
            },
            leaves=tuple(dict.fromkeys(leaf for outcome in outcomes for leaf in outcome.leaves)) or position.after,
            error=first.error,
            failure=first.failure,
        )


async def together(tasks: list[asyncio.Task[Outcome]]) -> list[Outcome]:
    """All outcomes, in order. If one raises (the runner itself is in trouble), the others are cancelled first."""
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


def _failure_behind(done: Mapping[str, Outcome], reason: str) -> str:
    """The failure that kept a task from starting, for an exit task that is told how it ended; "" if a condition did."""
    errors = [outcome.error for outcome in done.values() if outcome.error]
    return errors[0] if errors else reason if reason == _ANOTHER_FAILED else ""


def _chosen(outputs: Mapping[str, tuple[FromTask, ...]], produced: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """For each output the first of its sources that was produced: with one source the plain output, else OneOf."""
    found = {}
    for name, sources in outputs.items():
        for source in sources:
            if source.key in produced[source.task]:
                found[name] = produced[source.task][source.key]
                break
    return found


def _items(iterator: Iterator, inputs: Inputs) -> list[Any]:
    if iterator.items is not None:
        return list(iterator.items)
    assert iterator.items_input is not None
    if iterator.over == "artifacts":
        return list(inputs.artifacts.get(iterator.items_input, ()))
    if iterator.items_input not in inputs.parameters:
        raise UserError(f"the loop has no items: the input {iterator.items_input!r} was not given")
    items: list[Any] = typed(inputs.parameters[iterator.items_input], "LIST", f"the loop's {iterator.items_input!r}")
    return items


def _with_item(inputs: Inputs, component: Component, iterator: Iterator, item: Any) -> Inputs:
    own = Inputs(parameters=dict(inputs.parameters), artifacts=dict(inputs.artifacts), run_specific=inputs.run_specific)
    if iterator.over == "artifacts":
        own.artifacts[iterator.item] = [item]
        return own
    declared = component.input_parameters.get(iterator.item)
    own.parameters[iterator.item] = item if declared is None else typed(item, declared.type, "the loop's item")
    return own


def _iteration_position(position: Position, name: str, index: int, item: Any, iterator: Iterator) -> Position:
    if iterator.over == "artifacts":
        shown: Mapping[str, Any] = {"item": item.get("uri", "")}
        text = str(index)
    elif isinstance(item, Mapping):
        shown = item
        # An item that has a name is known by it; anything else is shown as it is.
        name_of_item = item.get("name")
        text = name_of_item if isinstance(name_of_item, str) else _pairs(item)
    else:
        shown = {"item": item}
        text = _short(item)
    return replace(
        position,
        path=f"{position.inner(name)}/[{index}]",
        iteration={**position.iteration, **shown},
        suffix=f"{position.suffix} [{text if len(text) <= 40 else text[:37] + '...'}]",
    )


def _pairs(item: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={_short(value)}" for key, value in item.items())


def _short(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
