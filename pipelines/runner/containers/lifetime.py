"""The containers of one run, from the first to the last: none outlives it, and none that failed counts as a success."""

import asyncio
import contextlib
import os
import secrets
import signal
import stat
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipelines.runner.containers.create import FOLDER
from pipelines.runner.containers.engine import Engine, EngineError
from pipelines.runner.processes.workers import GRACE_SECONDS, Ended
from pipelines.runner.records.state import is_at_work

_RUNNER = "trimtab-runner"
_NEVER_RAN = ("created", "configured", "initialized")
_OVER = ("exited", "stopped", "dead")
_KILLED = 128 + signal.SIGKILL

# Waits for a word, or for the end of the runner, however that came; then kills what the runner started. Twice, since a
# container that was just being created shows up late.
_GUARD = """
read -r word && exit 0
for round in 1 2; do
  ids=$("$1" ps -aq --filter "label=$2")
  if [ -n "$ids" ]; then "$1" kill $ids; "$1" rm -f -v $ids; fi
  sleep 1
done
"""


class Containers:
    """Creates, follows and removes the containers of one run. `folder` is the run's."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.engine = engine
        self.log = folder / "logs" / "containers.txt"
        self._folder = folder
        self._warn: Callable[[str], None] = lambda _: None
        # Not the run's id: the guard of a killed runner must not touch what `resume` has started since.
        self._label = f"{_RUNNER}={secrets.token_hex(8)}"
        self._guard: subprocess.Popen[bytes] | None = None
        self._umask: int | None = None
        self._has_limits = True

    async def open(self, shared: Path | None, warn: Callable[[str], None]) -> None:
        """Removes what killed runners left, and sets a guard over what this one will start.

        Args:
            shared: the folder of a local store that the tasks may change; it is made writable for them.
            warn: told what goes wrong without failing a task.
        """
        self._warn = warn
        await self._remove_leftovers()
        with self.log.open("ab") as log:
            self._guard = subprocess.Popen(
                ["sh", "-c", _GUARD, "guard", self.engine.name, self._label],
                stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True, env=self.engine.environment(),
            )  # fmt: skip
        if os.getuid() == 0 and shared:
            self._umask = os.umask(0o002)  # see `create.USER_FOR_ROOT`
            await asyncio.to_thread(_open_to_group, shared)

    async def run(
        self,
        spec: dict[str, Any],
        *,
        timeout: float | None,
        stop: asyncio.Event,
        on_start: Callable[[], None] = lambda: None,
    ) -> Ended:
        """Runs one container to its end, and removes it. `spec`: see `container_spec`; the others: see `Worker.run`."""
        try:
            container = await self._create(spec)
        except (EngineError, OSError) as error:
            return Ended(reason=f"its container cannot be created: {error}")
        try:
            if stop.is_set():
                return Ended(signal=signal.SIGTERM)
            timed_out = await self._follow(container, spec, timeout, stop, on_start)
            return replace(await self._end_of(container, spec), timed_out=timed_out)
        except EngineError as error:
            return Ended(reason=f"nobody knows how its container ended: {error}")
        finally:
            await self._remove(container)

    def kill(self) -> None:
        """Kills all that runs, at once."""
        if self._guard is not None and self._guard.stdin is not None:
            self._guard.stdin.close()

    async def close(self) -> None:
        """To be called when no task runs any more."""
        guard, self._guard = self._guard, None
        if guard is not None and guard.stdin is not None:
            if not guard.stdin.closed:
                guard.stdin.write(b"done\n")
                guard.stdin.close()
            await asyncio.to_thread(guard.wait)
        if self._umask is not None:
            os.umask(self._umask)

    async def _create(self, spec: dict[str, Any]) -> str:
        words = await self.engine.tell("create", f"--label={self._label}", *spec["create"], env=spec["env"])
        container = words.split()[-1]
        if spec["memory"] and self._has_limits:
            await self._check_limit(container)
        return container

    async def _check_limit(self, container: str) -> None:
        """Warns once of an engine that ignores limits: its own warning is easily missed, and it runs without them."""
        with contextlib.suppress(EngineError):
            got = await self.engine.tell("inspect", "--format", "{{.HostConfig.Memory}}", container)
            self._has_limits = got != "0"
        if not self._has_limits:
            self._warn(
                f"{self.engine.name} ignores memory limits here, as it does without root and with cgroups v1: a task "
                "gets as much as it takes"
            )

    async def _follow(
        self,
        container: str,
        spec: dict[str, Any],
        timeout: float | None,
        stop: asyncio.Event,
        on_start: Callable[[], None],
    ) -> bool:
        """Starts the container and writes its output to the log until it ends. Returns whether its time was up."""
        with Path(spec["log"]).open("ab") as log:
            # Attached before it starts, so that not a word is lost.
            attached = await asyncio.create_subprocess_exec(
                self.engine.name, "start", "--attach", container, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, cwd=spec["folder"], env=self.engine.environment(),
            )  # fmt: skip
        on_start()
        over, stopping = asyncio.create_task(attached.wait()), asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({over, stopping}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            if over.done():
                return False
            timed_out = not stopping.done()
            await self.engine.tell("stop", "-t", f"{GRACE_SECONDS:.0f}", container)
            await asyncio.wait({over}, timeout=GRACE_SECONDS)
            return timed_out
        finally:
            stopping.cancel()
            if attached.returncode is None:
                attached.kill()
            await over

    async def _end_of(self, container: str, spec: dict[str, Any]) -> Ended:
        """The engine's report of the end; the exit code of the command that followed the output proves nothing."""
        form = "{{.State.Status}} {{.State.ExitCode}} {{.State.OOMKilled}}"
        status, code, out_of_memory = (await self.engine.tell("inspect", "--format", form, container)).split()
        if status in _NEVER_RAN:
            return Ended(reason="its container could not be started")
        if status not in _OVER:
            return Ended(reason=f"the connection to its container was lost (it is {status}, and is removed)")
        if int(code) != _KILLED:
            return Ended(code=int(code))
        limit = f"its memory limit is {spec['memory']}" if spec["memory"] else "it has no memory limit of its own"
        # podman's monitor may leave its note where it was started, and podman itself does not find it there.
        sure = out_of_memory == "true" or (Path(spec["folder"]) / "oom").exists()
        what = "ran out of memory" if sure else "was killed, perhaps for want of memory"
        return Ended(reason=f"it {what} (exit code {code}; {limit})")

    async def _remove(self, container: str) -> None:
        try:
            await self.engine.tell("rm", "-f", "-v", container)
        except EngineError as error:
            self._warn(f"the container {container[:12]} cannot be removed: {error}")

    async def _remove_leftovers(self) -> None:
        """Removes the containers of runs beside this one whose runner is gone, and of this one's earlier runner."""
        form = f'{{{{index .Config.Labels "{FOLDER}"}}}}'
        try:
            found = (await self.engine.tell("ps", "-aq", "--filter", f"label={FOLDER}")).split()
        except EngineError as error:
            self._warn(f"cannot list the containers of earlier runs: {error}")
            return
        for container in found:
            try:
                folder = Path(await self.engine.tell("inspect", "--format", form, container))
            except EngineError:
                continue  # it has ended since, or another runner has removed it
            if folder == self._folder or (folder.parent == self._folder.parent and not is_at_work(folder)):
                await self._remove(container)


def _open_to_group(root: Path) -> None:
    """Lets the group write to the folders and locks that earlier runs made under another umask; links are left."""
    for _, _, files, folder in os.fwalk(root, follow_symlinks=False):
        for name in (".", *(name for name in files if name.startswith("."))):
            with contextlib.suppress(OSError):  # another run's, which has just ended; or a link
                opened = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
                try:
                    found = os.fstat(opened)
                    # Of the runner's own: a task may have left something with two names.
                    if found.st_uid == os.getuid() and (stat.S_ISDIR(found.st_mode) or found.st_nlink == 1):
                        os.fchmod(opened, stat.S_IMODE(found.st_mode) | 0o020)
                finally:
                    os.close(opened)
