"""Running a pipeline from its file: checks, folders, workers, signals, and the result."""

import asyncio
import os
import re
import secrets
import shutil
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from components.core.errors import UserError
from components.core.store import open_store
from pipelines.runner.code import programs
from pipelines.runner.context import Outcome, Place, RunContext
from pipelines.runner.events import Listener, RunEnded, RunStarted
from pipelines.runner.inputs import Inputs
from pipelines.runner.options import DEFAULT_OPTIONS, RunOptions
from pipelines.runner.parameters import pipeline_parameters
from pipelines.runner.reader import read_pipeline
from pipelines.runner.resources import Capacity, machine_cores, machine_memory
from pipelines.runner.scheduler import DagRun
from pipelines.runner.state import RunRecord, RunState, TaskRecord, read_tasks
from pipelines.runner.workers import Worker

_RUN_ID = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,99}")


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What came of a run. `status` is succeeded, failed or cancelled.

    `failure` says whose fault a failure was: "user" for a mistake that the user can mend, "error" for anything else.
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


def home_folder() -> Path:
    """Where runs and, unless told otherwise, the store are: `$TRIMTAB_HOME`, else `trimtab-out` here."""
    return Path(os.environ.get("TRIMTAB_HOME") or "trimtab-out").absolute()


def run_pipeline(
    path: Path,
    parameters: Mapping[str, Any],
    *,
    store_uri: str = "",
    run_id: str = "",
    options: RunOptions = DEFAULT_OPTIONS,
    listener: Listener,
    home: Path | None = None,
) -> RunResult:
    """Runs a compiled pipeline to its end.

    Args:
        path: the YAML file.
        parameters: name → text as typed on a command line, or a typed value.
        store_uri: where results and artifacts' bytes go; "" for `$TRIMTAB_STORE`, else `<home>/store`.
        run_id: a name for the run; "" makes one up.
        options: how to run; see `RunOptions`.
        listener: hears what happens, on the thread that called.
        home: see `home_folder`.

    Raises:
        UserError: anything that is wrong with the request; nothing was started then.
    """
    home = home or home_folder()
    pipeline = read_pipeline(path)
    values = pipeline_parameters(pipeline.root.input_parameters, parameters)
    code = programs(pipeline, [path.parent.absolute(), Path.cwd()])
    store = open_store(store_uri or os.environ.get("TRIMTAB_STORE") or str(home / "store"))
    run_id = _checked_id(run_id) if run_id else _new_id(pipeline.name)
    store.check_writable()
    folder = _make_folder(home, run_id)
    (folder / "pipeline.yaml").write_text(pipeline.text, encoding="utf-8")
    state = RunState(folder)
    try:
        context = RunContext(
            run_id=run_id, folder=folder, pipeline=pipeline, programs=code, store=store, state=state,
            capacity=Capacity(cpu=machine_cores(), memory=machine_memory()),
            light=Worker("light", folder / "logs" / "worker-light.txt"),
            heavy=Worker("heavy", folder / "logs" / "worker-heavy.txt"),
            listener=listener, options=options,
        )  # fmt: skip
        return asyncio.run(_run(context, values))
    finally:
        state.close()


async def _run(context: RunContext, values: dict[str, Any]) -> RunResult:
    record = RunRecord(
        id=context.run_id, pipeline=context.pipeline.name, status="running", started=context.created,
        store=context.store.uri, parameters=values, pid=os.getpid(),
    )  # fmt: skip
    context.state.save_run(record)
    context.listener(
        RunStarted(
            run_id=context.run_id, pipeline=context.pipeline.name, folder=str(context.folder), store=context.store.uri
        )
    )
    for warning in context.pipeline.warnings:
        context.warn(warning)
    _catch_signals(context)
    outcome = Outcome(status="failed", error="the runner was interrupted", failure="error")
    try:
        if any(program.function for program in context.programs.values()):
            await context.light.start()
        outcome = await DagRun(context, context.pipeline.root, Inputs(parameters=values), Place()).run()
    finally:
        await asyncio.gather(context.light.close(), context.heavy.close())
        context.pool.shutdown(wait=True, cancel_futures=True)
        record.status, record.error, record.ended = outcome.status, outcome.error, time.time()
        record.outputs = _plain_outputs(outcome)
        record.summary = find_summary(read_tasks(context.folder))
        context.state.save_run(record)
    shutil.rmtree(context.folder / "work", ignore_errors=True)
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


def _checked_id(run_id: str) -> str:
    if not _RUN_ID.fullmatch(run_id):
        raise UserError(
            f"the run id {run_id!r} is not usable: at most 100 letters, digits, '-', '_', '.', not first '.'"
        )
    return run_id


def _new_id(pipeline: str) -> str:
    name = re.sub(r"[^a-z0-9]+", "-", pipeline.lower()).strip("-")[:40] or "run"
    return f"{name}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"


def _make_folder(home: Path, run_id: str) -> Path:
    folder = home / "runs" / run_id
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir()
        (folder / "logs").mkdir()
    except FileExistsError:
        raise UserError(f"there is a run {run_id!r} already (in {folder}); choose another --run-id") from None
    except OSError as error:
        raise UserError(
            f"the run's folder {folder} cannot be made: {error.strerror}; choose another place with TRIMTAB_HOME"
        ) from None
    return folder


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
