"""Files and folders on a local disk that appear whole or not at all."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from components.core.errors import UserError

# Not the system's randomness: many threads would wait for one another at each name.
_NAMES = random.Random()
os.register_at_fork(after_in_child=_NAMES.seed)


def write_new(path: Path, chunks: Iterable[bytes | memoryview], *, is_synced: bool = False) -> str:
    """Writes a new file, in a folder that is made, and returns the sha256 of what was written, in hex.

    Args:
        is_synced: wait until the disk has it. For what is nowhere else: a copy of what the store has can be made again.
    """
    digest = hashlib.sha256()
    try:
        descriptor = _open_new(path)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = _open_new(path)
    try:
        for chunk in chunks:
            digest.update(chunk)
            view = memoryview(chunk)
            while view:
                view = view[os.write(descriptor, view) :]
        if is_synced:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return digest.hexdigest()


def _open_new(path: Path) -> int:
    # 0o666 under the umask, as for any file: mkstemp's 0o600 would hide a release from the process that serves it.
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)


def sync_folder(folder: Path) -> None:
    """Waits until the disk has the folder's entries: a rename is not durable before that."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Atomic: the block writes the file it is given, which then becomes `path`, or vanishes if the block raises.

    For copies of what the store has: after a power cut the file may be absent, empty or cut short. Who keeps it for
    longer than the machine runs says what was verified (`artifacts/manifest.py`), or syncs it.
    """
    partial = path.with_name(f".{path.name[:100]}.{_NAMES.getrandbits(128):032x}.partial")
    try:
        yield partial
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Atomic: the block fills the folder it is given, which then becomes `path`, or vanishes if the block raises.

    Raises:
        UserError: `path` is there already, or cannot be made.
    """
    if path.exists() or path.is_symlink():
        raise UserError(f"{path} already exists; name a new folder")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{path.name[:100]}.", dir=path.parent))
        try:
            yield aside
            aside.chmod(0o755)  # mkdtemp's 0o700 would hide it from the process that serves it
            aside.rename(path)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
    except OSError as error:
        raise UserError(f"cannot create {path}: {(error.strerror or 'unknown error').lower()}") from None
