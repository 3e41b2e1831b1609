"""One run from its first task to its result: workers, signals, the walk over the DAG, the run's record."""

import asyncio
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.runner.beneath import remove_folder
from pipelines.runner.context import RunContext
from pipelines.runner.events import RunEnded, RunStarted
from pipelines.runner.records.state import RunRecord, TaskRecord, read_tasks
from pipelines.runner.scheduler import DagRun
from pipelines.runner.tasks.inputs import Inputs
from pipelines.runner.tasks.outcome import Outcome, Position


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """Result of a run. `status` is succeeded, failed or cancelled.

    `failure` says whose fault a failure was: "user" for a mistake that the user can mend, "defect" for one of trimtab,
    "error" for anything else.
    `summary` is what the pipeline itself has to say at its end (see `find_summary`), or None.
    """

    run_id: str
    status: str
    folder: Path
    tasks: tuple[TaskRecord, ...]
    outputs: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] | None = None
    error: str = ""
    failure: str = ""


async def conduct(context: RunContext, record: RunRecord) -> RunResult:
    """Runs the context's pipeline with the parameters of the record, and keeps the record up to date."""
    record.status, record.ended, record.error = "running", None, ""
    context.state.save_run(record)
    context.listener(
        RunStarted(
            run_id=context.run_id, pipeline=context.pipeline.name, folder=str(context.folder), store=context.store.uri
        )
    )
    if context.pipeline.has_workspace:
        context.workspace.mkdir(exist_ok=True)
    for warning in context.pipeline.warnings:
        context.warn(warning)
    _catch_signals(context)
    inputs = Inputs(parameters=record.parameters, artifacts=record.request.get("artifacts", {}))
    outcome = Outcome(status="failed", error="the runner was interrupted", failure="error")
    try:
        if any(program.function for program in context.programs.values()):
            await context.light.start()
        if context.containers is not None:
            may_change = "store" in context.options.allow and "://" not in context.store.uri
            await context.containers.open(Path(context.store.uri) if may_change else None, context.warn)
        outcome = await DagRun(context, context.pipeline.root, inputs, Position()).run()
    finally:
        if context.containers is not None:
            await context.containers.close()
        await asyncio.gather(context.light.close(), context.heavy.close(), context.environments.close())
        # Before the run is said to be over: whoever sees that it is finds its whole journal.
        await context.backlog.close()
        context.pool.shutdown(wait=True, cancel_futures=True)
        record.status, record.error, record.ended = outcome.status, outcome.error, time.time()
        record.outputs = _plain_outputs(outcome)
        record.summary = find_summary(read_tasks(context.folder))
        context.state.save_run(record)
    for folder in ("work", "engine"):
        remove_folder(context.folder / folder)
    context.listener(RunEnded(run_id=context.run_id, status=outcome.status, outputs=record.outputs))
    return RunResult(
        run_id=context.run_id, status=outcome.status, folder=context.folder,
        tasks=tuple(read_tasks(context.folder)), outputs=record.outputs, summary=record.summary,
        error=outcome.error, failure=outcome.failure,
    )  # fmt: skip


def _catch_signals(context: RunContext) -> None:
    """The first Ctrl-C (or SIGTERM) asks the running tasks to stop, the second kills them."""

    def stop() -> None:
        if context.stop.is_set():
            context.light.kill()
            context.heavy.kill()
            if context.containers is not None:
                context.containers.kill()
            context.environments.kill()
            return
        context.warn("stopping: running tasks are asked to end; press Ctrl-C again to kill them")
        context.stop.set()
        context.capacity.close()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, stop)
        except (ValueError, RuntimeError, NotImplementedError):
            return  # not the main thread: whoever embeds the runner has handlers of their own


def _plain_outputs(outcome: Outcome) -> dict[str, Any]:
    """The pipeline's outputs as JSON: parameters as they are, an artifact as its URI."""
    artifacts = {name: [item.get("uri", "") for item in items] for name, items in outcome.artifacts.items()}
    return {
        **outcome.parameters,
        **{name: uris[0] if len(uris) == 1 else uris for name, uris in artifacts.items()},
    }


def find_summary(tasks: list[TaskRecord]) -> dict[str, Any] | None:
    """What the pipeline says at its end: an output `Output` or `summary` of a task of the outermost DAG with the keys
    `title`, `columns` and `rows` (a table), and perhaps `files` (name → place) and `outputs` (name → value)."""
    for task in reversed(tasks):
        if "/" in task.task or task.status != "succeeded":
            continue
        for name in ("Output", "summary"):
            value = task.output_parameters.get(name)
            if isinstance(value, dict) and {"title", "columns", "rows"} <= value.keys():
                return value
    return None
