"""Work on what somebody else wrote, in a process of its own with an end: a little memory, a little time."""

import json
import os
import resource
import select
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

SECONDS = 5
BYTES = 512 * 2**20


class OutOfBounds(Exception):  # noqa: N818  (it is how the work ended)
    """It took more memory or time than it may, or ended the process."""


def in_child(work: Callable[[], Any]) -> Any:
    """The result of `work`, which must be JSON; it runs in a fork, with `BYTES` beyond what is in use, for `SECONDS`.

    Raises:
        OutOfBounds: it did not come back.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(reading)
            _limit()
            with os.fdopen(writing, "wb") as out:
                out.write(json.dumps(work()).encode())
            code = 0
        except BaseException:  # noqa: BLE001  (nothing of the parent's may run here)
            code = 1
        finally:
            os._exit(code)
    os.close(writing)
    try:
        with os.fdopen(reading, "rb") as answer:
            text = _read(answer.fileno())
    finally:
        os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
    if text is None or not text or (os.WIFSIGNALED(status) and os.WTERMSIG(status) != signal.SIGKILL):
        raise OutOfBounds
    try:
        return json.loads(text)
    except ValueError:
        raise OutOfBounds from None


def _limit() -> None:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:  # not Linux: then time is the only limit
        pages = 2**40
    # The address space counts, and every thread of the parent has reserved some of it.
    for kind, most in (
        (resource.RLIMIT_AS, pages * resource.getpagesize() + BYTES),
        (resource.RLIMIT_CPU, SECONDS),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (most, most))


def _read(answer: int) -> bytes | None:
    """All that comes until the other side closes; None if that takes too long."""
    chunks: list[bytes] = []
    # Twice the limit of its processor's time: the machine may be busy.
    while select.select([answer], [], [], 2.0 * SECONDS)[0]:
        chunk = os.read(answer, 2**20)
        if not chunk:
            return b"".join(chunks)
        chunks.append(chunk)
    return None
