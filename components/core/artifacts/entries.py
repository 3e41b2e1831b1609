"""Entries of a manifest: files, and listings of further files."""

import re
from collections.abc import Collection
from dataclasses import dataclass, fields
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any, TypeVar

_DIGEST = re.compile(r"[0-9a-f]{64}")
_LONGEST_NAME = 255
"""Bytes of a name in a folder, on the file systems of Linux, macOS and Windows."""
_LONGEST_PATH = 1000


@dataclass(frozen=True, kw_only=True)
class FileEntry:
    """One file of an artifact: `path` relative with forward slashes, size in bytes, sha256 in lower-case hex.

    Raises:
        ValueError: the path could leave the artifact's folder, or size or digest are malformed.
    """

    path: str
    bytes: int
    sha256: str

    def __post_init__(self) -> None:
        check_relative_path(self.path)
        _check_blob(repr(self.path), self.bytes, self.sha256)


@dataclass(frozen=True, kw_only=True)
class Listing:
    """A blob that names further files of an artifact: its size in bytes and sha256, and how many files, of which size.

    Raises:
        ValueError: a size, a count or the digest is malformed.
    """

    bytes: int
    sha256: str
    num_files: int
    total_bytes: int

    def __post_init__(self) -> None:
        _check_blob("a listing", self.bytes, self.sha256)
        for count in (self.num_files, self.total_bytes):
            if type(count) is not int or count < 0:
                raise ValueError(f"a listing counts files and bytes, got {count!r}")


def check_relative_path(path: str) -> None:
    """Accept only a normalised relative path with forward slashes, on any operating system.

    Raises:
        ValueError: absolute, with a drive or backslash, with empty, ``.`` or ``..`` parts, with control characters, or
            too long for a disk.
    """
    if not isinstance(path, str) or not path:
        raise ValueError(f"a file's path must be a non-empty string, got {path!r}")
    parts = path.split("/")
    leaves = PurePosixPath(path).is_absolute() or PureWindowsPath(path).drive or "\\" in path
    if leaves or any(part in ("", ".", "..") for part in parts) or any(ord(char) < 32 for char in path):
        raise ValueError(f"unsafe path {path!r} in a manifest; paths are relative, with forward slashes, without '..'")
    if len(path) > _LONGEST_PATH or any(len(part.encode(errors="replace")) > _LONGEST_NAME for part in parts):
        raise ValueError(f"the path {path[:40]!r}… in a manifest is longer than a file's name may be")


def files_and_folders(paths: Collection[str]) -> list[str]:
    """The paths that others lie below, sorted: no disk can hold them."""
    folders = {path[:at] for path in paths for at, letter in enumerate(path) if letter == "/"}
    return sorted(folders.intersection(paths))


Entry = TypeVar("Entry", FileEntry, Listing)


def parse_entries(kind: type[Entry], documents: Any) -> list[Entry]:
    """The entries of a list in parsed JSON; ValueError naming what is wrong."""
    if not isinstance(documents, list):
        raise ValueError(f"the files and listings of a manifest must be lists, got {type(documents).__name__}")
    names = [field.name for field in fields(kind)]
    for document in documents:
        if not isinstance(document, dict) or set(document) != set(names):
            wanted = f"{', '.join(names[:-1])} and {names[-1]}"
            raise ValueError(f"an entry of a manifest needs exactly {wanted}, got {document!r}")
    return [kind(**document) for document in documents]


def _check_blob(name: str, num_bytes: int, sha256: str) -> None:
    if type(num_bytes) is not int or num_bytes < 0:
        raise ValueError(f"size of {name} must be a count of bytes, got {num_bytes!r}")
    if not isinstance(sha256, str) or not _DIGEST.fullmatch(sha256):
        raise ValueError(f"sha256 of {name} must be 64 lower-case hex digits, got {sha256!r}")
