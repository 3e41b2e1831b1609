"""Files that end: no pipe, no device, nothing of the kernel's."""

import os
from pathlib import Path


def is_plain_file(path: str | os.PathLike[str]) -> bool:
    """Whether it is a file of a disk, behind whatever links. `/proc/kmsg` and `/proc/kcore` look like files to
    `Path.is_file`, and are read for ever."""
    found = Path(os.path.realpath(path))
    return found.is_file() and found.parts[1] not in ("proc", "sys")
