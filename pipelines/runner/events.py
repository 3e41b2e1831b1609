"""Events of the runner, for whoever watches. They are plain data; the runner never prints."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class RunStarted:
    """The run has its folder; nothing has been executed yet."""

    run_id: str
    pipeline: str
    folder: str
    store: str


@dataclass(frozen=True, kw_only=True)
class TaskStarted:
    """A task's process starts (`attempt` counts from 1). `log` is its log file."""

    task: str
    label: str
    attempt: int
    log: str


@dataclass(frozen=True, kw_only=True)
class TaskEnded:
    """A task is over: status succeeded, failed, skipped or cancelled. `saved_seconds`: what a cache hit took once;
    `kept`: it had succeeded before the run was resumed, and did not run again."""

    task: str
    label: str
    status: str
    cached: bool = False
    seconds: float = 0.0
    saved_seconds: float = 0.0
    kept: bool = False
    error: str = ""
    failure: str = ""
    log: str = ""


@dataclass(frozen=True, kw_only=True)
class TaskRetried:
    """An attempt failed and there will be another one after `wait_seconds`."""

    task: str
    label: str
    attempt: int
    wait_seconds: float
    error: str


@dataclass(frozen=True, kw_only=True)
class Warned:
    """Something that does not stop the run and that the user should know."""

    message: str


@dataclass(frozen=True, kw_only=True)
class RunEnded:
    """Status succeeded, failed or cancelled; the pipeline's outputs."""

    run_id: str
    status: str
    outputs: dict[str, Any] = field(default_factory=dict)


Event = RunStarted | TaskStarted | TaskEnded | TaskRetried | Warned | RunEnded
Listener = Callable[[Event], None]
