"""The warm process whose forked children run the tasks: `python -P -m pipelines.runner.processes.zygote FD KIND`.

It imports kfp (kind "light"), or kfp and torch (kind "heavy"), once, and forks a child for each task. It has exactly
one thread and never computes, so a fork copies no locked lock and no half-started OpenMP pool.

Protocol, one JSON object a line over the socket FD:

    runner → {"spawn": id, "spec": {…}} | {"signal": id, "number": 15}
    zygote → {"ready": kind, "threads": n} | {"started": id, "pid": n}
             | {"ended": id, "code": n | null, "signal": n | null, "max_rss": bytes}

End of file on the socket means that the runner is gone, however it went: all children are killed, and it leaves.
"""

import ctypes
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

HEAVY_MODULES = ("torch", "torchvision", "timm", "torch_pruning")
"""Preloaded by the heavy zygote. Not pyarrow or onnxruntime: both start a thread when imported, and both are quick."""

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def import_kfp() -> None:
    """Imports what a component needs of kfp, without its Kubernetes client: 0.35 s instead of 1.8 s here.

    kfp skips the client when `_KFP_RUNTIME` is set, as in a lightweight component's container; but then `kfp.dsl` has
    no `component` decorator, which the modules of containerized components use. So: import it so, and load the rest
    of `kfp.dsl` after.
    """
    os.environ["_KFP_RUNTIME"] = "true"
    try:
        dsl = importlib.import_module("kfp.dsl")
    finally:
        del os.environ["_KFP_RUNTIME"]
    importlib.reload(dsl)
    importlib.import_module("kfp.dsl.executor")


def preload(kind: str) -> None:
    """Imports for the given kind. What is not installed is left to the task that needs it, whose log will say so."""
    modules = HEAVY_MODULES if kind == "heavy" else ()
    import_kfp()
    importlib.import_module("pipelines.runner.processes.child")  # else every child would import it, and what it needs
    for name in modules:
        try:
            importlib.import_module(name)
        except ImportError as error:
            print(f"{name} cannot be imported: {error}", file=sys.stderr, flush=True)
    # Objects that live now live for ever: keep the collector from touching, and so copying, their pages.
    gc.collect()
    gc.freeze()


class Zygote:
    """Forks, signals and reaps. One instance a process."""

    def __init__(self, control: socket.socket) -> None:
        self.control = control
        self.received = b""
        self.pids: dict[str, int] = {}
        self.names: dict[int, str] = {}
        self.wake_read, self.wake_write = os.pipe()
        for end in (self.wake_read, self.wake_write):
            os.set_blocking(end, False)
        signal.signal(signal.SIGCHLD, _ignore)
        signal.set_wakeup_fd(self.wake_write, warn_on_full_buffer=False)

    def serve(self) -> None:
        """Until the runner closes the socket."""
        while True:
            control = self.control.fileno()
            readable, _, _ = select.select([control, self.wake_read], [], [])
            if self.wake_read in readable:
                with suppress(BlockingIOError):
                    os.read(self.wake_read, 4096)
                self.reap()
            if control in readable and not self.receive():
                break
        for pid in self.names:
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)

    def send(self, message: dict[str, Any]) -> None:
        self.control.sendall(json.dumps(message).encode() + b"\n")

    def receive(self) -> bool:
        data = self.control.recv(1 << 20)
        if not data:
            return False
        *lines, self.received = (self.received + data).split(b"\n")
        for line in lines:
            self.handle(json.loads(line))
        return True

    def handle(self, message: dict[str, Any]) -> None:
        if "spawn" in message:
            pid = self.fork(message["spec"])
            self.pids[message["spawn"]] = pid
            self.names[pid] = message["spawn"]
            self.send({"started": message["spawn"], "pid": pid})
        elif message["signal"] in self.pids:
            with suppress(ProcessLookupError):
                os.killpg(self.pids[message["signal"]], message["number"])

    def fork(self, spec: dict[str, Any]) -> int:
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            self.become(spec)
        with suppress(OSError):
            os.setpgid(pid, pid)  # also here: a signal may be asked for before the child has come so far
        return pid

    def become(self, spec: dict[str, Any]) -> NoReturn:
        """The child: leaves everything of the zygote behind and runs the task. Never returns."""
        code = 70
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            with suppress(OSError):
                os.setsid()
            if _libc is not None:
                _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            # The kernel, when it must choose, shall take a task and not the runner.
            with suppress(OSError):
                Path("/proc/self/oom_score_adj").write_text("500")
            self.control.close()
            os.close(self.wake_read)
            os.close(self.wake_write)
            from pipelines.runner.processes import child

            code = child.run(spec)
        except BaseException as error:  # noqa: BLE001  (a fork must end here, whatever happens)
            print(f"the task could not be started: {error!r}", file=sys.stderr, flush=True)
        finally:
            os._exit(code)

    def reap(self) -> None:
        while self.names:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None:
                return
            # Before it is reaped, while its number cannot be anyone else's: what it left running goes with it.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(found.si_pid, signal.SIGKILL)
            pid, status, usage = os.wait4(found.si_pid, 0)
            name = self.names.pop(pid, None)
            if name is None:
                continue
            del self.pids[name]
            ended = os.waitstatus_to_exitcode(status)
            self.send({
                "ended": name,
                "code": ended if ended >= 0 else None,
                "signal": -ended if ended < 0 else None,
                "max_rss": usage.ru_maxrss * 1024,
            })  # fmt: skip


def _ignore(number: int, frame: FrameType | None) -> None:
    """Only there so that SIGCHLD wakes the loop."""


def main() -> None:
    """Serves the socket whose number is the first argument."""
    control, kind = socket.socket(fileno=int(sys.argv[1])), sys.argv[2]
    preload(kind)
    zygote = Zygote(control)
    with suppress(BrokenPipeError, ConnectionResetError):
        zygote.send({"ready": kind, "threads": _num_threads()})
        zygote.serve()


def _num_threads() -> int:
    try:
        return len(os.listdir("/proc/self/task"))  # noqa: PTH208  (no Path machinery in the zygote)
    except OSError:
        return 1


if __name__ == "__main__":
    main()
