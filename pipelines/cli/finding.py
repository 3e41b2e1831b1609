"""Runs and tasks by the names that people give them."""

import difflib
from pathlib import Path

from components.core.errors import UserError
from pipelines.runner.records.state import DATABASE, TaskRecord, read_run
from pipelines.runner.run import home_folder


def run_folders() -> list[Path]:
    """Every run's folder."""
    return [path.parent for path in (home_folder() / "runs").glob(f"*/{DATABASE}")]


def find_folder(run_id: str) -> Path:
    """The folder of a run, of the latest if none is named.

    Raises:
        UserError: there is no such run; the nearest name is suggested.
    """
    folders = {folder.name: folder for folder in run_folders()}
    if not folders:
        raise UserError(f"there are no runs in {home_folder() / 'runs'}")
    if not run_id:
        return max(folders.values(), key=lambda folder: read_run(folder).started)
    if run_id not in folders:
        close = difflib.get_close_matches(run_id, folders, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise UserError(f"there is no run {run_id!r}{hint} (see: trimtab runs)")
    return folders[run_id]


def find_task(wanted: str, tasks: list[TaskRecord]) -> TaskRecord:
    """The task with this path, or with this name if only one has it.

    Raises:
        UserError: there is none, or there are several; what there is, is listed.
    """
    found = [task for task in tasks if task.task == wanted] or [
        task for task in tasks if wanted in (task.task.rpartition("/")[2], task.label)
    ]
    if len(found) == 1:
        return found[0]
    problem = f"{len(found)} tasks are called {wanted!r}" if found else f"there is no task {wanted!r} in this run"
    known = ", ".join(task.task for task in found or tasks) or "none has started"
    raise UserError(f"{problem}; give one of these paths: {known}")
