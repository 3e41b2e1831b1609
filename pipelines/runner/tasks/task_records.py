"""A task's record from its start to its end: in the run's state, in the journal, and told to the listener."""

import time
from collections.abc import Mapping
from typing import Any

from components.core.results.payload import hold_payload
from components.core.store import Store, StoreError
from pipelines.runner.context import RunContext
from pipelines.runner.events import TaskEnded
from pipelines.runner.ir.pipeline import Component, Task
from pipelines.runner.records import journal
from pipelines.runner.records.logs import printable
from pipelines.runner.records.state import TaskRecord
from pipelines.runner.tasks.artifacts import is_in_place
from pipelines.runner.tasks.outcome import Outcome, Position


async def record_skipped(
    context: RunContext, task: Task, component: Component, position: Position, status: str, reason: str
) -> Outcome:
    """Records a task, or a whole group, that is not run."""
    record = new_record(task, component, position, position.inner(task.name))
    record.status, record.error = status, reason
    record.started = record.ended = time.time()
    await finish(context, record)
    return Outcome(status=status, leaves=position.after)


async def fail(context: RunContext, task: Task, component: Component, position: Position, message: str) -> Outcome:
    """Records a task that failed before anything of it ran."""
    path = position.inner(task.name)
    record = new_record(task, component, position, path)
    record.status, record.error, record.failure = "failed", message, "error"
    record.started = record.ended = time.time()
    await finish(context, record)
    return Outcome(status="failed", leaves=(path,), error=f"{record.label}: {message}", failure="error")


def new_record(task: Task, component: Component, position: Position, path: str) -> TaskRecord:
    """The record of a task that is about to start."""
    return TaskRecord(
        task=path,
        label=printable(f"{task.display_name}{position.suffix}"),
        component=component.name.removeprefix("comp-"),
        depends_on=list(position.after),
        iteration=dict(position.iteration) or None,
    )


async def finish(context: RunContext, record: TaskRecord, *, saved_seconds: float = 0.0, kept: bool = False) -> None:
    """Commits the record of a task that is over, tells the listener, and has the record written to the journal."""
    context.state.save_task(record)
    context.backlog.add(lambda: _write_journal(context, record))
    context.listener(
        TaskEnded(
            task=record.task, label=record.label, status=record.status, cached=record.cached, seconds=record.seconds,
            saved_seconds=saved_seconds, kept=kept, error=record.error, failure=record.failure, log=record.log,
        )
    )  # fmt: skip


def _write_journal(context: RunContext, record: TaskRecord) -> str:
    try:
        journal.write(context.store, context.run_id, record)
    except (StoreError, OSError, ValueError, TypeError) as error:
        return f"the journal of the run cannot be written: {error}"
    return ""


async def finished_before(context: RunContext, record: TaskRecord) -> TaskRecord | None:
    """This task's record from before the run was resumed, if it holds: same inputs, and its outputs are there."""
    earlier = context.finished.get(record.task)
    if earlier is None or earlier.inputs_digest != record.inputs_digest:
        return None
    items = [item for items in earlier.output_artifacts.values() for item in items]
    return earlier if await context.in_thread(lambda: all(_is_kept(item, context.store) for item in items)) else None


def _is_kept(artifact: Mapping[str, Any], store: Store) -> bool:
    """Whether an artifact's bytes are in place, and the blobs in the store that its manifest names."""
    if not is_in_place(artifact):
        return False
    try:
        hold_payload(artifact, store)
    except StoreError:
        return False  # collected, from another machine; or no answer, which running it again will tell
    return True


def outcome_of(record: TaskRecord) -> Outcome:
    """The outputs that a finished task hands to its followers."""
    return Outcome(
        status=record.status,
        parameters=record.output_parameters,
        artifacts=record.output_artifacts,
        leaves=(record.task,),
        error=f"{record.label}: {record.error}" if record.status == "failed" else "",
        failure=record.failure,
        cached=record.cached,
    )
