"""Instructions for the child process of one attempt of a task, and how its end is interpreted."""

import re
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.core.json_documents import parse_json
from pipelines.runner.beneath import read_file
from pipelines.runner.containers.create import container_spec
from pipelines.runner.containers.lifetime import Containers
from pipelines.runner.context import RunContext
from pipelines.runner.ir.placeholders import resolve_command
from pipelines.runner.processes.environments import InstallFailed, InstallStopped
from pipelines.runner.processes.launch import Launch
from pipelines.runner.processes.resources import CapacityClosed
from pipelines.runner.processes.workers import Ended, Worker
from pipelines.runner.records.logs import tail

# The last line of a traceback: of a container there is nothing else to go by.
_MISTAKE = re.compile(r"components\.core\.errors\.UserError: (.+)")
_KINDS = ("user", "defect", "error")
_MOST_BYTES = 2**20  # of failure.json


class TaskFailed(Exception):  # noqa: N818  (it is how one attempt ended)
    """One attempt failed. `kind`: "user" (its own mistake; a retry is pointless), "defect" (of trimtab), or "error"."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


async def worker_for(context: RunContext, launch: Launch) -> Worker | Containers:
    """The zygote that the task is forked from, or what runs it in a container.

    Raises:
        TaskFailed: the packages that it wants cannot be installed.
        CapacityClosed: the run was stopped while they were.
    """
    if context.containers is not None and not launch.program.on_host:
        return context.containers
    if launch.program.packages:
        try:
            return await context.environments.worker(launch.program.packages, launch.folders.log)
        except InstallFailed as error:
            raise TaskFailed("error", str(error)) from None
        except InstallStopped:
            raise CapacityClosed from None
    return await context.worker_for(launch.program)


def spec_of(context: RunContext, launch: Launch) -> dict[str, Any]:
    """Arguments of `child.run`, or of `Containers.run`.

    Raises:
        TaskFailed: with these inputs the command is empty, or its program is not on this machine.
    """
    if context.containers is not None and not launch.program.on_host:
        return container_spec(context, launch, context.containers.engine)
    program, folders = launch.program, launch.folders
    spec: dict[str, Any] = {
        "log": str(folders.log),
        "folder": str(folders.work),
        "threads": launch.request.threads,
        "mounts": [mount.as_json() for mount in launch.mounts],
        "env": {
            **launch.env,
            "TRIMTAB_STORE": context.store.uri,
            "TRIMTAB_RUN_ID": context.run_id,
            "TRIMTAB_RUN_DIR": str(context.folder),
            "TRIMTAB_TASK": launch.path,
        },
    }
    if program.function:
        spec |= {
            "function": program.function, "module": program.module, "file": program.file, "source": program.source,
            "executor_input": launch.given,
        }  # fmt: skip
    else:
        spec["argv"] = resolve_command(launch.container.command + launch.container.args, launch.given, launch.facts)
        _check_program(spec["argv"], launch.container.image)
    return spec


def _check_program(argv: list[str], image: str) -> None:
    # Most are known, and were looked for, before the run began.
    if not argv:
        raise TaskFailed("error", "its command is empty: with these inputs nothing is left of it")
    if shutil.which(argv[0]) is None:
        raise TaskFailed(
            "error",
            f"its program {argv[0]!r} is not on this machine; --runner container runs it in the image {image!r}",
        )


def check_end(launch: Launch, ended: Ended, worker_log: Path) -> None:
    """Passes a success; turns any other end into `TaskFailed`, saying why."""
    if ended.code == 0 and not ended.timed_out:
        return
    if ended.timed_out:
        seconds = launch.container.settings.timeout_seconds
        raise TaskFailed("error", f"it took longer than its timeout of {seconds:g} s")
    if ended.lost:
        raise TaskFailed("error", f"the worker process that it ran in died (see {worker_log})")
    last = tail(launch.folders.log, 1)
    if ended.reason:
        said = f"; its last words: {last[-1]}" if last else ""
        raise TaskFailed("error", f"{ended.reason}{said}")
    if ended.signal is not None:
        name = signal.Signals(ended.signal).name
        hint = " (out of memory?)" if ended.signal == signal.SIGKILL else ""
        said = f"; its last words: {last[-1]}" if last else ""
        raise TaskFailed("error", f"it was killed by {name}{hint}{said}")
    failure = _failure(launch.folders.work) if launch.program.function else None
    if failure is not None:
        raise TaskFailed(failure["kind"], failure["message"])
    mistake = _MISTAKE.fullmatch(last[-1]) if last and launch.program.image_id else None
    if mistake:
        raise TaskFailed("user", mistake[1])
    said = f": {last[-1]}" if last else ""
    raise TaskFailed("error", f"it left with exit code {ended.code}{said}")


def _failure(folder: Path) -> Mapping[str, str] | None:
    # The component can write to it as well.
    try:
        found = parse_json(read_file(folder, "failure.json", most_bytes=_MOST_BYTES) or b"")
    except (OSError, ValueError):
        return None
    is_ours = isinstance(found, dict) and found.get("kind") in _KINDS and isinstance(found.get("message"), str)
    return found if is_ours else None
