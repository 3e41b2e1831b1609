"""How a garbage collection and those who write at the same time stay out of each other's way.

A blob that is there is not written again, so a writer may rely on one that is old and that nothing refers to yet, at
the moment at which a collection deletes it. Both sides therefore first say what they do, and then look:

    a writer      says: a new blob is young, and an old one gets a young mark (`held/ab/<digest>`)
                  looks: is there a sweep at work, or was there one since I began?   (`gc/sweep.json`, one read a call)
                  Then it waits until its blobs are not being swept, and puts again what is gone.
    a collection  says: these blobs are being swept                                   (`gc/sweep.json`)
                  looks: is one of them young, or marked young?
                  Then it deletes the others, and says that it is done.

Whoever looks last sees what the other has said, for both kinds of store show a write to every later read. So a blob
that a writer was told is there stays there from that moment for the grace period, less `HOLD_SECONDS`.

Results and checkpoints have no such word. One that is written again in the milliseconds between the collection's look
and its delete may go, and is computed again: that costs time, never a wrong result.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Collection
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from components.core.store.backends.objects import Objects
from components.core.store.errors import Damaged, NotFound
from components.core.store.names import check_digest
from components.core.store.records import decode, encode

SWEEP_KEY = "gc/sweep.json"
HELD_FOLDER = "held"

HOLD_SECONDS = 3600.0
"""A blob or mark younger than this needs no (new) mark: a run that finds all its results costs no writes but hourly."""

LEASE_SECONDS = 600.0
"""A batch of a sweep is over by then, or its collection is dead: deletes are only begun in its first fifth."""

SKEW_SECONDS = 900.0
"""How much two clocks may differ. S3 refuses requests of a clock that is further off."""


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Content of `gc/sweep.json`.

    Attributes:
        collection: names the collection that wrote it.
        batch: counts its batches.
        at: when it was written, by the store's clock.
        condemned: the digests that are being deleted; none between two batches and when all is done.
        done: whether the collection is over.
        host: names the machine, and the space of process ids on it, of the collection's process.
        pid: its process id there.
    """

    collection: str
    batch: int
    at: float
    condemned: frozenset[str]
    done: bool
    host: str
    pid: int

    def is_dead(self, now: float | None = None) -> bool:
        """Whether its collection certainly deletes nothing any more; `now` by the store's clock, None: by one's own."""
        if self.done or self.at < (time.time() if now is None else now) - LEASE_SECONDS - SKEW_SECONDS:
            return True
        return self.host == host_name() and not _is_alive(self.pid)


class Sweeps:
    """The writers' side."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def hold(self, digest: str) -> None:
        """Marks a blob as needed now."""
        key = held_key(digest)
        try:
            if not is_aging(self._objects.stat(key).modified):
                return
        except NotFound:
            pass
        self._objects.put(key, b"")

    def overlapped(self, digests: Collection[str], *, since: float) -> bool:
        """Whether one of these blobs may have been deleted since then; returns when none is being deleted any more.

        Args:
            digests: blobs that are new or have been held.
            since: when the caller first looked for them, by its own clock.
        """
        try:
            sweep = read_sweep(self._objects)
        except Damaged:
            return True
        if sweep is None or sweep.at < since - LEASE_SECONDS - SKEW_SECONDS:
            return False
        wanted, batch = frozenset(digests), (sweep.collection, sweep.batch)
        patience, wait = time.monotonic() + LEASE_SECONDS, 0.05
        while sweep.condemned & wanted and (sweep.collection, sweep.batch) == batch and not sweep.is_dead():
            if time.monotonic() > patience:
                break
            time.sleep(wait)
            wait = min(2 * wait, 2.0)
            sweep = read_sweep(self._objects) or sweep
        return True


def read_sweep(objects: Objects) -> Sweep | None:
    """The latest sweep, or None if there never was one. `Damaged`."""
    try:
        document = decode(objects.get(SWEEP_KEY).data, objects=objects, key=SWEEP_KEY)
    except NotFound:
        return None
    try:
        return Sweep(**{**document, "condemned": frozenset(document["condemned"]), "at": float(document["at"])})
    except (KeyError, TypeError, ValueError) as error:
        raise Damaged(f"{objects.address(SWEEP_KEY)} is damaged: not the state of a garbage collection") from error


def write_sweep(objects: Objects, sweep: Sweep, *, if_match: str | None) -> str:
    """Replaces the state that has this etag (None: if there is none yet); the new etag. `PreconditionFailed`."""
    data = encode({**asdict(sweep), "condemned": sorted(sweep.condemned)}, what="the state of a garbage collection")
    return objects.put(SWEEP_KEY, data, if_match=if_match, if_absent=if_match is None)


def held_key(digest: str) -> str:
    """The key of a blob's mark."""
    return f"{HELD_FOLDER}/{check_digest(digest)[:2]}/{digest}"


def is_aging(modified: float) -> bool:
    """Whether what was written then needs a mark if somebody relies on it. What seems to be of the future may be of
    any age: then the clock of whoever asks is far behind."""
    now = time.time()
    return not now - HOLD_SECONDS <= modified <= now + SKEW_SECONDS


@cache
def host_name() -> str:
    """This machine, since it was started, and the space that process ids are counted in."""
    try:
        # Containers may share a host's name, and not its process ids.
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {os.readlink('/proc/self/ns/pid')}"  # noqa: PTH115
    except OSError:
        return platform.node()


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # somebody else's process
    return True
