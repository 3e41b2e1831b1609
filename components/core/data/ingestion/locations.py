"""Local folders and ``s3://`` prefixes with a user's data, behind one interface.

Separate from the store: the store chooses its keys, a user's files may have any name.
"""

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, PackagePath, distribution
from pathlib import Path
from typing import BinaryIO, Protocol
from urllib.parse import unquote

from components.core.errors import UserError
from components.core.plain_files import is_plain_file
from components.core.store import NotFound, StoreError, open_objects
from components.core.unicode_forms import composed

PACKAGES = "packages:"
"""How the address of a `PackagesLocation` begins."""

_READ_BYTES = 8 << 20
_MOST_WAYS = 16
"""By which links may lead to one folder."""

_MOST_DEPTH = 100
"""Folders inside each other."""


class UnreadableError(OSError):
    """One file cannot be read; the message gives the reason without an absolute path."""


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """A file in a location: `name` relative with forward slashes, size in bytes, `stamp` changes when the file does."""

    name: str
    size: int
    stamp: str


class Location(Protocol):
    """A folder of files under names relative to it. What a system has left there (`is_hidden`) is passed over.

    A name that is not there is looked for as other systems write it (`spellings`).
    """

    address: str
    """As the user gave it, for messages."""

    def walk(self) -> Iterator[SourceFile]:
        """All files, lazily, in no promised order; also those that cannot be read, as links that lead nowhere."""

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
        """Return a local path: the file itself, or a copy in `scratch`.

        Raises:
            UnreadableError: there is no such object, or something that is no file and may never end.
        """


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
        if len(above) > _MOST_DEPTH:
            raise UserError(f"folders are nested more than {_MOST_DEPTH} deep in {self.address}")
        for entry in entries:
            if is_hidden(entry.name):
                continue
            if _is_folder(entry):
                real = Path(entry.path).resolve()
                entered[real] += 1
                if entered[real] > _MOST_WAYS:
                    # A few links to each other make more paths than anybody can walk.
                    raise UserError(
                        f"more than {_MOST_WAYS} links lead to one folder, at "
                        f"{self.address}/{prefix}{entry.name}; remove links that form a loop"
                    )
                if real not in above:
                    yield from self._walk(Path(entry.path), f"{prefix}{entry.name}/", above | {real}, entered)
            else:
                # A link that leads nowhere is a file that cannot be read, and not nothing.
                is_file = Path(entry.path).is_file()
                status = entry.stat(follow_symlinks=not entry.is_symlink() or is_file)
                size = status.st_size if is_file else 0
                yield SourceFile(name=prefix + entry.name, size=size, stamp=str(status.st_mtime_ns))

    def find(self, name: str) -> SourceFile:
        try:
            status = self._path(name).stat()
        except (OSError, ValueError) as error:
            raise UnreadableError(_reason(error)) from error
        return SourceFile(name=name, size=status.st_size, stamp=str(status.st_mtime_ns))

    def folders(self) -> list[str]:
        try:
            return sorted(e.name for e in os.scandir(self._root) if _is_folder(e) and not is_hidden(e.name))
        except OSError as error:
            raise UserError(f"cannot list {self.address}: {_reason(error)}") from error

    def folder(self, name: str) -> "LocalLocation":
        return LocalLocation(self._root / name, f"{self.address}/{name}")

    def _path(self, name: str) -> Path:
        path = self._root / name
        if path.exists():
            return path
        return next((other for spelled in spellings(name) if (other := self._root / spelled).exists()), path)

    def read(self, name: str, limit: int | None) -> bytes:
        try:
            path = self._path(name)
            if not (path.is_file() if limit is not None else is_plain_file(path)):
                nowhere = path.is_symlink() and not path.exists()
                raise UnreadableError("the link leads nowhere" if nowhere else "no such file")
            # A named pipe, and some files of the kernel's, would block for ever.
            with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:  # noqa: PTH123
                return _at_most(file, limit)
        except (OSError, ValueError) as error:
            raise UnreadableError(_reason(error)) from error

    def fetch(self, name: str, scratch: Path) -> Path:
        path = self._root / name
        if path.exists() and not is_plain_file(path):
            raise UnreadableError("it is a pipe, a device or a folder")
        return path


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False  # a link to itself


def _at_most(file: BinaryIO, limit: int | None) -> bytes:
    """In parts: a read of a gigabyte takes a gigabyte, however small the file is."""
    data = bytearray()
    while limit is None or len(data) <= limit:
        part = file.read(_READ_BYTES if limit is None else min(_READ_BYTES, limit + 1 - len(data)))
        if part is None:
            raise UnreadableError("it has no bytes yet, as a device or a pipe")
        if not part:
            break
        data += part
    return bytes(data)


class ObjectLocation:
    """A prefix in a bucket. Credentials and endpoint come from boto3's default chain."""

    def __init__(self, uri: str) -> None:
        self.address = uri.rstrip("/")
        if not self.address.removeprefix("s3:"):
            raise UserError("the dataset's URI names no bucket; expected s3://bucket/prefix")
        # A folder may be called "C#" or "user@home", which a store may not: there it would look like a credential.
        opened, self._prefix = self.address, ""
        if found := _UNLIKE_A_STORE.match(self.address):
            opened, self._prefix = found[1], f"{found[2]}/"
        self._objects = open_objects(opened)

    def walk(self) -> Iterator[SourceFile]:
        for listed in self._objects.walk(self._prefix.rstrip("/")):
            name = listed.key.removeprefix(self._prefix)
            parts = name.split("/")
            # A key that ends in "/" is how some tools write an empty folder.
            if parts[-1] and not any(is_hidden(part) for part in parts):
                yield SourceFile(name=name, size=listed.size, stamp=listed.stamp)

    def find(self, name: str) -> SourceFile:
        for spelled in (name, *spellings(name)):
            try:
                listed = self._objects.stat(self._prefix + spelled)
                return SourceFile(name=name, size=listed.size, stamp=listed.stamp)
            except NotFound:
                continue
            except UserError as error:
                if isinstance(error, StoreError):
                    raise
        raise UnreadableError("no such object")

    def folders(self) -> list[str]:
        return [name for name in self._objects.folders(self._prefix.rstrip("/")) if not is_hidden(name)]

    def folder(self, name: str) -> "ObjectLocation":
        return ObjectLocation(f"{self.address}/{name}")

    def read(self, name: str, limit: int | None) -> bytes:
        for spelled in spellings(name):
            try:
                return self._read(name, limit)
            except UnreadableError:
                name = spelled
        return self._read(name, limit)

    def _read(self, name: str, limit: int | None) -> bytes:
        data = bytearray()
        try:
            for chunk in self._objects.stream(self._prefix + name):
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
                for chunk in self._objects.stream(self._prefix + name):
                    file.write(chunk)
        except NotFound as error:
            raise UnreadableError("no such object") from error
        return path


class PackagesLocation:
    """Files that installed Python packages brought along, as their installer recorded them; ``packages:NAME,NAME``.

    Raises:
        UserError: a package is not installed, or none is named.
    """

    def __init__(self, uri: str) -> None:
        self.address = uri
        self._files: dict[str, PackagePath] = {}
        names = [name.strip() for name in uri.removeprefix(PACKAGES).split(",") if name.strip()]
        if not names:
            raise UserError(f"{uri} names no package; expected {PACKAGES}NAME,NAME")
        for name in names:
            try:
                files = distribution(name).files or []
            except (PackageNotFoundError, ValueError) as error:
                raise UserError(f"the package {name[:100]!r} is not installed; pip install it first") from error
            # What has no digest in the record was written after the installation.
            self._files |= {file.as_posix(): file for file in files if file.hash and ".." not in file.parts}

    def walk(self) -> Iterator[SourceFile]:
        for name in sorted(self._files):
            yield self.find(name)

    def find(self, name: str) -> SourceFile:
        file = self._file(name)
        return SourceFile(name=name, size=file.size or 0, stamp=file.hash.value if file.hash else "")

    def folders(self) -> list[str]:
        return sorted({name.partition("/")[0] for name in self._files if "/" in name})

    def folder(self, name: str) -> "Location":
        first = next(file for path, file in self._files.items() if path.startswith(f"{name}/"))
        return LocalLocation(Path(str(first.locate())).parents[len(first.parts) - 2], f"{self.address}/{name}")

    def read(self, name: str, limit: int | None) -> bytes:
        path = self.fetch(name, Path())
        return LocalLocation(path.parent, self.address).read(path.name, limit)

    def fetch(self, name: str, scratch: Path) -> Path:
        return Path(str(self._file(name).locate()))

    def _file(self, name: str) -> PackagePath:
        if name not in self._files:
            raise UnreadableError("no such file")
        return self._files[name]


def open_location(uri: str) -> Location:
    """The location at a folder's path, an ``s3://`` URI or ``packages:NAME,…``; nothing is contacted yet."""
    if uri.startswith("s3://"):
        return ObjectLocation(uri)
    if uri.startswith(PACKAGES):
        return PackagesLocation(uri)
    return LocalLocation(local_path(uri), uri.rstrip("/") or "/")


def local_path(uri: str) -> Path:
    """The path of ``folder``, ``~/folder`` or ``file:///folder``; UserError for another scheme."""
    scheme, separator, rest = uri.partition("://")
    if separator and scheme != "file":
        raise UserError(f"cannot read {ascii(scheme[:20])[1:-1]}:// URIs; data is read from local disk or s3://")
    if separator:
        # RFC 8089: percent-encoded, and the host is empty or this one.
        rest = unquote(rest.removeprefix("localhost"))
    try:
        return Path(rest if separator else uri).expanduser()
    except RuntimeError as error:
        raise UserError(f"{uri!a} names an unknown home folder") from error


# Neither a query, as of a signed URL, nor "user:secret@": those are refused, unrepeated, as for a store.
_UNLIKE_A_STORE = re.compile(r"(s3://[^/@?#]+)/(?!.*\?.*=)(?!.*:.*@)(.*[@?#].*)")
_SYSTEM_NAMES = {
    "__macosx", "thumbs.db", "desktop.ini", "$recycle.bin", "#recycle", "#snapshot", "@eadir", "@tmp",
    "system volume information", "lost+found", "found.000", "__pycache__", "node_modules", "venv", "site-packages",
}  # fmt: skip


def is_hidden(name: str) -> bool:
    """Whether the name is that of a file or folder left by a system, a network disk or a tool."""
    return name.startswith(".") or name.lower() in _SYSTEM_NAMES


def spellings(name: str) -> Iterator[str]:
    """How another system may have written a name: with backslashes, or with composed or decomposed letters."""
    forms = [name, name.replace("\\", "/")] if "\\" in name else [name]
    for form in forms:
        for spelled in (form, composed(form), composed(form, "NFD")):
            if spelled != name:
                yield spelled


def _reason(error: Exception) -> str:
    # Not str(error): it repeats the absolute path.
    if isinstance(error, UnreadableError):
        return str(error)
    strerror = error.strerror if isinstance(error, OSError) else None
    return (strerror or type(error).__name__).lower()
