"""Garbage collection: deletes what nothing refers to and nobody has written or used for a while."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType
from typing import Any, Self

from components.core.store.backends.objects import Listed, Objects
from components.core.store.care.reachability import mark
from components.core.store.concurrency import run_all
from components.core.store.contents.blobs import BLOB_FOLDER
from components.core.store.contents.sweeps import (
    HELD_FOLDER,
    LEASE_SECONDS,
    SWEEP_KEY,
    Sweep,
    held_key,
    host_name,
    read_sweep,
    write_sweep,
)
from components.core.store.errors import CollectionBusy, Damaged, NotFound, PreconditionFailed, StoreError

CLOCK_KEY = "gc/clock"

BATCH = 1000
"""Blobs that are said to be swept at once: a writer who needs one of them waits for a second or two."""


@dataclass(frozen=True, kw_only=True)
class Collected:
    """Result of a collection, or of its dry run.

    Attributes:
        deleted: kind (`results`, `checkpoints`, `blobs`) → objects.
        kept_blobs: how many blobs are left.
        kept_bytes: their bytes.
    """

    deleted: dict[str, list[Listed]]
    kept_blobs: int
    kept_bytes: int


def collect(
    objects: Objects,
    *,
    grace_seconds: float,
    roots: Iterable[Any] = (),
    dry_run: bool = False,
    now: float | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Collected:
    """Deletes the results, checkpoints and blobs that are not reachable (`reachability.mark`) and older than the grace.

    Guarantees, in both kinds of store:

    - What is reachable, or was written or used within the grace period, is not deleted: also not if it becomes so
      while the collection is at work (`contents/sweeps.py`). So a run that writes now is safe as long as none of its
      tasks takes longer than the grace period.
    - Killed at any moment it leaves a store in which every record finds its blobs: records go first. The next
      collection ends what this one began.
    - One at a time: a second collection is refused while one is at work (`CollectionBusy`).

    Args:
        objects: the store's.
        grace_seconds: how long something has been left alone before it may go.
        roots: digests of blobs, or documents that name them, of somebody outside of the store who needs them.
        dry_run: delete nothing; say what would go.
        now: the present, in seconds since the epoch. None: as the store's own clock says (`store_time`); a dry run,
            which writes nothing, goes by this machine's.
        tell: hears which phase begins.

    Raises:
        Damaged: see `mark`; nothing was deleted.
    """
    # This machine's clock may be years ahead, or be set while this runs: all that a running task needs would look old.
    present = time.time() if dry_run else store_time(objects)
    apart = present - time.monotonic()
    keep_since = (present if now is None else now) - grace_seconds
    tell("listing blobs")
    # Listed before anything is followed: what is written from now on is not among the candidates.
    blobs = list(objects.walk(BLOB_FOLDER))
    marks = {listed.key.rpartition("/")[2]: listed for listed in objects.walk(HELD_FOLDER)}
    tell("following what is needed")
    marked = mark(objects, keep_since=keep_since, roots=roots)

    def is_garbage(blob: Listed) -> bool:
        digest = blob.key.rpartition("/")[2]
        known = blob.key == f"{BLOB_FOLDER}/{digest[:2]}/{digest}"  # what else lies there is not ours to delete
        used = max(blob.modified, marks[digest].modified if digest in marks else 0.0)
        return known and used < keep_since and digest not in marked.digests

    results, indices, files = marked.results, marked.indices, marked.checkpoints
    doomed = [blob for blob in blobs if is_garbage(blob)]
    if not dry_run:
        tell("deleting")
        with _Sweeper(objects, keep_since, apart) as sweeper:
            # What points goes before what it points at.
            results, indices = sweeper.delete(results), sweeper.delete(indices)
            files = sweeper.delete(files)
            doomed = sweeper.delete_blobs(doomed)
            sweeper.delete([listed for listed in marks.values() if listed.modified < keep_since])
    return Collected(
        deleted={"results": results, "checkpoints": [*indices, *files], "blobs": doomed},
        kept_blobs=len(blobs) - len(doomed),
        kept_bytes=sum(blob.size for blob in blobs) - sum(blob.size for blob in doomed),
    )


def store_time(objects: Objects) -> float:
    """The present by the store's own clock, in seconds since the epoch: what it says of an object written now."""
    objects.put(CLOCK_KEY, b"")
    return objects.stat(CLOCK_KEY).modified


class _Sweeper:
    """Holds the store's one place for a collection, and deletes. What has become young meanwhile stays."""

    def __init__(self, objects: Objects, keep_since: float, apart: float) -> None:
        """`apart`: the store's clock less `time.monotonic()`."""
        self._objects, self._keep_since, self._apart = objects, keep_since, apart
        self._etag: str | None = None
        self._sweep = Sweep(
            collection=uuid.uuid4().hex, batch=0, at=0.0, condemned=frozenset(), done=False,
            host=host_name(), pid=os.getpid(),
        )  # fmt: skip

    def __enter__(self) -> Self:
        with suppress(NotFound):
            self._etag = self._objects.etag(SWEEP_KEY)  # first: what is written after it makes our own write fail
        with suppress(Damaged):
            other = read_sweep(self._objects)
            if other is not None and not other.is_dead(self._now()):
                raise self._busy()
        self._say()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sweep = replace(self._sweep, done=True)
        with suppress(StoreError) if error is not None else nullcontext():
            self._say()

    def delete(self, doomed: Sequence[Listed]) -> list[Listed]:
        """Deletes what still is old; what went."""
        return [listed for listed in run_all(self._delete, doomed) if listed is not None]

    def delete_blobs(self, doomed: Sequence[Listed]) -> list[Listed]:
        """`delete` in batches, each said before."""
        gone: list[Listed] = []
        left = list(doomed)
        while left:
            batch, left = left[:BATCH], left[BATCH:]
            self._say({blob.key.rpartition("/")[2] for blob in batch})
            last_start = time.monotonic() + LEASE_SECONDS / 5  # a delete may be tried for minutes
            ends = run_all(partial(self._delete_blob, last_start=last_start), batch)
            tried = [end for end in ends if end is not None]
            gone += [blob for blob, went in tried if went]
            if len(tried) < len(batch):
                started = {blob.key for blob, _ in tried}
                left = [blob for blob in batch if blob.key not in started] + left
        return gone

    def _delete_blob(self, blob: Listed, *, last_start: float) -> tuple[Listed, bool] | None:
        """The blob and whether it went; None if it was not looked at."""
        key = held_key(blob.key.rpartition("/")[2])
        with suppress(NotFound):
            if self._objects.stat(key).modified >= self._keep_since:
                return blob, False
        if time.monotonic() > last_start:
            return None
        return blob, self._delete(blob) is not None

    def _delete(self, listed: Listed) -> Listed | None:
        with suppress(NotFound):
            if self._objects.stat(listed.key).modified < self._keep_since:
                self._objects.delete(listed.key)
                return listed
        return None

    def _now(self) -> float:
        return time.monotonic() + self._apart

    def _say(self, condemned: Collection[str] = ()) -> None:
        sweep = self._sweep
        self._sweep = replace(sweep, batch=sweep.batch + 1, at=self._now(), condemned=frozenset(condemned))
        try:
            self._etag = write_sweep(self._objects, self._sweep, if_match=self._etag)
        except PreconditionFailed as error:
            etag = self._objects.etag(SWEEP_KEY)
            if read_sweep(self._objects) != self._sweep:  # else it was ours, tried again after its answer was lost
                raise self._busy() from error
            self._etag = etag

    def _busy(self) -> CollectionBusy:
        return CollectionBusy(
            f"another garbage collection is at work on {self._objects.uri}; run this one when it is done"
        )
