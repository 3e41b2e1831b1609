"""The container that the engine creates for one task: the image, what it may do, and what of this machine it sees.

A container sees the task's own folders (writable), a local store and the other tasks' artifacts (read only), all
under the paths that they have here, and nothing else of this machine. Its root is read only, it has no capabilities, no
network unless it was given one, and it does not run as root. What it writes is looked at before it is used: see
`store_changes.py`, and `tasks/outputs.py`.
"""

import csv
import io
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from components.core.errors import UserError
from components.core.results.payload import is_remote
from components.core.store import CHANGES_VARIABLE, Store
from pipelines.quantities import num_bytes, num_cores
from pipelines.runner.containers.engine import Engine
from pipelines.runner.containers.permissions import is_remote_store
from pipelines.runner.ir.pipeline import Pipeline
from pipelines.runner.ir.placeholders import as_text, local_path, resolve, resolve_command
from pipelines.runner.kubernetes_objects.mounts import Mount
from pipelines.runner.options import RunOptions
from pipelines.runner.processes.child import THREAD_VARIABLES
from pipelines.runner.processes.launch import Folders, Launch
from pipelines.runner.processes.resources import machine_cores

RUN, TASK, FOLDER = "trimtab-run", "trimtab-task", "trimtab-folder"
"""Labels of every container: the run's id, the task's path, the run's folder."""

USER_FOR_ROOT = 10001
"""Who a task is when the runner is root. Its group is 0, for which the runner keeps the folders writable (the habit of
clusters that give each pod a user of its own)."""

_LEAST_MEMORY = 6 * 2**20  # docker refuses less

# A secret's variable is passed by name, for other users of the machine see command lines. So it stands in the engine's
# environment, where names like these would change what the engine does.
_ENGINES_OWN = re.compile(
    r"_*(PATH|HOME|TMPDIR|USER|LOGNAME|SHELL|LANG|LC|(https?|no|all)_proxy|docker|containers?|podman|buildah|storage|xdg|"
    r"ld|dbus|go|ssl|ssh|oci|cni|netavark|runc|crun|conmon|gnupg|malloc|glibc)(_.*)?"
    r"|GO[A-Z]+|REGISTRY_AUTH_FILE|REGISTRIES_CONFIG_PATH|NOTIFY_SOCKET|LISTEN_(PID|FDS|FDNAMES)",
    re.IGNORECASE,
)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


class Run(Protocol):
    """Facts of the run for a container; `RunContext` has them."""

    run_id: str
    folder: Path
    pipeline: Pipeline
    store: Store
    options: RunOptions

    @property
    def workspace(self) -> Path:
        """The folder that the run's tasks share, if the pipeline has one."""


def container_spec(run: Run, launch: Launch, engine: Engine) -> dict[str, Any]:
    """Arguments of `Containers.run`: `create`, the words after `create`; `env`, variables for the engine's command;
    `log`, the log file; `folder`, where the engine may leave notes; `memory`, the limit as a text or "".

    Raises:
        UserError: a limit that is no quantity; a variable whose name is none, or that the engine would obey.
    """
    folders, container = launch.folders, launch.container
    temporary = folders.work / "tmp"
    notes = run.folder / "engine" / launch.path  # not the task's folder: the engine's monitor follows links there
    for folder in (temporary, folders.artifacts, notes):
        folder.mkdir(parents=True, exist_ok=True)
    for folder in (folders.work, temporary, folders.artifacts, *_parents_of_outputs(launch)):
        _shared(folder)
    limits, memory = _limits(launch)
    variables = _variables(run, launch, temporary)
    secret = {name: value for name, value in variables.items() if name in launch.secret}
    _check_names(variables, secret)
    if is_remote_store(run.store) and "store" in run.options.allow:
        secret |= {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    command = resolve_command(container.command, launch.given, launch.facts)
    entrypoint = ["--entrypoint", command[0]] if command else []
    words = [
        "--init",  # so that SIGTERM ends a program that does not handle it, and orphans are reaped
        "--log-driver=json-file", "--read-only", "--tmpfs=/tmp:rw,size=256m,mode=1777",
        "--cap-drop=ALL", "--security-opt=no-new-privileges",
        "--security-opt=label=disable",  # SELinux would hide the mounted folders, or change their labels for good
        f"--label={RUN}={run.run_id}", f"--label={TASK}={launch.path}", f"--label={FOLDER}={run.folder}",
        *_user(engine), *_network(run.options, engine), *limits, *_mounts(run, launch),
        *(f"--env={name}={value}" for name, value in variables.items() if name not in secret),
        *(f"--env={name}" for name in secret),
        *entrypoint, launch.program.image_id, *command[1:],
        *resolve_command(container.args, launch.given, launch.facts),
    ]  # fmt: skip
    return {"create": words, "env": secret, "log": str(folders.log), "folder": str(notes), "memory": memory}


def _parents_of_outputs(launch: Launch) -> set[Path]:
    outputs = launch.given["outputs"]
    files = [item["outputFile"] for item in outputs["parameters"].values()]
    places = [item["artifacts"][0]["uri"] for item in outputs["artifacts"].values()]
    return {Path(path).parent for path in (*files, *places)}


def _check_names(variables: Mapping[str, str], secret: Mapping[str, str]) -> None:
    for name in variables:
        if not _VARIABLE.fullmatch(name):
            raise UserError(f"{name[:60]!r} is not a valid name of an environment variable in a container")
        if name in secret and _ENGINES_OWN.fullmatch(name):
            raise UserError(
                f"in a container, a secret cannot set the variable {name!r}: the container engine reads it too"
            )


def _variables(run: Run, launch: Launch, temporary: Path) -> dict[str, str]:
    store = run.store.uri if is_remote_store(run.store) else str(Path(run.store.uri).absolute())
    changes = {} if may_change_store(run) else {CHANGES_VARIABLE: str(store_changes(launch.folders))}
    return {
        # The root is read only, and the user is perhaps not in the image's list of users.
        "HOME": str(temporary), "TMPDIR": str(temporary), "USER": "trimtab",
        **dict.fromkeys(THREAD_VARIABLES, str(launch.request.threads)),
        **launch.env,
        "TRIMTAB_STORE": store, "TRIMTAB_RUN_ID": run.run_id, "TRIMTAB_TASK": launch.path,
        **changes,
    }  # fmt: skip


def may_change_store(run: Run) -> bool:
    """Whether the tasks were given the store itself; else each writes to a folder, see `store_changes`."""
    return "store" in run.options.allow


def store_changes(folders: Folders) -> Path:
    """Where a task writes what shall come into the store."""
    return folders.work / "store"


def _user(engine: Engine) -> list[str]:
    if os.getuid() == 0:
        return [f"--user={USER_FOR_ROOT}:0"]
    user = [f"--user={os.getuid()}:{os.getgid()}"]
    # Without it, rootless podman would map the user to one who may not write here.
    return ["--userns=keep-id", *user] if engine.name == "podman" else user


def _network(options: RunOptions, engine: Engine) -> list[str]:
    if "host-network" in options.allow:
        return ["--network=host"]
    if "network" in options.allow:
        return []
    # podman hands the proxies' addresses on, which may hold a password.
    return ["--network=none", *(["--http-proxy=false"] if engine.name == "podman" else [])]


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
    if not is_remote_store(run.store):
        yield _mount(Path(run.store.uri).absolute(), writable=may_change_store(run))
    outside = {
        Path(local_path(item["uri"]))
        for listed in launch.given["inputs"]["artifacts"].values()
        for item in listed["artifacts"]
        if item.get("uri") and not is_remote(item)
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
