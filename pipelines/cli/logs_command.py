"""`trimtab logs`."""

import shutil
import sys
from pathlib import Path

from components.core.errors import UserError
from pipelines.cli.finding import find_folder, find_task
from pipelines.runner.records.state import read_tasks


def print_log(run_id: str, wanted: str) -> None:
    """Writes one task's whole log to standard output, byte for byte.

    Raises:
        UserError: no such run or task, or the task has no log; gives the reason.
    """
    task = find_task(wanted, read_tasks(find_folder(run_id)))
    if not task.log:
        why = (
            "it came from the cache"
            if task.cached
            else f"it is {task.status}" + (f": {task.error}" if task.error else "")
        )
        raise UserError(f"{task.task} has no log: {why}")
    try:
        with Path(task.log).open("rb") as log:
            sys.stdout.flush()
            shutil.copyfileobj(log, sys.stdout.buffer)
            sys.stdout.buffer.flush()
    except FileNotFoundError:
        raise UserError(f"the log of {task.task} no longer exists: {task.log}") from None
