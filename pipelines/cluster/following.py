"""Waiting for a run, telling what its tasks do."""

import time
from collections.abc import Callable, Iterator
from typing import Any

from pipelines.cluster.client import Client
from pipelines.cluster.errors import ClusterError

FINAL = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")
POLL_SECONDS = 5.0
_MOST_FAILURES = 12
"""Requests in a row that may fail before waiting ends: a minute. An API server restarts; a run takes hours."""


def follow(
    client: Client, run_id: str, *, say: Callable[[str], None], timeout_seconds: float | None = None
) -> tuple[str, str]:
    """Waits until the run is over; returns its state and, if it says one, its error.

    Args:
        say: is told each change of a task's state, as one line.
        timeout_seconds: how long to wait at most; None is for ever.

    Raises:
        TimeoutError: the run is not over by then. It continues.
        ClusterError: the API does not answer any more, or refuses. The run continues.
    """
    until = None if timeout_seconds is None else time.monotonic() + timeout_seconds
    told: dict[str, str] = {}
    failures = 0
    while True:
        try:
            run = client.get_run(run_id)
        except ClusterError as error:
            failures += 1
            if not error.transient or failures >= _MOST_FAILURES:
                raise
            if failures == 1:
                say(f"{error} (waiting for it)")
        else:
            failures = 0
            for line in _changes(run, told):
                say(line)
            if run.state in FINAL:
                return run.state, _error(run)
        pause = POLL_SECONDS if until is None else min(POLL_SECONDS, until - time.monotonic())
        if pause <= 0:
            raise TimeoutError
        time.sleep(pause)


def _changes(run: Any, told: dict[str, str]) -> Iterator[str]:
    """One line for each task whose state is not the one that was told."""
    for task in (run.run_details.task_details if run.run_details else None) or ():
        state = task.state or "PENDING"
        # Beside each task KFP lists what it needs to start it.
        if state == told.get(task.task_id) or not task.display_name or _is_machinery(task.display_name):
            continue
        told[task.task_id] = state
        error = f": {_message(task.error)}" if state == "FAILED" and task.error else ""
        yield f"{task.display_name} {state.lower()}{error}"


def _is_machinery(name: str) -> bool:
    return name in ("root", "executor") or name.endswith("-driver")


def _error(run: Any) -> str:
    return _message(run.error) if run.error else ""


def _message(error: Any) -> str:
    return " ".join((error.message or "").split())[:300]
