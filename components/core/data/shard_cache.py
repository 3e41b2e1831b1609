"""Shards on local disk: fetched when they are needed, shared by all processes of a machine, kept within a limit."""

import fcntl
import hashlib
import os
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import IO, TYPE_CHECKING

from components.core.artifacts.entries import FileEntry
from components.core.artifacts.manifest import cache_folder
from components.core.errors import UserError

if TYPE_CHECKING:
    from components.core.store import Store

FOLDER = "shards"
LIMIT_VARIABLE = "TRIMTAB_CACHE_GB"

_FREE_SHARE = 0.5
_POLL_SECONDS = 0.02


class ShardCache:
    """Shards of a store by their sha256. Atomic: a file is there whole and verified, or not at all.

    A folder for all processes and stages of a machine, ``$TRIMTAB_CACHE/shards``: who needs a shard that another
    process fetches waits for it. Those that were not used for longest make room when `limit` would be passed, except
    what is open anywhere. After kill -9 at any moment it can be used as it is: locks end with their process, and what
    had half arrived is gone on with or makes room.

    Files: ``<sha256>``, whose access time is that of the last use and whose modification time says that the bytes were
    verified and not written since; ``.<sha256>.lock``, held while it is fetched, as long as the shard will be (a sparse
    file), so that others leave room for it; ``.<sha256>.*``, what is arriving (the store's); ``.room``, a lock.
    """

    def __init__(self, store: "Store") -> None:
        self._store = store
        self._folder = cache_folder() / FOLDER

    def limit(self) -> int:
        """Bytes: ``$TRIMTAB_CACHE_GB`` · 10⁹, else half of the disk that would be free without the cache."""
        return _limit(self._folder, sum(size for _, size, _ in self._files()))

    def open(self, entry: FileEntry, *, stopped: threading.Event | None = None) -> FileIO:
        """The shard as an open file, fetched when it is not there; it is not deleted before it is closed.

        Args:
            entry: which.
            stopped: ends waiting for another process.

        Raises:
            UserError: the cache cannot be written. StoreError: the blob is missing or damaged, or no answer.
            CancelledError: `stopped` was set.
        """
        path = self._folder / entry.sha256
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            while True:
                if (file := _opened(path, entry)) is not None:
                    return file
                with _locked(self._lock_path(entry.sha256), stopped) as lock:
                    if (file := _opened(path, entry)) is not None:
                        return file  # another has fetched it meanwhile
                    self._remove_dead(entry)
                    self._reserve(entry, lock)
                    self._store.blobs.fetch(entry.sha256, path)
                    with path.open("rb") as fetched:
                        os.fsync(fetched)  # the mark that follows outlives a power cut
                    os.utime(path, ns=(time.time_ns(), _verified_ns(entry)))
        except OSError as error:
            reason = (error.strerror or type(error).__name__).lower()
            raise UserError(
                f"cannot cache shards in {self._folder}: {reason}; set TRIMTAB_CACHE to a folder that is "
                f"writable, or {LIMIT_VARIABLE} to less than the free space there"
            ) from error

    def _remove_dead(self, entry: FileEntry) -> None:
        """Deletes what a killed process has left of this shard, except the ranges that the store continues from."""
        resumed = f".{entry.sha256}.{entry.sha256[:16]}.partial"
        for path in self._folder.glob(f".{entry.sha256}.*.partial"):
            if path.name != resumed:
                path.unlink(missing_ok=True)

    def _reserve(self, entry: FileEntry, lock: IO[bytes]) -> None:
        """Deletes what was not used for longest until the shard fits, and keeps the room for it."""
        with _locked(self._folder / ".room"):
            files = self._files()
            total = sum(size for _, size, _ in files)
            limit = _limit(self._folder, total)
            for _, size, path in files:
                if total + entry.bytes <= limit:
                    break
                if path.name != entry.sha256 and _deleted(path):
                    total -= size
            lock.truncate(entry.bytes)

    def _files(self) -> list[tuple[float, int, Path]]:
        """When it was last used, bytes and path of all that takes or will take room; stale locks are removed."""
        try:
            names = [path.name for path in self._folder.iterdir()]
        except FileNotFoundError:
            return []
        locks = {name for name in names if name.endswith(".lock") and not _deleted(self._folder / name)}
        files = []
        for name in names:
            # What is arriving has its room reserved, by the length of its lock.
            is_reserved = name.startswith(".") and f"{name[:65]}.lock" in locks
            if name in locks or (not name.endswith(".lock") and name != ".room" and not is_reserved):
                with suppress(FileNotFoundError):  # finished, or deleted by another, while we look
                    status = (self._folder / name).stat()
                    files.append((status.st_atime, status.st_size, self._folder / name))
        return sorted(files)

    def _lock_path(self, sha256: str) -> Path:
        return self._folder / f".{sha256}.lock"


def _limit(folder: Path, held: int) -> int:
    text = os.environ.get(LIMIT_VARIABLE, "").strip()
    if not text:
        there = next(path for path in (folder, *folder.parents) if path.exists())
        return int((shutil.disk_usage(there).free + held) * _FREE_SHARE)
    try:
        limit = float(text) * 1e9
        if not 0 < limit < float("inf"):
            raise ValueError
    except ValueError as error:
        raise UserError(f"{LIMIT_VARIABLE} must be a number of gigabytes above 0, got {text!r}") from error
    return int(limit)


def _verified_ns(entry: FileEntry) -> int:
    """The modification time of a verified file: one that no clock gives, in the seventies; another for each digest."""
    return int(entry.sha256[:7], 16) * 10**9


def _opened(path: Path, entry: FileEntry) -> FileIO | None:
    """The file, which now nobody deletes; None when it is not there or is not the shard."""
    try:
        file = path.open("rb", buffering=0)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH)
        if _is_at(file, path) and _is_intact(file, entry):
            with suppress(OSError):  # another user's, or a disk that cannot be written: it will look older than it is
                os.utime(file.fileno(), ns=(time.time_ns(), _verified_ns(entry)))
            return file
    except BaseException:
        file.close()
        raise
    file.close()
    return None


def _is_intact(file: FileIO, entry: FileEntry) -> bool:
    status = os.fstat(file.fileno())
    if status.st_size != entry.bytes:
        return False
    if status.st_mtime_ns == _verified_ns(entry):
        return True
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    file.seek(0)
    return digest == entry.sha256


def _is_at(file: IO[bytes] | FileIO, path: Path) -> bool:
    """Whether the path still names the file: it may have been deleted between its opening and its lock."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _deleted(path: Path) -> bool:
    """Deletes a file unless it is in use; whether it is gone."""
    try:
        with path.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(file, path):
                path.unlink()
    except FileNotFoundError:
        return True
    except (BlockingIOError, PermissionError):
        return False
    return True


@contextmanager
def _locked(path: Path, stopped: threading.Event | None = None) -> Iterator[IO[bytes]]:
    """Holds a file's lock, alone among threads and processes; the file is made, and removed."""
    while True:
        with path.open("ab") as file:
            if _has_locked(file) and _is_at(file, path):
                try:
                    yield file
                    return
                finally:
                    # Who was forked meanwhile holds the same lock: the next one locks another file.
                    path.unlink(missing_ok=True)
        if stopped is not None and stopped.is_set():
            raise CancelledError
        time.sleep(_POLL_SECONDS)


def _has_locked(file: IO[bytes]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
