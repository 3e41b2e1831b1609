"""A training run that is asked to stop saves its progress first, and leaves.

SIGTERM asks: Kubernetes before it takes a pod away, the local runner after Ctrl-C. A run that does not leave in time is
killed, and continues from the last checkpoint that was due.
"""

import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any

EXIT_CODE = 128 + signal.SIGTERM
"""Exit code of a process that SIGTERM ended, as a shell and Kubernetes show it: no success, so it is tried again."""


class Stopped(SystemExit):
    """The run was asked to stop, and leaves. Not a failure of the stage, and nothing that a stage should catch."""

    def __init__(self) -> None:
        super().__init__(EXIT_CODE)


class StopRequest:
    """Context manager that records SIGTERM in `asked`. Outside the main thread it records nothing."""

    def __init__(self) -> None:
        self.asked = False
        self._before: Any = None

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._hear)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, traceback: TracebackType | None) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)

    def wait(self, seconds: float) -> None:
        """Sleeps, but not on when asked to stop."""
        end = time.monotonic() + seconds
        while not self.asked and time.monotonic() < end:
            time.sleep(0.1)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
