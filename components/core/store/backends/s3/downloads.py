"""From a bucket into a file: small objects in one request, large ones in ranges side by side."""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from components.core.store.backends.s3.direct import Body
from components.core.store.backends.s3.errors import ErrorTranslator, without_userinfo
from components.core.store.backends.s3.partial_file import PartialFile, replacing_in_ranges
from components.core.store.backends.s3.reads import BROKEN, Reads
from components.core.store.errors import Damaged, StoreUnavailable
from components.core.store.files import replacing, write_new

# Not less: the threads wait for one another between two reads. Not more: it would not stay in the processor's cache.
BUFFER_BYTES = 512 << 10
NUM_ATTEMPTS = 5  # without a byte between them


class _Buffers(threading.local):
    """A buffer a thread: to make one takes the kernel as long as to fill it."""

    def __init__(self) -> None:
        self.of_this_thread = memoryview(bytearray(BUFFER_BYTES))


_BUFFERS = _Buffers()


@dataclass(frozen=True, kw_only=True)
class Download:
    """One object, on its way into a file."""

    reads: Reads
    errors: ErrorTranslator
    key: str  # in the bucket
    address: str  # for messages
    range_bytes: int  # size of a range; larger objects are fetched in ranges
    slots: threading.BoundedSemaphore  # how many ranges are under way in the whole store
    num_at_once: int

    def to(self, path: Path, sha256: str) -> None:
        """Atomic: `path` appears whole and with this sha256, or not at all. `NotFound`, `Damaged`."""
        first = self._open(0, self.range_bytes, None)  # all of it, or the first range: it says how large the object is
        if first.num_bytes < first.size:
            self._in_ranges(path, sha256, first)
            return
        with replacing(path) as partial:
            self._check(write_new(partial, self._chunks(0, first.size, first.etag, first)), sha256)

    def _in_ranges(self, path: Path, sha256: str, first: Body) -> None:
        identity: dict[str, object] = {"format": 1, "sha256": sha256, "etag": first.etag, "size": first.size}
        identity["range_bytes"] = self.range_bytes
        opened = {0: first}  # until a thread takes it
        try:
            with replacing_in_ranges(path, sha256=sha256, identity=identity) as file:
                self._check(self._fill(file, first.etag, first.size, opened), sha256)
        finally:
            if unread := opened.pop(0, None):
                unread.close()

    def _fill(self, file: PartialFile, etag: str, size: int, opened: dict[int, Body]) -> str:
        """Brings the ranges that are missing, and returns the sha256 of all, read back while others still arrive.

        Args:
            opened: the answers that are there, by the number of their range; taken out as they are read.
        """
        stopped = threading.Event()

        def bring(number: int) -> None:
            offset = number * self.range_bytes
            with self.slots:
                for chunk in self._chunks(offset, min(offset + self.range_bytes, size), etag, opened.pop(number, None)):
                    if stopped.is_set():
                        return
                    file.write(offset, chunk)
                    offset += len(chunk)
            file.finish(number)

        numbers = range(-(-size // self.range_bytes))
        missing = iter([number for number in numbers if not file.is_finished(number)])
        arriving: dict[int, Future[None]] = {}
        digest, buffer = hashlib.sha256(), _BUFFERS.of_this_thread
        with ThreadPoolExecutor(self.num_at_once, thread_name_prefix="store-range") as pool:
            try:
                for number in islice(missing, self.num_at_once):
                    arriving[number] = pool.submit(bring, number)
                for number in numbers:
                    if number in arriving:
                        arriving.pop(number).result()
                    offset, stop = number * self.range_bytes, min((number + 1) * self.range_bytes, size)
                    while offset < stop:
                        read = file.read_into(buffer[: stop - offset], offset)
                        if not read:
                            raise Damaged(f"the partial download of {self.address} was cut short")
                        digest.update(buffer[:read])
                        offset += read
                    # Only now one more: hashing is one thread, and would be left behind by those who bring.
                    for following in islice(missing, 1):
                        arriving[following] = pool.submit(bring, following)
            except BaseException as error:
                # After a failure, what is flowing may finish, for the next call to find it. Ctrl-C waits for nothing.
                if not isinstance(error, Exception):
                    stopped.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return digest.hexdigest()

    def _chunks(self, start: int, stop: int, etag: str, body: Body | None = None) -> Iterator[memoryview]:
        """The bytes from start to stop of this very state of the object; continues where it stopped when it breaks.

        A chunk is gone when the next one is asked for.
        """
        failures, buffer = 0, _BUFFERS.of_this_thread
        while start < stop or body is not None:
            if body is None:
                body = self._open(start, stop, etag)
            reason = "it ends early"
            with closing(body):
                while start < stop:
                    try:
                        read = body.readinto(buffer[: stop - start])
                    except BROKEN as error:
                        reason = type(error).__name__
                        break
                    if not read:
                        break
                    yield buffer[:read]
                    start += read
                    failures = 0
            body = None
            if start < stop:
                failures += 1
                if failures == NUM_ATTEMPTS:
                    at = without_userinfo(self.errors.endpoint)
                    raise StoreUnavailable(
                        f"cannot read {self.address}: its transfer from {at} broke {failures} times ({reason})"
                    )
                time.sleep(random.uniform(0, 0.1 * 2**failures))  # jitter: those who broke together do not return so

    def _open(self, start: int, stop: int, etag: str | None) -> Body:
        with self.errors.translated(self.address):
            return self.reads.open(self.key, start=start, stop=stop, etag=etag)

    def _check(self, actual: str, sha256: str) -> None:
        if actual != sha256:
            raise Damaged(f"{self.address} is damaged: its sha256 does not match")
