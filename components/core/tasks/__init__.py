"""What a stage must not know about a task: its rows, its batches, its loss, its metric.

A stage asks `get_task` for the task that the dataset names. To add a task: a module beside `classification`, and a line
in `get_task`.
"""

from components.core.errors import UserError
from components.core.tasks.base import Batch, Task
from components.core.tasks.images.preprocess import Preprocess

TASKS = ("classification",)

__all__ = ["TASKS", "Batch", "Preprocess", "Task", "get_task"]


def get_task(name: str) -> Task:
    """The task called `name`; UserError listing `TASKS` for another."""
    if name == "classification":
        from components.core.tasks.classification.task import Classification

        return Classification()
    raise UserError(f"task {name!r} is not available in this version; available: {', '.join(TASKS)}")
