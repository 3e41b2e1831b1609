"""Tasks, each with its own rows, batches, networks, loss, metrics and pages, of which no stage knows anything.

A stage asks `get_task` for the task that the data set or the model names. A new task is a folder beside
`classification`, with the same modules; `task.py` holds its class, called like the folder in capitals.
"""

from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path

from components.core.errors import UserError
from components.core.tasks.base import Task

DEFAULT = "classification"
"""The task of a pipeline that names none."""


def _made(name: str) -> Task:
    module = import_module(f"components.core.tasks.{name}.task")
    task: Task = getattr(module, "".join(word.capitalize() for word in name.split("_")))()
    return task


REGISTRY: dict[str, Callable[[], Task]] = {
    folder.parent.name: partial(_made, folder.parent.name) for folder in sorted(Path(__file__).parent.glob("*/task.py"))
}
"""How each task is made, by name."""

TASKS = (DEFAULT, *(name for name in REGISTRY if name != DEFAULT))

__all__ = ["DEFAULT", "REGISTRY", "TASKS", "Task", "get_task"]


def get_task(name: str) -> Task:
    """The task called `name`; UserError listing those that there are for another."""
    if name not in REGISTRY:
        raise UserError(f"task {name!r} is not available in this version; available: {', '.join(REGISTRY)}")
    return REGISTRY[name]()
