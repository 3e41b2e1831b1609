"""Before a run: is every secret, config map and volume that the pipeline names here, and can it be mounted?"""

import difflib
import os
import site
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from components.core.errors import UserError
from pipelines.runner.ir.pipeline import Pipeline
from pipelines.runner.ir.settings import ObjectAsEnv
from pipelines.runner.kubernetes_objects import mounts
from pipelines.runner.kubernetes_objects.files import read_objects
from pipelines.runner.kubernetes_objects.references import TaskReferences, references_of
from pipelines.runner.kubernetes_objects.supplied import HOW_TO_GIVE, KubernetesObjects
from pipelines.runner.options import RunOptions
from pipelines.runner.reading.documents import quoting_a_file
from pipelines.runner.reading.executors import CREATE_VOLUME

_SYSTEM = ("/bin", "/dev", "/etc", "/lib", "/lib64", "/proc", "/sbin", "/sys", "/usr")


@quoting_a_file()
def read_kubernetes_objects(
    pipeline: Pipeline, values: Mapping[str, Any], options: RunOptions, home: Path
) -> KubernetesObjects:
    """Reads the given secrets and config maps, and checks them and the volumes against what the pipeline uses.

    Args:
        pipeline: what is to run.
        values: its parameters.
        options: `secrets` and `engine` are looked at.
        home: the volumes are in its folder `volumes`.

    Raises:
        UserError: something that is missing, malformed, unknown to the pipeline, or not possible on this machine.
    """
    found = KubernetesObjects(volumes=home / "volumes", objects=read_objects(options.secrets))
    tasks = list(references_of(pipeline, values))
    _check_all_given(tasks, found)
    _check_all_used(tasks, found)
    can_mount = options.engine != "process" or not any(_paths(task) for task in tasks) or mounts.possible()
    made = _made_here(tasks)
    for task in tasks:
        try:
            _check_values(task, found)
            _check_volumes(task, found, made)
            if options.engine == "process":
                _check_paths(_paths(task), home, can_mount=can_mount)
        except UserError as error:
            raise UserError(f"task {task.name!r}: {error}") from None
    return found


def _paths(task: TaskReferences) -> list[str]:
    return list(task.container.settings.paths)


def _check_all_given(tasks: Sequence[TaskReferences], found: KubernetesObjects) -> None:
    missing: dict[str, dict[str, None]] = {}
    for task in tasks:
        for item in task.container.settings.objects:
            name = task.names.get(item.name)
            if name is None or name in found.objects or item.optional:
                continue
            keys = ", ".join(map(repr, item.variables)) if isinstance(item, ObjectAsEnv) else "as files"
            missing.setdefault(f"{item.kind} {name!r}", {})[f"{keys} in task {task.name!r}"] = None
    if missing:
        listed = "; ".join(f"{name} ({', '.join(where)})" for name, where in missing.items())
        raise UserError(f"the pipeline needs {listed}; give each with --secret NAME=PATH: {HOW_TO_GIVE}")


def _check_all_used(tasks: Sequence[TaskReferences], found: KubernetesObjects) -> None:
    objects = [(task.names.get(item.name)) for task in tasks for item in task.container.settings.objects]
    if None in objects:
        return  # a name that is known only when the task starts may be any
    known = sorted({name for name in objects if name is not None})
    for name in found.objects:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise UserError(
                f"--secret {name}: the pipeline uses no secret or config map of this name{hint} (it uses: "
                f"{', '.join(known) or 'none'})"
            )


def _check_values(task: TaskReferences, found: KubernetesObjects) -> None:
    for entry in task.container.settings.env:
        if entry.name in task.names:
            found.variables(entry, task.names[entry.name])


def _made_here(tasks: Sequence[TaskReferences]) -> set[str] | None:
    """Names of the volumes that the pipeline makes; None if one of them is not known yet."""
    names: set[str] = set()
    for task in tasks:
        if task.container.image != CREATE_VOLUME:
            continue
        for key in ("data_source", "volume_name"):
            if task.known.get(key):
                raise UserError(
                    f"task {task.name!r}: the local runner does not support a volume that comes with content "
                    f"({key}); create its folder by hand, and mount it without CreatePVC"
                )
        name = task.known.get("pvc_name")
        if not isinstance(name, str):
            return None
        names.add(name)
    return names


def _check_volumes(task: TaskReferences, found: KubernetesObjects, made: set[str] | None) -> None:
    for volume in task.container.settings.volumes:
        name = task.names.get(volume.name)
        if name is not None and made is not None and name not in made:
            found.volume(name)


def _check_paths(paths: Sequence[str], home: Path, *, can_mount: bool) -> None:
    """Mount paths that a process of this machine can have."""
    for path in paths:
        if not can_mount:
            raise UserError(
                f"it needs a mount at {path}, but this machine does not let processes mount anything (Linux mount "
                "namespaces); use --runner container"
            )
        place = PurePosixPath(path)
        if len(set(paths)) < len(paths):
            raise UserError(f"it needs two mounts at one path ({', '.join(sorted(paths))})")
        hidden = next((used for used in _needed(home) if PurePosixPath(used).is_relative_to(place)), None)
        if hidden:
            raise UserError(
                f"it needs a mount at {path}, which would hide {hidden} from the task's process; use --runner container"
            )


def _needed(home: Path) -> list[str]:
    """Folders without which a task's process cannot work."""
    code = [str(Path(path).absolute()) for path in sys.path if path]
    places = [sys.prefix, sys.base_prefix, *site.getsitepackages(), *code, str(home), str(Path.cwd())]
    return [*_SYSTEM, *places, *(os.path.realpath(place) for place in places)]
