"""Look up runs and tasks by the names that users type."""

import difflib
from pathlib import Path

from components.core.errors import UserError
from pipelines.runner.records.state import DATABASE, TaskRecord, read_run
from pipelines.runner.run import home_folder


def run_folders() -> list[Path]:
    """Folders of all runs."""
    return [path.parent for path in (home_folder() / "runs").glob(f"*/{DATABASE}")]


def find_folder(run_id: str) -> Path:
    """Return the folder of a run; without a name, of the latest.

    Raises:
        UserError: no such run; suggests the nearest name.
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
    """Return the task with this path, or with this name if it is unique.

    Raises:
        UserError: no task or several match; lists the known ones.
    """
    found = [task for task in tasks if task.task == wanted] or [
        task for task in tasks if wanted in (task.task.rpartition("/")[2], task.label)
    ]
    if len(found) == 1:
        return found[0]
    problem = f"{len(found)} tasks are called {wanted!r}" if found else f"there is no task {wanted!r} in this run"
    known = ", ".join(task.task for task in found or tasks) or "none has started"
    raise UserError(f"{problem}; give one of these paths: {known}")
