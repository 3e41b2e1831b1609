"""The runner's side of the zygotes: start one, hand it a task, hear how the task ended, and never wait for ever."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

GRACE_SECONDS = 10.0
"""Between asking a task to stop (SIGTERM) and killing it."""

ZYGOTE = "pipelines.runner.processes.zygote"

_LINE_LIMIT = 64 * 2**20


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a child ended: an exit code, or a signal. `lost`: its zygote died, so nobody knows.

    `reason`: what more is known of a failure.
    """

    code: int | None = None
    signal: int | None = None
    max_rss: int = 0
    timed_out: bool = False
    lost: bool = False
    reason: str = ""


class Worker:
    """One zygote, started when it is first needed, and restarted when it died.

    `kind` is "light" or "heavy"; `interpreter` is the Python that it, and so its children, runs in.
    """

    def __init__(self, kind: str, log: Path, *, interpreter: str = sys.executable) -> None:
        self.kind = kind
        self.interpreter = interpreter
        self.log = log
        self.ready = False
        self._process: subprocess.Popen[bytes] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._reader: asyncio.Task[None] | None = None
        self._running: dict[str, tuple[asyncio.Future[None], asyncio.Future[Ended]]] = {}
        self._numbers = count(1)
        self._starting = asyncio.Lock()

    async def start(self) -> None:
        """Starts the zygote unless it runs. Returns at once; its imports continue in the background."""
        async with self._starting:
            if self._writer is not None:
                return
            ours, theirs = socket.socketpair()
            environment = {**os.environ, "PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
            with theirs, self.log.open("ab") as log:
                self._process = subprocess.Popen(
                    [self.interpreter, "-P", "-m", ZYGOTE, str(theirs.fileno()), self.kind],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,  # Ctrl-C is for the runner, which then asks the tasks to stop
                )  # fmt: skip
            reader, self._writer = await asyncio.open_connection(sock=ours, limit=_LINE_LIMIT)
            self._reader = asyncio.create_task(self._listen(reader))

    async def run(
        self,
        spec: dict[str, Any],
        *,
        timeout: float | None,
        stop: asyncio.Event,
        on_start: Callable[[], None] = lambda: None,
    ) -> Ended:
        """Runs a task in a forked child and waits for its end.

        Args:
            spec: see `child.run`.
            timeout: seconds from the child's start, or None.
            stop: when it is set, the task is asked to stop, and killed if it does not within `GRACE_SECONDS`.
            on_start: called when the child exists, which may be seconds later if the zygote still imports.
        """
        await self.start()
        name = str(next(self._numbers))
        loop = asyncio.get_running_loop()
        started, ended = loop.create_future(), loop.create_future()
        self._running[name] = (started, ended)
        self._send({"spawn": name, "spec": spec})
        stopping = asyncio.create_task(stop.wait())
        try:
            # The time that the zygote still needs for its imports is not the task's.
            await asyncio.wait({started, ended, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if stopping.done() and not started.done():
                return Ended(signal=signal.SIGTERM)
            on_start()
            await asyncio.wait({ended, stopping}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            timed_out = not ended.done() and not stopping.done()
            if not ended.done():
                await self._terminate(name, ended)
            return replace(ended.result(), timed_out=timed_out)
        finally:
            stopping.cancel()
            del self._running[name]

    async def _terminate(self, name: str, ended: "asyncio.Future[Ended]") -> None:
        self._send({"signal": name, "number": signal.SIGTERM})
        await asyncio.wait({ended}, timeout=GRACE_SECONDS)
        while not ended.done():
            self._send({"signal": name, "number": signal.SIGKILL})
            # A process in the kernel's uninterruptible sleep outlives even this; then nothing but waiting helps.
            await asyncio.wait({ended}, timeout=1.0)

    def kill(self) -> None:
        """Kills the zygote, and with it, as the kernel does, its children."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def close(self) -> None:
        """Ends the zygote; nothing of it is left when this returns."""
        process, self._process = self._process, None
        if process is None:
            return
        if self._writer is not None:
            self._writer.close()
        # It may be in the middle of importing torch, where it does not notice that the socket was closed.
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await asyncio.to_thread(process.wait)
        if self._reader is not None:
            await asyncio.gather(self._reader, return_exceptions=True)

    def _send(self, message: dict[str, Any]) -> None:
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(json.dumps(message).encode() + b"\n")

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                self._hear(json.loads(line))
        self._lose()

    def _hear(self, message: dict[str, Any]) -> None:
        if "ready" in message:
            self.ready = True
            return
        started, ended = self._running.get(message.get("started") or message["ended"], (None, None))
        if "started" in message and started is not None and not started.done():
            started.set_result(None)
        if "ended" in message and ended is not None and not ended.done():
            ended.set_result(Ended(code=message["code"], signal=message["signal"], max_rss=message["max_rss"]))

    def _lose(self) -> None:
        """The zygote is gone: what ran in it is lost, and the next task starts a new one."""
        if self._writer is not None:
            self._writer.close()
        self._writer = None
        self.ready = False
        for _, ended in self._running.values():
            if not ended.done():
                ended.set_result(Ended(lost=True))
