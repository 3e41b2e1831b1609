"""Objects as plain files under one folder."""

from __future__ import annotations

import errno
import fcntl
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from components.core.store.backends.objects import Listed, Stored, chunks_of, digest_of
from components.core.store.errors import (
    AccessDenied,
    Damaged,
    NotFound,
    PreconditionFailed,
    StoreError,
    StoreUnavailable,
)
from components.core.store.files import replacing, sync_folder, write_new
from components.core.store.names import check_key

# Hidden, so that no key can name it (`check_key`) and no listing shows it; under the root, so that a rename into
# place stays in one file system. What a killed writer leaves here is never read again.
_SPOOL = ".partial"
_LOCK = ".lock"

# What tasks were told and returned is for whoever runs them, and, if that is root, for tasks in containers, whose group
# is root's. Everything else is as open as the umask lets it be: a release is read by the process that serves it.
_PRIVATE = "journal/"


class LocalObjects:
    """Objects as files. Atomic: a file is written aside, synced, and renamed (or hard-linked, if it must be new).

    The etag is the sha256 of the content. Compare-and-swap holds among the processes that share the folder's `flock`.
    The folder is made by the first write.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self.uri = str(root)

    def address(self, key: str) -> str:
        return str(self._root / key)

    def put(
        self,
        key: str,
        body: bytes | Path,
        *,
        sha256: str | None = None,
        if_absent: bool = False,
        if_match: str | None = None,
    ) -> str:
        path = self._path(key)
        with self._translated(key):
            if if_absent and path.exists():  # before a large copy is made in vain; `_place` decides
                raise PreconditionFailed(f"{self.address(key)} exists already")
            with self._translated(""):  # what fails here is the store's, not the object's
                spooled, etag = self._spool(body)
            try:
                if sha256 is not None and etag != sha256:
                    raise Damaged(f"the source of {self.address(key)} changed while it was copied")
                self._make_folder(path.parent, key)
                if key.startswith(_PRIVATE):
                    spooled.chmod(0o640 if os.geteuid() == 0 else 0o600)
                self._place(spooled, path, key, if_absent=if_absent, if_match=if_match)
            finally:
                spooled.unlink(missing_ok=True)
            sync_folder(path.parent)
        return etag

    def get(self, key: str) -> Stored:
        with self._translated(key):
            data = self._path(key).read_bytes()
        return Stored(data=data, etag=digest_of(data))

    def stream(self, key: str) -> Iterator[bytes]:
        with self._translated(key), self._path(key).open("rb") as file:
            yield from chunks_of(file)

    def fetch(self, key: str, path: Path, *, sha256: str) -> None:
        with replacing(path) as partial:
            if write_new(partial, self.stream(key)) != sha256:
                raise Damaged(f"{self.address(key)} is damaged: its sha256 does not match")

    def size(self, key: str) -> int:
        return self.stat(key).size

    def stat(self, key: str) -> Listed:
        with self._translated(key):
            path = self._path(key)
            if path.is_dir():
                raise NotFound(f"there is no object {self.address(key)}")
            return _listed(key, path.stat())

    def etag(self, key: str) -> str:
        with self._translated(key):
            return digest_of(self._path(key))

    def walk(self, folder: str = "") -> Iterator[Listed]:
        top = self._path(folder) if folder else self._root
        # An error that is swallowed would make an unreadable folder look empty.
        for path, folders, files in os.walk(top, onerror=self._raise_unless_missing):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(files):
                if name.startswith("."):
                    continue
                file = Path(path, name)
                key = file.relative_to(self._root).as_posix()
                try:
                    found = file.stat()
                except FileNotFoundError:  # deleted while we walk
                    continue
                yield _listed(key, found)

    def hidden(self, folder: str) -> list[str]:
        found: list[Path] = []
        for path, folders, files in os.walk(self._path(folder), onerror=self._raise_unless_missing):
            strange = [name for name in folders if name.startswith(".") or Path(path, name).is_symlink()]
            strange += [name for name in files if name.startswith(".") or not Path(path, name).exists()]
            folders[:] = [name for name in folders if name not in strange]
            found += [Path(path, name) for name in strange]
        return sorted(file.relative_to(self._root).as_posix() for file in found)

    def folders(self, folder: str) -> list[str]:
        with self._translated(folder):
            try:
                top = self._path(folder) if folder else self._root
                names = [entry.name for entry in os.scandir(top) if entry.is_dir() and not entry.name.startswith(".")]
            except FileNotFoundError:
                return []
        # A folder without a file is what a killed writer left; on S3 it would not exist.
        return sorted(name for name in names if any(self.walk(f"{folder}/{name}" if folder else name)))

    def delete(self, key: str) -> None:
        with self._translated(key):
            self._path(key).unlink(missing_ok=True)

    def check_writable(self) -> None:
        with self._translated(""):
            spooled, _ = self._spool(b"probe")
            spooled.unlink()

    def _path(self, key: str) -> Path:
        return self._root / check_key(key)

    def _spool(self, body: bytes | Path) -> tuple[Path, str]:
        folder = self._root / _SPOOL
        folder.mkdir(parents=True, exist_ok=True)
        spooled = folder / uuid.uuid4().hex
        try:
            if isinstance(body, bytes):
                return spooled, write_new(spooled, [body], is_synced=True)
            try:
                source = body.open("rb")
            except OSError as error:
                # Said here, or a missing source would be reported as a missing object.
                raise StoreError(f"cannot read {body}: {error.strerror}") from error
            with source:
                return spooled, write_new(spooled, chunks_of(source), is_synced=True)
        except BaseException:
            spooled.unlink(missing_ok=True)
            raise

    def _make_folder(self, folder: Path, key: str) -> None:
        try:
            if key.startswith(_PRIVATE) and not (private := self._root / _PRIVATE).exists():
                private.mkdir(parents=True, exist_ok=True)
                private.chmod(0o750 if os.geteuid() == 0 else 0o700)
            folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            # The root is a folder, for we have spooled there: S3 would hold `a` and `a/b`, a file system cannot.
            raise StoreError(f"{self.address(key)}: a part of this path is an object itself") from error

    def _place(self, spooled: Path, path: Path, key: str, *, if_absent: bool, if_match: str | None) -> None:
        if if_absent:
            try:
                os.link(spooled, path)
            except FileExistsError as error:
                raise PreconditionFailed(f"{self.address(key)} exists already") from error
            except OSError as error:
                if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP):
                    raise
                # A file system without hard links (exFAT, some FUSE mounts).
                with self._locked():
                    if path.exists():
                        raise PreconditionFailed(f"{self.address(key)} exists already") from error
                    spooled.replace(path)
        elif if_match is not None:
            with self._locked():
                if not path.exists() or digest_of(path) != if_match:
                    raise PreconditionFailed(f"{self.address(key)} has changed since it was read")
                spooled.replace(path)
        else:
            spooled.replace(path)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        # flock and not lockf: it also excludes the threads of one process, and a killed holder releases it.
        with (self._root / _LOCK).open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _raise_unless_missing(self, error: OSError) -> None:
        if not isinstance(error, FileNotFoundError | NotADirectoryError):
            raise self._translate(error, "") from error

    @contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._translate(error, key) from error

    def _translate(self, error: OSError, key: str) -> StoreError:
        address = self.address(key) if key else self.uri
        reason = (error.strerror or type(error).__name__).lower()
        missing = FileNotFoundError | IsADirectoryError | NotADirectoryError
        at = next((folder for folder in (self._root, *self._root.parents) if folder.is_file()), None)
        if key and isinstance(error, missing) and at is None:
            return NotFound(f"there is no object {address}")
        if isinstance(error, PermissionError):
            return AccessDenied(f"the store {self.uri} refuses access to {address}: {reason}")
        if isinstance(error, FileExistsError | missing):
            cause = f"{at} is a file, not a folder" if at else reason
            return StoreUnavailable(
                f"the store {self.uri} cannot be used: {cause}; give a folder that exists or can be created"
            )
        if error.errno in (errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOTCONN, errno.ESTALE):
            return StoreUnavailable(f"the store {self.uri} cannot be written: {reason}")
        return StoreError(f"{address}: {reason}")


def _listed(key: str, found: os.stat_result) -> Listed:
    return Listed(key=key, size=found.st_size, stamp=str(found.st_mtime_ns), modified=found.st_mtime)
