"""Going on with a run that was stopped, failed or killed: what had succeeded is kept, everything else runs.

A task is kept if its record says that it succeeded, its inputs are the same again, and its output artifacts still lie
where it put them, byte for byte. The code is not compared: like a retried run on a cluster, the run continues with the
code that is here now, and says so if it is another.
"""

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from components.core.errors import UserError
from components.core.store import open_store
from pipelines.runner.code.program import Program
from pipelines.runner.conduct import RunResult, conduct
from pipelines.runner.containers.permissions import check_permissions
from pipelines.runner.events import Listener
from pipelines.runner.kubernetes_objects.checks import read_kubernetes_objects
from pipelines.runner.options import RunOptions
from pipelines.runner.reading.reader import read_pipeline
from pipelines.runner.records.state import RunRecord, RunState, TaskRecord, read_run, read_tasks
from pipelines.runner.run import home_folder, make_context, programs_of, request_of
from pipelines.runner.tasks.input_artifacts import as_they_are_now


def resume_run(run_id: str, *, from_task: str = "", listener: Listener, home: Path | None = None) -> RunResult:
    """Goes on with a run, to its end.

    Args:
        run_id: the run's name.
        from_task: a task's path in the run, its name if only one task has it, or a group's path: it runs again although
            it may have succeeded, and so does what depends on it (unless equal inputs are in the cache).
        listener: hears what happens, on the thread that called.
        home: see `home_folder`.

    Raises:
        UserError: there is no such run or task, another process is at work on it, or its code is not here any more.
    """
    folder = (home or home_folder()) / "runs" / run_id
    record = read_run(folder)
    state = RunState(folder)
    try:
        record, tasks = read_run(folder), read_tasks(folder)  # again: now nobody else writes them
        if record.status == "succeeded" and not from_task:
            return _as_it_ended(record, folder, tasks)
        refreshed = _chosen(from_task, tasks) if from_task else set()
        options = _options_of(record, refreshed)
        pipeline = read_pipeline(folder / "pipeline.yaml")
        code_folders = [Path(folder) for folder in record.request.get("places", ())]
        kubernetes_objects = read_kubernetes_objects(pipeline, record.parameters, options, folder.parent.parent)
        code = programs_of(pipeline, code_folders, options)
        store = open_store(record.store)
        if options.engine == "container":
            check_permissions(store, options)
        store.check_writable()
        artifacts = as_they_are_now(record.request.get("artifacts", {}))
        again = _followers(refreshed, tasks)
        finished = {task.task: task for task in tasks if task.status == "succeeded" and task.task not in again}
        context = make_context(
            run_id=run_id, folder=folder, pipeline=pipeline, programs=code, store=store, state=state,
            listener=listener, options=options, kubernetes_objects=kubernetes_objects, finished=finished,
        )  # fmt: skip
        # The run keeps its identity: the placeholders for its time and name have the text that they had.
        context.created = record.started
        state.keep_only(finished)
        _warn_of_other_code(record, code, context.warn)
        request = {**request_of(code_folders, code, options), "artifacts": artifacts}
        record = replace(record, pid=os.getpid(), request=request)
        return asyncio.run(conduct(context, record))
    finally:
        state.close()


def _as_it_ended(record: RunRecord, folder: Path, tasks: list[TaskRecord]) -> RunResult:
    return RunResult(
        run_id=record.id, status=record.status, folder=folder, tasks=tuple(tasks), outputs=record.outputs,
        summary=record.summary,
    )  # fmt: skip


def _options_of(record: RunRecord, refreshed: set[str]) -> RunOptions:
    request = record.request
    return RunOptions(
        use_cache=request.get("use_cache", True),
        refresh=tuple(sorted(refreshed)),
        engine=request.get("engine", "process"),
        secrets={name: Path(path) for name, path in request.get("secrets", {}).items()},
        allow=frozenset(request.get("allow", ())),
        allow_paths=tuple(Path(path) for path in request.get("allow_paths", ())),
    )


def _chosen(wanted: str, tasks: list[TaskRecord]) -> set[str]:
    """The paths of the tasks that `--from` names."""
    paths = [task.task for task in tasks]
    inside = {path for path in paths if path == wanted or path.startswith(f"{wanted}/")}
    named = {path for path in paths if path.rpartition("/")[2] == wanted}
    if inside or len(named) == 1:
        return inside or named
    known = ", ".join(sorted(named or paths)) or "none has started"
    problem = f"{len(named)} tasks are called {wanted!r}" if named else f"there is no task {wanted!r} in this run"
    raise UserError(f"{problem}; give one of these paths: {known}")


def _followers(chosen: set[str], tasks: list[TaskRecord]) -> set[str]:
    """The chosen tasks and all that come after them."""
    found, grew = set(chosen), bool(chosen)
    while grew:
        more = {task.task for task in tasks if task.task not in found and not found.isdisjoint(task.depends_on)}
        grew = bool(more)
        found |= more
    return found


def _warn_of_other_code(record: RunRecord, code: Mapping[str, Program], warn: Callable[[str], None]) -> None:
    before = record.request.get("code", {})
    changed = sorted(
        {program.name for label, program in code.items() if before.get(label) not in (None, program.digest)}
    )
    if changed:
        warn(f"the code has changed since the run began ({', '.join(changed)}); tasks that had succeeded are kept")
