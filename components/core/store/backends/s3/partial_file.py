"""A large file on its way to this disk, in ranges; what has arrived is found again after an interruption."""

from __future__ import annotations

import fcntl
import json
import os
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from components.core.store.errors import Damaged


class PartialFile:
    """Bytes that many threads write at their offsets, and the record of the ranges that are whole.

    The record is a hint and no proof (after a power cut the disk may have it and not the bytes): whoever publishes the
    file verifies all of it. Its first line tells of what, each further one the number of a range.
    """

    def __init__(self, descriptor: int, record: Path | None, identity: dict[str, object]) -> None:
        self._descriptor = descriptor
        self._record = record
        self._identity = identity
        self._lock = threading.Lock()
        self._finished = self._read()
        self.num_resumed = len(self._finished)

    def is_finished(self, number: int) -> bool:
        return number in self._finished

    def write(self, offset: int, view: memoryview) -> None:
        while view:
            written = os.pwrite(self._descriptor, view, offset)
            view, offset = view[written:], offset + written

    def read_into(self, buffer: memoryview, offset: int) -> int:
        return os.preadv(self._descriptor, [buffer], offset)

    def finish(self, number: int) -> None:
        """Records that the range with this number is whole."""
        with self._lock:
            self._finished.add(number)
            if self._record is not None:
                with self._record.open("a") as record:
                    record.write(f"{number}\n")

    def _read(self) -> set[int]:
        if self._record is None:
            return set()
        try:
            first, *lines = self._record.read_text().split("\n")[:-1]  # what is not ended was torn
            if json.loads(first) == self._identity:
                return {int(line) for line in lines}
        except (OSError, ValueError):
            pass  # none yet, or torn: begin again
        if os.fstat(self._descriptor).st_size:  # ext4 writes a file that was truncated to the disk as it is closed
            os.ftruncate(self._descriptor, 0)
        self._record.write_text(json.dumps(self._identity) + "\n")
        return set()


@contextmanager
def replacing_in_ranges(path: Path, *, sha256: str, identity: dict[str, object]) -> Iterator[PartialFile]:
    """Atomic: the block fills the file, which then becomes `path`. If the block raises, what has arrived is kept.

    It is found again by the next call for the same path, digest and identity (what may be compared: size, etag, range).
    `Damaged` from the block discards it. Two at once do not share a file: the second keeps nothing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name[:100]}.{sha256[:16]}.partial")
    descriptor = _lock(partial)
    record: Path | None = partial.with_suffix(".ranges")
    if descriptor is None:
        partial, record = path.with_name(f".{path.name[:100]}.{uuid.uuid4().hex}.partial"), None
        descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    keep = False
    try:
        yield PartialFile(descriptor, record, identity)
        partial.replace(path)
    except Damaged:
        raise
    except BaseException:
        keep = record is not None
        raise
    finally:
        if not keep:
            if record is not None:
                record.unlink(missing_ok=True)
            partial.unlink(missing_ok=True)
        os.close(descriptor)


def _lock(partial: Path) -> int | None:
    """A descriptor that alone holds the file's lock, or None if another has it or the file system has no locks."""
    while True:
        descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever held it may have renamed the file between our open and our lock: then it is ours no more.
            if os.path.samestat(os.fstat(descriptor), partial.stat()):
                return descriptor
        except FileNotFoundError:
            pass
        except OSError:
            os.close(descriptor)
            return None
        os.close(descriptor)
