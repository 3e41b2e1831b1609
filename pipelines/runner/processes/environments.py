"""Virtual environments for `packages_to_install`: built once, found again by their content, never half there.

Nothing is ever installed into the environment that trimtab runs in: what it lacks goes into `<home>/environments`,
which all runs of a home folder share.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import secrets
import shlex
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from pipelines.runner.processes.workers import Worker
from pipelines.runner.reading.packages import Install
from pipelines.runner.records.logs import tail

_LOCK_SECONDS = 0.2
_QUIET = ("--disable-pip-version-check", "--no-input", "--quiet", "--no-warn-script-location")


class InstallFailed(Exception):  # noqa: N818  (it becomes the task's failure)
    """pip, or the making of the environment, failed; the text is one line that says why."""


class InstallStopped(Exception):  # noqa: N818  (it is how the wait ended)
    """The run was stopped before the environment was there."""


class Environments:
    """One run's environments, each with a zygote of its own interpreter."""

    def __init__(self, home: Path, logs: Path, stop: asyncio.Event) -> None:
        self._home = home
        self._logs = logs
        self._stop = stop
        self._workers: dict[tuple[Install, ...], Worker] = {}

    async def worker(self, wanted: tuple[Install, ...], log: Path) -> Worker:
        """The zygote whose children see the packages; pip's words go to `log`.

        Raises:
            InstallFailed: with pip's last word.
            InstallStopped: the run was stopped meanwhile.
        """
        if wanted not in self._workers:
            python = await environment(self._home, wanted, log, self._stop)
            if wanted not in self._workers:  # another task's wait may have ended first
                log = self._logs / f"worker-packages-{len(self._workers) + 1}.txt"
                self._workers[wanted] = Worker("light", log, interpreter=str(python))
        worker = self._workers[wanted]
        await worker.start()
        return worker

    def kill(self) -> None:
        """Kills the zygotes and their children."""
        for worker in self._workers.values():
            worker.kill()

    async def close(self) -> None:
        """Ends the zygotes; nothing of them is left when this returns."""
        await asyncio.gather(*(worker.close() for worker in self._workers.values()))


def environment_key(wanted: Sequence[Install]) -> str:
    """Names an environment: what is installed into it, for which interpreter, and on top of which packages."""
    below = sorted({f"{item.name} {item.version}" for item in importlib.metadata.distributions()})
    content = [
        [[list(install.options), list(install.requirements)] for install in wanted],
        [sys.version, sys.implementation.cache_tag, sys.platform, sys.base_prefix],
        [_package_folders(), below],
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]


def _package_folders() -> list[str]:
    return [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]


async def environment(home: Path, wanted: Sequence[Install], log: Path, stop: asyncio.Event) -> Path:
    """The interpreter of the environment that holds `wanted`, built if there is none.

    Built once, however many runs ask at the same time; what a killed build leaves is never used. It sees the packages
    of this environment behind its own, so kfp and torch are not installed again.

    Args:
        home: the environments are in `<home>/environments`.
        wanted: what to install, one pip call each.
        log: where pip's words go.
        stop: ends the build.

    Raises:
        InstallFailed: with pip's last word.
        InstallStopped: `stop` was set.
    """
    folder = home / "environments" / environment_key(wanted)
    ready = folder / "ready"
    if not _python(ready).exists():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            async with _locked(folder.with_suffix(".lock"), stop):
                if not _python(ready).exists():
                    await _build(folder, wanted, log, stop)
        except OSError as error:
            raise InstallFailed(f"the environment {folder} cannot be made: {error}") from None
    # A build's own place, not the link: installed scripts name it, and it stays what it is.
    return _python(folder / ready.readlink())


def _python(environment: Path) -> Path:
    return environment / "bin" / "python"


@contextlib.asynccontextmanager
async def _locked(path: Path, stop: asyncio.Event) -> AsyncIterator[None]:
    """Holds a lock that other runs see, and that the kernel takes back when this process dies."""
    with path.open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if stop.is_set():
                    raise InstallStopped from None
                await asyncio.sleep(_LOCK_SECONDS)
        yield


async def _build(folder: Path, wanted: Sequence[Install], log: Path, stop: asyncio.Event) -> None:
    for left_over in folder.iterdir():  # of builds that were killed: the lock is ours
        if left_over.is_dir() and not left_over.is_symlink():
            shutil.rmtree(left_over, ignore_errors=True)
    # A name of its own: the pip of a killed run may still be writing to the last one.
    place = folder / f"build-{secrets.token_hex(4)}"
    try:
        await _call([sys.executable, "-P", "-m", "venv", "--without-pip", str(place)], log, stop)
        _see_this_environment(place)
        python = str(_python(place))
        if importlib.util.find_spec("pip") is None:
            await _call([python, "-P", "-m", "ensurepip"], log, stop)
        for install in wanted:
            words = [*_QUIET, *install.options, *install.requirements]
            await _call([python, "-P", "-m", "pip", "install", *words], log, stop)
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
    link = folder / f"link-{place.name}"
    link.symlink_to(place.name)
    link.replace(folder / "ready")


def _see_this_environment(place: Path) -> None:
    # `addsitedir` and not just a path: this environment's own .pth files (an editable install) count as well. It
    # appends, so the new environment's packages come first.
    lines = [f"import site; site.addsitedir({path!r})\n" for path in _package_folders()]
    packages = next(place.glob("lib/python*/site-packages"))
    (packages / "zz_packages_of_trimtab.pth").write_text("".join(lines), encoding="utf-8")


async def _call(argv: list[str], log: Path, stop: asyncio.Event) -> None:
    # PYTHONPATH would come before the new packages and hide them.
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *argv, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output, env=variables,
            start_new_session=True,
        )  # fmt: skip
    ended, stopped = asyncio.create_task(process.wait()), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if process.returncode is None and not ended.done():
            raise InstallStopped
    finally:
        stopped.cancel()
        if not ended.done():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await ended
    if process.returncode:
        said = [line for line in tail(log, 20) if line.strip()]
        errors = [line for line in said if line.startswith("ERROR:")]
        last = (errors or said or ["it said nothing"])[-1]
        raise InstallFailed(f"its packages cannot be installed ({shlex.join(_named(argv))}): {last}")


def _named(argv: list[str]) -> list[str]:
    """The part of a command line that a reader needs: what was to be installed."""
    start = argv.index("install") + 1 if "install" in argv else 1
    return [word for word in argv[start:] if not word.startswith("-") and "://" not in word] or argv[1:3]
