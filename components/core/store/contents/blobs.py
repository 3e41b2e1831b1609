"""Immutable bytes, named by their sha256."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from components.core.store.backends.objects import Objects, digest_of, size_of
from components.core.store.concurrency import run_all
from components.core.store.contents.sweeps import Sweeps, is_aging
from components.core.store.errors import (
    BlobDamaged,
    BlobMissing,
    Damaged,
    NotFound,
    PreconditionFailed,
    StoreError,
)
from components.core.store.names import check_digest

SMALL_BYTES = 1 << 20
NUM_READ_ATTEMPTS = 3  # of bytes that had another digest, which may have happened on their way

BLOB_FOLDER = "blobs/sha256"


class Blobs:
    """Bytes by digest. Atomic, written once, verified on every read; equal bytes are stored once."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._sweeps = Sweeps(objects)

    def put(self, data: bytes | Path) -> str:
        """Atomic: stores bytes or a file's content, unless it is there already, and returns its sha256 in hex.

        A large file is streamed, never read whole into memory. An object of the wrong size under this digest (a damaged
        disk, a tool that copied badly) is replaced. The blob stays for a grace period, whatever is collected meanwhile.
        """
        return self.put_many([data])[0]

    def put_many(self, items: Sequence[bytes | Path]) -> list[str]:
        """`put` of every item, concurrently; digests in the order of the items."""
        began = time.time()
        digests = run_all(self._put, items)
        if self._sweeps.overlapped(digests, since=began):
            digests = run_all(self._put, items)
        return digests

    def hold(self, digests: Sequence[str]) -> list[int]:
        """Sizes of blobs that are there, and stay for a grace period: for whoever will refer to them. `BlobMissing`."""
        began = time.time()
        sizes = run_all(self._hold, digests)
        if self._sweeps.overlapped(digests, since=began):
            sizes = run_all(self._hold, digests)
        return sizes

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
            self._objects.fetch(blob_key(digest), path, sha256=digest)

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
            return self._objects.size(blob_key(digest))

    def _put(self, data: bytes | Path) -> str:
        size, digest, body = _measured(data)
        key = blob_key(digest)
        # To ask first whether it is there costs as much as to send little; to send much in vain costs more.
        if size >= SMALL_BYTES and self._rely_on(digest) == size:
            return digest
        try:
            self._objects.put(key, body, sha256=digest, if_absent=True)
        except PreconditionFailed:  # it is there: from before, or by another writer who was first with the same bytes
            if self._rely_on(digest) != size:
                self._objects.put(key, body, sha256=digest)
        return digest

    def _hold(self, digest: str) -> int:
        size = self._rely_on(digest)
        if size is None:
            raise BlobMissing(f"no blob {digest} in the store {self._objects.uri}")
        return size

    def _rely_on(self, digest: str) -> int | None:
        """Bytes, or None if there is no such blob; one that is not young is marked as needed."""
        try:
            found = self._objects.stat(blob_key(digest))
        except NotFound:
            return None
        if is_aging(found.modified):
            self._sweeps.hold(digest)
        return found.size

    def _read(self, digest: str) -> bytes:
        with self._named(digest):
            data = b"".join(self._objects.stream(blob_key(digest)))
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
                f"{self._objects.address(blob_key(digest))} is damaged: its content does not have the sha256 in "
                "its name; delete it and run again"
            ) from error


def blob_key(digest: str) -> str:
    """The key of the blob with this digest."""
    # 256 folders: a file system slows down, and a listing cannot be split, with a million names in one.
    return f"{BLOB_FOLDER}/{check_digest(digest)[:2]}/{digest}"


def _measured(data: bytes | Path) -> tuple[int, str, bytes | Path]:
    """(bytes, sha256, what to send): a small file is read once, for its digest and its transfer."""
    try:
        if isinstance(data, Path) and size_of(data) < SMALL_BYTES:
            data = data.read_bytes()
        return size_of(data), digest_of(data), data
    except OSError as error:
        raise StoreError(f"cannot read {error.filename}: {error.strerror}") from error
