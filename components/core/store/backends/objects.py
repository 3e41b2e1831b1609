"""The low floor of a store: named bytes. Two implementations, `LocalObjects` and `S3Objects`, and one test suite."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from components.core.store.errors import StoreError

CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Stored:
    """An object's bytes and the tag that names this very state of it."""

    data: bytes
    etag: str


@dataclass(frozen=True, kw_only=True)
class Listed:
    """One line of a listing.

    Attributes:
        key: the object's key.
        size: bytes.
        stamp: changes when the object does: its etag on S3, its time of change in a folder.
        modified: when it was written, in seconds since the epoch by the store's own clock; whole seconds on S3.
    """

    key: str
    size: int
    stamp: str
    modified: float


class Objects(Protocol):
    """Named bytes under one URI. Keys are relative, separated by `/`.

    Every write is atomic: the object appears whole or not at all, whenever the writer dies. Every method raises
    `StoreUnavailable` (no answer, no bucket, bad credentials) or `AccessDenied`, and `UserError` for a bad key.
    """

    uri: str

    def address(self, key: str) -> str:
        """The URI of an object or folder, for messages and for people."""
        ...

    def put(
        self,
        key: str,
        body: bytes | Path,
        *,
        sha256: str | None = None,
        if_absent: bool = False,
        if_match: str | None = None,
    ) -> str:
        """Atomic: writes the object whole or not at all, and returns its etag.

        Args:
            sha256: the digest that the body must have; a file that changed since it was hashed is refused (`Damaged`).
            if_absent: write only if there is no such object, else `PreconditionFailed`.
            if_match: write only if the object there has this etag, else `PreconditionFailed`.
        """
        ...

    def get(self, key: str) -> Stored:
        """A small object at once. `NotFound`."""
        ...

    def stream(self, key: str) -> Iterator[bytes]:
        """The object in chunks; continues where it stopped when the connection breaks. `NotFound`."""
        ...

    def fetch(self, key: str, path: Path, *, sha256: str) -> None:
        """Atomic: `path` appears with the object's bytes, whole and of this digest, or not at all; its folder is made.

        `NotFound`, and `Damaged` if the bytes have another digest. An `OSError` is about `path`.
        """
        ...

    def size(self, key: str) -> int:
        """Bytes. `NotFound`."""
        ...

    def stat(self, key: str) -> Listed:
        """Size and times of the object, in one request. `NotFound`."""
        ...

    def etag(self, key: str) -> str:
        """The tag of the object's present state. `NotFound`."""
        ...

    def walk(self, folder: str = "") -> Iterator[Listed]:
        """Every object under a folder (`a/b` or, for all, an empty string), in no promised order."""
        ...

    def hidden(self, folder: str) -> list[str]:
        """Keys under a folder that `walk` passes over: hidden names, links that lead nowhere or to a folder."""
        ...

    def folders(self, folder: str) -> list[str]:
        """Names of the folders directly under `folder` (an empty string: at the top) that hold an object, sorted.

        Some S3 servers (SeaweedFS) show an emptied folder a little longer.
        """
        ...

    def delete(self, key: str) -> None:
        """Removes the object; one that is not there is no error."""
        ...

    def check_writable(self) -> None:
        """Writes and removes a probe, without retries. `StoreUnavailable` in one line, within 3 seconds."""
        ...


def digest_of(body: bytes | Path) -> str:
    """sha256 of bytes or of a file's content, in hex."""
    if isinstance(body, bytes):
        return hashlib.sha256(body).hexdigest()
    with body.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def measure(body: bytes | Path) -> tuple[int, str]:
    """(bytes, sha256 in hex) of bytes or of a file's content. `StoreError` if the file cannot be read."""
    try:
        return size_of(body), digest_of(body)
    except OSError as error:
        raise StoreError(f"cannot read {error.filename}: {error.strerror}") from error


def size_of(body: bytes | Path) -> int:
    return len(body) if isinstance(body, bytes) else body.stat().st_size


def chunks_of(file: BinaryIO, size: int = CHUNK_BYTES) -> Iterator[bytes]:
    while chunk := file.read(size):
        yield chunk
