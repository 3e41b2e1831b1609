"""Immutable bytes, named by their sha256."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from components.core.store.concurrency import run_all
from components.core.store.errors import (
    BlobDamaged,
    BlobMissing,
    Damaged,
    NotFound,
    PreconditionFailed,
    StoreError,
)
from components.core.store.names import check_digest
from components.core.store.objects import Objects, digest_of, size_of

SMALL_BYTES = 1 << 20
NUM_READ_ATTEMPTS = 3  # of bytes that had another digest, which may have happened on their way

_FOLDER = "blobs/sha256"


class Blobs:
    """Bytes by digest. Atomic, written once, verified on every read; equal bytes are stored once."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def put(self, data: bytes | Path) -> str:
        """Atomic: stores bytes or a file's content, unless it is there already, and returns its sha256 in hex.

        A large file is streamed, never read whole into memory. An object of the wrong size under this digest (a damaged
        disk, a tool that copied badly) is replaced.
        """
        size, digest, body = _measured(data)
        key = _key(digest)
        # To ask first whether it is there costs as much as to send little; to send much in vain costs more.
        if size >= SMALL_BYTES and self._size(key) == size:
            return digest
        try:
            self._objects.put(key, body, sha256=digest, if_absent=True)
        except PreconditionFailed:  # it is there: from before, or by another writer who was first with the same bytes
            if self._size(key) != size:
                self._objects.put(key, body, sha256=digest)
        return digest

    def put_many(self, items: Sequence[bytes | Path]) -> list[str]:
        """`put` of every item, concurrently; digests in the order of the items."""
        return run_all(self.put, items)

    def get(self, digest: str) -> bytes:
        """The bytes, verified. For what fits in memory; `fetch` streams. `BlobMissing`, `BlobDamaged`."""
        for _ in range(1, NUM_READ_ATTEMPTS):
            with suppress(BlobDamaged):  # perhaps on its way only
                return self._read(digest)
        return self._read(digest)

    def fetch(self, digest: str, path: Path) -> None:
        """Atomic: `path` appears whole and verified or not at all; the folder is made. `BlobMissing`, `BlobDamaged`.

        A large blob comes from S3 in ranges; what had arrived when it was interrupted is used by the next `fetch` to
        this path (hidden files beside it, `.*.partial` and `.*.ranges`).
        """
        with self._named(digest):
            self._objects.fetch(_key(digest), path, sha256=digest)

    def fetch_many(self, wanted: Mapping[Path, str]) -> None:
        """`fetch` of every path to digest, concurrently. Each file is whole or absent when one of them fails."""
        run_all(lambda item: self.fetch(item[1], item[0]), list(wanted.items()))

    def has(self, digest: str) -> bool:
        """Whether a blob has this digest. Its bytes are not read."""
        try:
            self.size(digest)
        except BlobMissing:
            return False
        return True

    def size(self, digest: str) -> int:
        """Bytes. `BlobMissing`."""
        with self._named(digest):
            return self._objects.size(_key(digest))

    def _size(self, key: str) -> int | None:
        try:
            return self._objects.size(key)
        except NotFound:
            return None

    def _read(self, digest: str) -> bytes:
        with self._named(digest):
            data = b"".join(self._objects.stream(_key(digest)))
            if digest_of(data) != digest:
                raise Damaged(digest)
            return data

    @contextmanager
    def _named(self, digest: str) -> Iterator[None]:
        try:
            yield
        except NotFound as error:
            raise BlobMissing(f"no blob {digest} in the store {self._objects.uri}") from error
        except Damaged as error:
            raise BlobDamaged(
                f"{self._objects.address(_key(digest))} is damaged: its content does not have the sha256 of its name; "
                "delete it and run again"
            ) from error


def _key(digest: str) -> str:
    # 256 folders: a file system slows down, and a listing cannot be split, with a million names in one.
    return f"{_FOLDER}/{check_digest(digest)[:2]}/{digest}"


def _measured(data: bytes | Path) -> tuple[int, str, bytes | Path]:
    """(bytes, sha256, what to send): a small file is read once, for its digest and its transfer."""
    try:
        if isinstance(data, Path) and size_of(data) < SMALL_BYTES:
            data = data.read_bytes()
        return size_of(data), digest_of(data), data
    except OSError as error:
        raise StoreError(f"cannot read {error.filename}: {error.strerror}") from error
