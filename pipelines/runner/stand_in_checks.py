"""Before a run: is there a stand-in for everything that the pipeline names, and can it be mounted here?"""

import difflib
import os
import site
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from components.core.errors import UserError
from pipelines.runner import mounts
from pipelines.runner.documents import quoting_a_file
from pipelines.runner.ir import Pipeline
from pipelines.runner.object_files import read_objects
from pipelines.runner.options import RunOptions
from pipelines.runner.settings import ObjectAsEnv
from pipelines.runner.stand_ins import HOW_TO_GIVE, StandIns
from pipelines.runner.uses import Use, uses_of
from pipelines.runner.volume_tasks import CREATE

_SYSTEM = ("/bin", "/dev", "/etc", "/lib", "/lib64", "/proc", "/sbin", "/sys", "/usr")


@quoting_a_file()
def stand_ins(pipeline: Pipeline, values: Mapping[str, Any], options: RunOptions, home: Path) -> StandIns:
    """Reads what stands for the cluster's things, and checks it against what the pipeline uses.

    Args:
        pipeline: what is to run.
        values: its parameters.
        options: `secrets` and `engine` are looked at.
        home: the volumes are in its folder `volumes`.

    Raises:
        UserError: something that is missing, malformed, unknown to the pipeline, or not possible on this machine.
    """
    found = StandIns(volumes=home / "volumes", objects=read_objects(options.secrets))
    uses = list(uses_of(pipeline, values))
    _check_all_given(uses, found)
    _check_all_used(uses, found)
    can_mount = options.engine != "process" or not any(_paths(use) for use in uses) or mounts.possible()
    made = _made_here(uses)
    for use in uses:
        try:
            _check_values(use, found)
            _check_volumes(use, found, made)
            if options.engine == "process":
                _check_paths(_paths(use), home, can_mount=can_mount)
        except UserError as error:
            raise UserError(f"task {use.task!r}: {error}") from None
    return found


def _paths(use: Use) -> list[str]:
    return list(use.container.settings.paths)


def _check_all_given(uses: Sequence[Use], found: StandIns) -> None:
    missing: dict[str, dict[str, None]] = {}
    for use in uses:
        for item in use.container.settings.objects:
            name = use.names.get(item.name)
            if name is None or name in found.objects or item.optional:
                continue
            keys = ", ".join(map(repr, item.variables)) if isinstance(item, ObjectAsEnv) else "as files"
            missing.setdefault(f"{item.kind} {name!r}", {})[f"{keys} in task {use.task!r}"] = None
    if missing:
        listed = "; ".join(f"{name} ({', '.join(where)})" for name, where in missing.items())
        raise UserError(f"the pipeline needs {listed}; give each with --secret NAME=PATH: {HOW_TO_GIVE}")


def _check_all_used(uses: Sequence[Use], found: StandIns) -> None:
    objects = [(use.names.get(item.name)) for use in uses for item in use.container.settings.objects]
    if None in objects:
        return  # a name that is known only when the task starts may be any
    known = sorted({name for name in objects if name is not None})
    for name in found.objects:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise UserError(
                f"--secret {name}: the pipeline uses no secret or config map of that name{hint} "
                f"(it uses: {', '.join(known) or 'none'})"
            )


def _check_values(use: Use, found: StandIns) -> None:
    for entry in use.container.settings.env:
        if entry.name in use.names:
            found.variables(entry, use.names[entry.name])


def _made_here(uses: Sequence[Use]) -> set[str] | None:
    """Names of the volumes that the pipeline makes; None if one of them is not known yet."""
    names: set[str] = set()
    for use in uses:
        if use.container.image != CREATE:
            continue
        for key in ("data_source", "volume_name"):
            if use.known.get(key):
                raise UserError(
                    f"task {use.task!r}: a volume that comes with content ({key}) is not supported by the local "
                    "runner; make its folder by hand, and mount it without CreatePVC"
                )
        name = use.known.get("pvc_name")
        if not isinstance(name, str):
            return None
        names.add(name)
    return names


def _check_volumes(use: Use, found: StandIns, made: set[str] | None) -> None:
    for volume in use.container.settings.volumes:
        name = use.names.get(volume.name)
        if name is not None and made is not None and name not in made:
            found.volume(name)


def _check_paths(paths: Sequence[str], home: Path, *, can_mount: bool) -> None:
    """Mount paths that a process of this machine can have."""
    for path in paths:
        if not can_mount:
            raise UserError(
                f"it wants something mounted at {path}, and this machine lets no process have mounts of its own (mount "
                "namespaces, Linux); --runner container can do it"
            )
        place = PurePosixPath(path)
        if len(set(paths)) < len(paths):
            raise UserError(f"it wants two things mounted at one path ({', '.join(sorted(paths))})")
        hidden = next((used for used in _needed(home) if PurePosixPath(used).is_relative_to(place)), None)
        if hidden:
            raise UserError(
                f"it wants something mounted at {path}, which would hide {hidden} from the task's process; "
                "--runner container can do it"
            )


def _needed(home: Path) -> list[str]:
    """Folders without which a task's process cannot work."""
    code = [str(Path(path).absolute()) for path in sys.path if path]
    places = [sys.prefix, sys.base_prefix, *site.getsitepackages(), *code, str(home), str(Path.cwd())]
    return [*_SYSTEM, *places, *(os.path.realpath(place) for place in places)]
