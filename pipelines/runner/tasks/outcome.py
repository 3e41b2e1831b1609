"""How a task ended, and where in the run a task is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a task, a loop or a whole DAG ended, and what it produced.

    `status` is succeeded, failed, skipped or cancelled. An output that was not produced is absent. `leaves` are the
    paths of the tasks that a follower waits for; `error` names in one line the task that failed first (of a task that
    was skipped: the failure that kept it from starting), and `failure` says whose fault it was: "user", "defect" (of
    trimtab itself), or "error". `cached`: all of it was taken from an earlier run.
    """

    status: str
    parameters: dict[str, Any] = field(default_factory=dict)
    artifacts: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    leaves: tuple[str, ...] = ()
    error: str = ""
    failure: str = ""
    cached: bool = False


@dataclass(frozen=True, kw_only=True)
class Position:
    """Where in the run a task is: its path, the loop items around it, and the tasks that must end before it."""

    path: str = ""
    iteration: Mapping[str, Any] = field(default_factory=dict)
    suffix: str = ""
    after: tuple[str, ...] = ()

    def inner(self, name: str) -> str:
        """The path of a task inside."""
        return f"{self.path}/{name}" if self.path else name
