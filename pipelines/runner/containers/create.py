"""What the engine is told to create for one task: the image, what it may do, and what of this machine it sees.

A container sees the task's own folders and a local store (writable), the other tasks' artifacts (read only), all
under the paths that they have here, and nothing else of this machine. Its root is read only, it has no capabilities,
and it does not run as root.
"""

import csv
import io
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from components.core.store import Store
from pipelines.quantities import num_bytes, num_cores
from pipelines.runner.containers.engine import Engine
from pipelines.runner.ir.pipeline import Pipeline
from pipelines.runner.ir.placeholders import as_text, local_path, resolve, resolve_command
from pipelines.runner.kubernetes_objects.mounts import Mount
from pipelines.runner.processes.child import THREAD_VARIABLES
from pipelines.runner.processes.launch import Launch
from pipelines.runner.processes.resources import machine_cores

RUN, TASK, FOLDER = "trimtab-run", "trimtab-task", "trimtab-folder"
"""Labels of every container: the run's id, the task's path, the run's folder."""

USER_FOR_ROOT = 10001
"""Who a task is when the runner is root. Its group is 0, for which the runner keeps the folders writable (the habit of
clusters that give each pod a user of its own)."""

_LEAST_MEMORY = 6 * 2**20  # docker refuses less

# What podman and docker themselves obey. A task's variable of such a name must not change the engine's command, so its
# value goes on the command line; every other one is passed by name, for other users of the machine see command lines.
_ENGINES_OWN = re.compile(
    r"PATH|HOME|TMPDIR|USER|(https?|no|all)_proxy|(docker|containers?|podman|buildah|storage|registr\w*|xdg|ld|dbus|go\w*)"
    r"(_.*)?",
    re.IGNORECASE,
)


class Run(Protocol):
    """What a container is told of its run; `RunContext` has it."""

    run_id: str
    folder: Path
    pipeline: Pipeline
    store: Store

    @property
    def workspace(self) -> Path:
        """The folder that the run's tasks share, if the pipeline has one."""


def container_spec(run: Run, launch: Launch, engine: Engine) -> dict[str, Any]:
    """What `Containers.run` is told: `create`, the words after `create`; `env`, variables for the engine's command;
    `log`, the log file; `folder`, the task's own; `memory`, the limit as a text or "".

    Raises:
        UserError: a limit that is no quantity.
    """
    folders, container = launch.folders, launch.container
    temporary = folders.work / "tmp"
    for folder in (temporary, folders.artifacts):
        folder.mkdir(parents=True, exist_ok=True)
    limits, memory = _limits(launch)
    variables = _variables(run, launch, temporary)
    named = {name: value for name, value in variables.items() if not _ENGINES_OWN.fullmatch(name)}
    inherited = sorted(name for name in os.environ if name.startswith("AWS_")) if _is_remote(run.store) else []
    command = resolve_command(container.command, launch.given, launch.facts)
    entrypoint = ["--entrypoint", command[0]] if command else []
    words = [
        "--init",  # so that SIGTERM ends a program that does not handle it, and orphans are reaped
        "--log-driver=json-file", "--read-only", "--tmpfs=/tmp:rw,size=256m,mode=1777",
        "--cap-drop=ALL", "--security-opt=no-new-privileges",
        "--security-opt=label=disable",  # SELinux would hide the mounted folders, or change their labels for good
        f"--label={RUN}={run.run_id}", f"--label={TASK}={launch.path}", f"--label={FOLDER}={run.folder}",
        *_user(engine), *_network(run.store, container.command), *limits, *_mounts(run, launch),
        *(f"--env={name}" if name in named else f"--env={name}={value}" for name, value in variables.items()),
        *(f"--env={name}" for name in inherited),
        *entrypoint, launch.program.image_id, *command[1:],
        *resolve_command(container.args, launch.given, launch.facts),
    ]  # fmt: skip
    return {"create": words, "env": named, "log": str(folders.log), "folder": str(folders.work), "memory": memory}


def _variables(run: Run, launch: Launch, temporary: Path) -> dict[str, str]:
    store = run.store.uri if _is_remote(run.store) else str(Path(run.store.uri).absolute())
    return {
        # The root is read only, and the user is perhaps not in the image's list of users.
        "HOME": str(temporary), "TMPDIR": str(temporary), "USER": "trimtab",
        **dict.fromkeys(THREAD_VARIABLES, str(launch.request.threads)),
        **launch.env,
        "TRIMTAB_STORE": store, "TRIMTAB_RUN_ID": run.run_id, "TRIMTAB_TASK": launch.path,
    }  # fmt: skip


def _is_remote(store: Store) -> bool:
    return "://" in store.uri


def _user(engine: Engine) -> list[str]:
    if os.getuid() == 0:
        return [f"--user={USER_FOR_ROOT}:0"]
    user = [f"--user={os.getuid()}:{os.getgid()}"]
    # Without it, rootless podman would map the user to one who may not write here.
    return ["--userns=keep-id", *user] if engine.name == "podman" else user


def _network(store: Store, command: Sequence[str]) -> list[str]:
    """None unless it is needed: the host's for a remote store, which may be on loopback, and the engine's default for a
    component that installs packages before it runs."""
    if _is_remote(store):
        return ["--network=host"]
    return [] if any("pip install" in word for word in command) else ["--network=none"]


def _limits(launch: Launch) -> tuple[list[str], str]:
    """The words for the limits in the YAML, and the memory limit as it stands there. A request is no limit."""
    resources, where = launch.container.resources, f"executor {launch.container.label!r}"
    words, text = [], ""
    if resources.cpu_limit is not None:
        cpu = num_cores(as_text(resolve(resources.cpu_limit, launch.given, launch.facts)), f"{where}, CPU limit")
        words.append(f"--cpus={min(cpu, machine_cores()):.2f}")  # docker refuses more than there are
    if resources.memory_limit is not None:
        text = as_text(resolve(resources.memory_limit, launch.given, launch.facts))
        size = max(int(num_bytes(text, f"{where}, memory limit")), _LEAST_MEMORY)
        words += [f"--memory={size}", f"--memory-swap={size}"]  # equal: no swap, as on a cluster
    return words, text


def _mounts(run: Run, launch: Launch) -> Iterator[str]:
    artifacts = run.folder / "artifacts"
    yield _mount(artifacts, writable=False)
    for folder in (launch.folders.artifacts, launch.folders.work):
        yield _mount(folder, writable=True)
    if not _is_remote(run.store):
        yield _mount(Path(run.store.uri).absolute(), writable=True)
    outside = {
        Path(local_path(item.get("uri", "")))
        for listed in launch.given["inputs"]["artifacts"].values()
        for item in listed["artifacts"]
    }
    if run.pipeline.has_workspace:
        yield _mount(_shared(run.workspace), writable=True)
    for number, mount in enumerate(launch.mounts):
        if mount.source is not None:
            yield _mount(_shared(mount.source), writable=True, target=mount.path)
        else:
            yield _mount(
                _write(mount, launch.folders.work / "objects" / str(number)), writable=False, target=mount.path
            )
    for path in sorted(outside):
        # Where an importer, say, found something that was here already.
        if path.is_absolute() and path.exists() and not path.is_relative_to(artifacts):
            yield _mount(path, writable=False)


def _shared(folder: Path) -> Path:
    """A folder of the runner's that the task's user, see `USER_FOR_ROOT`, may write to; a link is somebody else's."""
    if os.getuid() == 0 and not folder.is_symlink():
        folder.chmod(folder.stat().st_mode | 0o020)
    return folder


def _write(mount: Mount, folder: Path) -> Path:
    """The files of a secret or config map, for a container to see: with the task's work, so they go with it."""
    folder.mkdir(parents=True, mode=0o750)
    for name, content in mount.files.items():
        (folder / name).touch(mode=0o640)
        (folder / name).write_bytes(content)
    return folder


def _mount(path: Path, *, writable: bool, target: str = "") -> str:
    line = io.StringIO()
    fields = ["type=bind", f"source={path}", f"target={target or path}", *([] if writable else ["readonly"])]
    csv.writer(line, lineterminator="").writerow(fields)  # a path may hold a comma
    return f"--mount={line.getvalue()}"
