"""Local folders and ``s3://`` prefixes with a user's data, behind one interface.

Separate from the store: the store chooses its keys, a user's files may have any name.
"""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from components.core.errors import UserError
from components.core.store import NotFound, StoreError, open_objects

_MOST_WAYS = 16
"""By which links may lead to one folder."""


class UnreadableError(OSError):
    """One file cannot be read; the message gives the reason without an absolute path."""


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """A file in a location: `name` relative with forward slashes, size in bytes, `stamp` changes when the file does."""

    name: str
    size: int
    stamp: str


class Location(Protocol):
    """A folder of files under names relative to it. Hidden files and folders (``.name``, ``__MACOSX``) are left out."""

    address: str
    """As the user gave it, for messages."""

    def walk(self) -> Iterator[SourceFile]:
        """All files, lazily, in no promised order."""

    def find(self, name: str) -> SourceFile:
        """Return one file; raises `UnreadableError` if it does not exist."""

    def folders(self) -> list[str]:
        """Names of the folders directly below, sorted."""

    def folder(self, name: str) -> "Location":
        """The location one level down."""

    def read(self, name: str, limit: int | None) -> bytes:
        """Read at most `limit` + 1 bytes; getting the extra byte means that the file is larger than `limit`.

        Raises:
            UnreadableError: the file is missing or cannot be read. StoreError: the store as a whole does not answer.
        """

    def fetch(self, name: str, scratch: Path) -> Path:
        """Return a local path: the file itself, or a copy in `scratch`."""


class LocalLocation:
    """A folder. Symbolic links are followed; a link back into the tree is walked once."""

    def __init__(self, root: Path, address: str) -> None:
        self._root, self.address = root, address

    def walk(self) -> Iterator[SourceFile]:
        yield from self._walk(self._root, "", {self._root.resolve()}, Counter())

    def _walk(self, folder: Path, prefix: str, above: set[Path], entered: Counter[Path]) -> Iterator[SourceFile]:
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            # An unreadable folder must not look empty.
            raise UserError(f"cannot list {self.address}/{prefix}: {_reason(error)}") from error
        for entry in entries:
            if is_hidden(entry.name):
                continue
            if entry.is_dir():
                real = Path(entry.path).resolve()
                entered[real] += 1
                if entered[real] > _MOST_WAYS:
                    # A few links to each other make more paths than anybody can walk.
                    raise UserError(
                        f"more than {_MOST_WAYS} links lead to one folder, at {self.address}/{prefix}{entry.name}; "
                        "remove those that lead around in circles"
                    )
                if real not in above:
                    yield from self._walk(Path(entry.path), f"{prefix}{entry.name}/", above | {real}, entered)
            elif entry.is_file():
                status = entry.stat()
                yield SourceFile(name=prefix + entry.name, size=status.st_size, stamp=str(status.st_mtime_ns))

    def find(self, name: str) -> SourceFile:
        try:
            status = (self._root / name).stat()
        except OSError as error:
            raise UnreadableError(_reason(error)) from error
        return SourceFile(name=name, size=status.st_size, stamp=str(status.st_mtime_ns))

    def folders(self) -> list[str]:
        try:
            return sorted(e.name for e in os.scandir(self._root) if e.is_dir() and not is_hidden(e.name))
        except OSError as error:
            raise UserError(f"cannot list {self.address}: {_reason(error)}") from error

    def folder(self, name: str) -> "LocalLocation":
        return LocalLocation(self._root / name, f"{self.address}/{name}")

    def read(self, name: str, limit: int | None) -> bytes:
        path = self._root / name
        try:
            if not path.is_file():
                raise UnreadableError("no such file")
            # A named pipe, and some files of the kernel's, would block for ever.
            with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:  # noqa: PTH123
                data = file.read() if limit is None else file.read(limit + 1)
            if data is None:
                raise UnreadableError("it has no bytes yet, as a device or a pipe")
            return data
        except (OSError, ValueError) as error:
            raise UnreadableError(_reason(error)) from error

    def fetch(self, name: str, scratch: Path) -> Path:
        return self._root / name


class ObjectLocation:
    """A prefix in a bucket. Credentials and endpoint come from boto3's default chain."""

    def __init__(self, uri: str) -> None:
        self.address = uri.rstrip("/")
        if not self.address.removeprefix("s3:"):
            raise UserError("the dataset's URI names no bucket; expected s3://bucket/prefix")
        self._objects = open_objects(self.address)

    def walk(self) -> Iterator[SourceFile]:
        for listed in self._objects.walk():
            parts = listed.key.split("/")
            # A key that ends in "/" is how some tools write an empty folder.
            if parts[-1] and not any(is_hidden(part) for part in parts):
                yield SourceFile(name=listed.key, size=listed.size, stamp=listed.stamp)

    def find(self, name: str) -> SourceFile:
        try:
            return SourceFile(name=name, size=self._objects.size(name), stamp=self._objects.etag(name))
        except NotFound as error:
            raise UnreadableError("no such object") from error

    def folders(self) -> list[str]:
        return [name for name in self._objects.folders("") if not is_hidden(name)]

    def folder(self, name: str) -> "ObjectLocation":
        return ObjectLocation(f"{self.address}/{name}")

    def read(self, name: str, limit: int | None) -> bytes:
        data = bytearray()
        try:
            for chunk in self._objects.stream(name):
                data += chunk
                if limit is not None and len(data) > limit:
                    break
        except NotFound as error:
            raise UnreadableError("no such object") from error
        except UserError as error:
            # A name that no object can have is that row's fault; everything else is the store's.
            if isinstance(error, StoreError):
                raise
            raise UnreadableError(str(error)) from error
        return bytes(data) if limit is None else bytes(data[: limit + 1])

    def fetch(self, name: str, scratch: Path) -> Path:
        path = scratch / name.replace("/", "_")
        try:
            with path.open("wb") as file:
                for chunk in self._objects.stream(name):
                    file.write(chunk)
        except NotFound as error:
            raise UnreadableError("no such object") from error
        return path


def open_location(uri: str) -> Location:
    """The location at a folder's path or an ``s3://`` URI; nothing is contacted yet."""
    if uri.startswith("s3://"):
        return ObjectLocation(uri)
    return LocalLocation(local_path(uri), uri.rstrip("/") or "/")


def local_path(uri: str) -> Path:
    """The path of ``folder``, ``~/folder`` or ``file:///folder``; UserError for another scheme."""
    scheme, separator, rest = uri.partition("://")
    if separator and scheme != "file":
        raise UserError(f"cannot read {ascii(scheme[:20])[1:-1]}:// URIs; data is read from local disk or s3://")
    try:
        return Path(rest if separator else uri).expanduser()
    except RuntimeError as error:
        raise UserError(f"{uri!a} names an unknown home folder") from error


def is_hidden(name: str) -> bool:
    """What an operating system or an editor has left in a folder, and no user means as data."""
    return name.startswith(".") or name in ("__MACOSX", "Thumbs.db", "desktop.ini")


def _reason(error: Exception) -> str:
    # Not str(error): it repeats the absolute path.
    if isinstance(error, UnreadableError):
        return str(error)
    strerror = error.strerror if isinstance(error, OSError) else None
    return (strerror or type(error).__name__).lower()
