"""Finds the parameters of a task by its name, and makes the forms of the pipelines of each task.

A task of `TASKS` whose folder has a `parameters.py` is found here; its `PARAMETERS` are the groups and its own. The
first task is the default: its pipelines are called `optimize`, `retrain` and `compress`, those of another one after the
task. A task whose `parameters.py` has no `COMPRESS` has no pipeline that starts from a trained network, and one whose
students cannot see smaller inputs (`student_size`) none that searches within a time box.
"""

import importlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from components.core.errors import UserError
from components.core.parameters import Form, Parameter, near
from components.core.parameters.form import first_form, given_network_form, race_form, retraining_form
from components.core.tasks import TASKS, get_task

FIRST, RETRAINING, COMPRESSING, RACING = "optimize", "retrain", "compress", "race"
"""The kinds of pipelines, and their names for the default task."""


def task_names() -> list[str]:
    """Every task that declares its parameters, the default one first."""
    folder = Path(__file__).parent
    return [name for name in TASKS if (folder / name / "parameters.py").is_file()]


@cache
def parameters_of(task: str) -> tuple[Parameter, ...]:
    """The parameters that the task declares.

    Raises:
        UserError: no such task; lists those that there are.
    """
    names = task_names()
    if task not in names:
        raise UserError(f"unknown task {task!r}{near(task, names)} (tasks: {', '.join(names)})")
    declared: tuple[Parameter, ...] = importlib.import_module(f"{__package__}.{task}.parameters").PARAMETERS
    return declared


@cache
def forms() -> Mapping[str, Form]:
    """The form of every pipeline, by the pipeline's name."""
    found = {}
    for task in task_names():
        default = task == TASKS[0]
        first, retraining = (FIRST, RETRAINING) if default else (task, f"{RETRAINING}_{task}")
        found[first] = first_form(task, parameters_of(task), pipeline=first)
        found[retraining] = retraining_form(task, parameters_of(task), pipeline=retraining)
        defaults = getattr(importlib.import_module(f"{__package__}.{task}.parameters"), "COMPRESS", None)
        if defaults is not None:
            name = COMPRESSING if default else f"{COMPRESSING}_{task}"
            found[name] = given_network_form(task, parameters_of(task), pipeline=name, defaults=defaults)
        if any(one.name == "student_size" for one in parameters_of(task)):
            name = RACING if default else f"{RACING}_{task}"
            found[name] = race_form(task, parameters_of(task), pipeline=name)
    return found


def settings_of(form: Form, values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """`Form.settings`, and with those of training the digests of the files that they name.

    Raises:
        UserError: such a file cannot be used.
    """
    settings, general = form.settings(values), get_task(form.task).general
    if general is not None:
        settings["training_settings"] |= general.state(settings["training_settings"])
    return settings
