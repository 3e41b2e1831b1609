"""Files on a local disk that appear whole or not at all."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

# Not more: where memory is fragmented, a write of 1 MiB takes the kernel five times as long, for it seeks large pages.
WRITE_BYTES = 64 << 10


def write_synced(path: Path, chunks: Iterable[bytes | memoryview]) -> str:
    """Writes a new file, waits until the disk has it, and returns the sha256 of what was written, in hex."""
    digest = hashlib.sha256()
    # 0o666 under the umask, as for any file: mkstemp's 0o600 would hide a release from the process that serves it.
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666), "wb") as file:  # noqa: PTH123
        for chunk in chunks:
            digest.update(chunk)
            view = memoryview(chunk)
            for start in range(0, len(view), WRITE_BYTES):
                file.write(view[start : start + WRITE_BYTES])
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


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

    For copies of what the store has: after a power cut the file may be absent again, which costs another transfer.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name[:100]}.{uuid.uuid4().hex}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
