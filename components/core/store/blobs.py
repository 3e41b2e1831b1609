"""Immutable bytes, named by their sha256."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from components.core.store.concurrency import run_all
from components.core.store.errors import (
    BlobDamaged,
    BlobMissing,
    Damaged,
    NotFound,
    PreconditionFailed,
)
from components.core.store.files import replacing, write_synced
from components.core.store.names import check_digest
from components.core.store.objects import Objects, measure

_FOLDER = "blobs/sha256"


class Blobs:
    """Bytes by digest. Atomic, written once, verified on every read; equal bytes are stored once."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def put(self, data: bytes | Path) -> str:
        """Atomic: stores bytes or a file's content, unless it is there already, and returns its sha256 in hex.

        A file is streamed, never read whole into memory. An object of the wrong size under this digest (a damaged
        disk, a tool that copied badly) is replaced.
        """
        size, digest = measure(data)
        key = _key(digest)
        try:
            if self._objects.size(key) == size:
                return digest
            self._objects.put(key, data, sha256=digest)
        except NotFound:
            with suppress(PreconditionFailed):  # another writer was first, with the same bytes
                self._objects.put(key, data, sha256=digest, if_absent=True)
        return digest

    def put_many(self, items: Sequence[bytes | Path]) -> list[str]:
        """`put` of every item, concurrently; digests in the order of the items."""
        return run_all(self.put, items)

    def get(self, digest: str) -> bytes:
        """The bytes, verified. For what fits in memory; `fetch` streams. `BlobMissing`, `BlobDamaged`."""
        return b"".join(self._verified(digest))

    def fetch(self, digest: str, path: Path) -> None:
        """Atomic: `path` appears whole and verified or not at all; the folder is made. `BlobMissing`, `BlobDamaged`."""
        with replacing(path) as partial:
            write_synced(partial, self._verified(digest))

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
        try:
            return self._objects.size(_key(digest))
        except NotFound as error:
            raise self._missing(digest) from error

    def _verified(self, digest: str) -> Iterator[bytes]:
        """The chunks; raises after the last one if they do not have the digest, so use none before the end."""
        key = _key(digest)
        actual = hashlib.sha256()
        try:
            for chunk in self._objects.stream(key):
                actual.update(chunk)
                yield chunk
        except NotFound as error:
            raise self._missing(digest) from error
        except Damaged as error:
            raise self._damaged(digest) from error
        if actual.hexdigest() != digest:
            raise self._damaged(digest)

    def _missing(self, digest: str) -> BlobMissing:
        return BlobMissing(f"no blob {digest} in the store {self._objects.uri}")

    def _damaged(self, digest: str) -> BlobDamaged:
        return BlobDamaged(
            f"{self._objects.address(_key(digest))} is damaged: its content does not have the sha256 of its name; "
            "delete it and run again"
        )


def _key(digest: str) -> str:
    # 256 folders: a file system slows down, and a listing cannot be split, with a million names in one.
    return f"{_FOLDER}/{check_digest(digest)[:2]}/{digest}"
