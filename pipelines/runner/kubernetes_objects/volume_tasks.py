"""CreatePVC and DeletePVC (kfp-kubernetes) on one machine: a volume is a folder, `<home>/volumes/<name>`.

Run as components, in a child like any other: what they print is in the task's log.
"""

import hashlib
import os
import re
import shutil
from pathlib import Path
from typing import NamedTuple

from components.core.errors import UserError

_VOLUME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")


class Created(NamedTuple):
    """The output of CreatePVC."""

    name: str


def create_volume(pvc_name: str = "", pvc_name_suffix: str = "") -> Created:
    """Makes a volume's folder. One of that name is used again, as a cluster's cache would."""
    run, task = os.environ["TRIMTAB_RUN_ID"], os.environ["TRIMTAB_TASK"]
    if bool(pvc_name) == bool(pvc_name_suffix):
        raise UserError("CreatePVC needs either pvc_name or pvc_name_suffix")
    # By the task's path too: the iterations of a loop make a volume each.
    own = f"{re.sub(r'[^a-z0-9.-]', '-', run.lower())}-{hashlib.sha256(task.encode()).hexdigest()[:6]}"
    name = pvc_name or f"{own}{pvc_name_suffix}"
    folder = volume_folder(_volumes(), name)
    if folder.is_dir():
        print(f"the volume {name} was there already: {folder}")
    else:
        # First the note whose it is: a kill in between must not leave a volume that nobody may delete.
        maker, written = _maker(folder), _maker(folder).with_name(f"{folder.name}.{os.getpid()}")
        maker.parent.mkdir(parents=True, exist_ok=True)
        written.write_text(run, encoding="utf-8")
        written.replace(maker)
        folder.mkdir(exist_ok=True)
        print(f"made the volume {name}: {folder}")
    return Created(name=name)


def delete_volume(pvc_name: str) -> None:
    """Removes a volume that this run made; any other one is kept, since nobody could bring it back."""
    folder = volume_folder(_volumes(), pvc_name)
    try:
        maker = _maker(folder).read_text(encoding="utf-8")
    except FileNotFoundError:
        maker = ""
    if maker != os.environ["TRIMTAB_RUN_ID"]:
        print(f"kept the volume {pvc_name}, which this run did not make; delete it by hand: {folder}")
        return
    shutil.rmtree(folder)
    _maker(folder).unlink()
    print(f"deleted the volume {pvc_name}")


def volume_folder(volumes: Path, name: str) -> Path:
    """Where a volume's files are.

    Raises:
        UserError: no name that a volume can have.
    """
    if not _VOLUME.fullmatch(name):
        raise UserError(f"{name!r} is not a valid name of a volume: use lower case letters, digits, '-' and '.'")
    return volumes / name


def _volumes() -> Path:
    return Path(os.environ["TRIMTAB_RUN_DIR"]).parent.parent / "volumes"


def _maker(folder: Path) -> Path:
    # Beside the volumes and not inside: a volume holds what the tasks put there.
    return folder.parent / ".made-by" / folder.name
