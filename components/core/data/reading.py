"""The one engine that reads a split in batches: order, shares, skipping, decoding ahead, and what stays in memory.

It knows no task: a `Transform` says how a row is decoded and how decoded rows become a batch. Decoding is most of the
cost of a batch, and a decoded split is often small (10,000 images at 64 px: 123 MB), so decoded rows stay in memory as
long as they fit, and the next epoch, or the next stage function in the same process, need not decode them again.
"""

import os
import threading
import weakref
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import count, islice
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from components.core.data.batch import WHOLE, Batch, Example, Share, Transform
from components.core.data.prefetch import prefetched
from components.core.data.token_batches import TokenBatches

if TYPE_CHECKING:
    from components.core.data.dataset import Dataset

POOL = 32
"""Batches among which rows of similar length are brought together in training."""

MEMORY_BYTES = 512 * 1024 * 1024
"""Decoded rows kept per data set, bytes. What does not fit is decoded again in each epoch."""

_MEASURED_ROWS = 1024
_MAX_THREADS = 8
_PREFETCHED_BATCHES = 4

Rows = tuple[list[Example], list[str]]
"""Decoded rows and their content digests."""


def read_batches(
    dataset: "Dataset",
    split: str,
    transform: Transform,
    *,
    batch_size: int | TokenBatches,
    seed: int | None = None,
    epoch: int = 0,
    augment: bool = False,
    limit: int | None = None,
    share: Share = WHOLE,
    skip: int = 0,
) -> Generator[Batch]:
    """Batches of numpy arrays, decoded ahead in a background thread; the last one may be smaller. Close it.

    Deterministic for (dataset, split, transform, batch_size, seed, epoch, augment, limit), whatever the number of
    threads and the memory.

    Args:
        dataset: what to read.
        split: name of the split.
        transform: how rows become batches.
        batch_size: rows per batch, of all shares together; or how rows become batches of so many target elements, for
            which a seed is needed and no limit may be given.
        seed: of order and augmentation; None = stored order.
        epoch: other order and augmentation in each.
        augment: whether the transform augments.
        limit: an evenly spread subset of so many rows, the same in each epoch.
        share: each batch is a part of the whole one, augmented as it would be there; it may be empty.
        skip: the first batches, which are left out; the others are what they would be after them. No shard is read for
            what is left out; of rows with lengths a pool is read whole.

    Raises:
        ValueError: a batch size below 1.
    """
    if isinstance(batch_size, int) and batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    reader = row_reader(dataset, split, transform, limit=limit)
    rng = np.random.default_rng([0 if seed is None else seed, epoch, 1])

    def produce() -> Generator[Batch]:
        parts, counts = _parts(
            reader, dataset, transform, batch_size, seed=seed, epoch=epoch, share=share, skip=skip
        )  # fmt: skip
        for rows in islice(counts, skip):
            if augment:
                transform.draw(rng, rows)
        for (examples, digests), rows in zip(parts, counts, strict=False):
            draws = None
            if augment:
                here = slice(*share.bounds(rows))
                draws = {name: values[here] for name, values in transform.draw(rng, rows).items()}
            yield transform.collate(examples, digests, draws)

    return prefetched(produce(), depth=_PREFETCHED_BATCHES)


def _parts(
    reader: "RowReader",
    dataset: "Dataset",
    transform: Transform,
    batch_size: int | TokenBatches,
    *,
    seed: int | None,
    epoch: int,
    share: Share,
    skip: int,
) -> "tuple[Iterator[Rows], Iterator[int]]":
    """This share of each batch but the first `skip`, and how many rows each batch has of all shares, from the first."""
    if isinstance(batch_size, TokenBatches):
        assert seed is not None, "stored order has no pools"
        plan = batch_size.plan(seed=seed, epoch=epoch)
        planned = _planned(
            reader, dataset, plan, pool_rows=batch_size.pool_rows, seed=seed, epoch=epoch, share=share, skip=skip
        )
        return planned, (len(rows) for batches in plan for rows in batches)
    counts = (reader.batch_rows(number, batch_size) for number in count())
    if seed is None or transform.lengths is None:
        return reader.batches(dataset, batch_size, seed=seed, epoch=epoch, share=share, skip=skip), counts
    similar = _similar(
        reader, dataset, transform.lengths, batch_size, seed=seed, epoch=epoch, share=share, skip=skip
    )  # fmt: skip
    return similar, counts


def _similar(
    reader: "RowReader",
    dataset: "Dataset",
    lengths: Callable[[Example], tuple[int, ...]],
    batch_size: int,
    *,
    seed: int,
    epoch: int,
    share: Share,
    skip: int,
) -> "Iterator[Rows]":
    """As `RowReader.batches`, of rows that are sorted by their longest side within pools of `POOL` batches.

    The order of a pool's batches is drawn, or a pass would go from short to long again and again. What does not fill a
    batch is what comes last in the order of the pass, whatever its length.
    """
    first, skipped = divmod(skip, POOL)
    pools = reader.batches(dataset, POOL * batch_size, seed=seed, epoch=epoch, skip=first)
    for number, (examples, digests) in enumerate(pools, start=first):
        whole = len(examples) // batch_size
        sizes = [max(lengths(example)) for example in examples[: whole * batch_size]]
        batches = np.argsort(sizes, kind="stable").reshape(whole, batch_size)
        batches = batches[np.random.default_rng([seed, epoch, 2, number]).permutation(whole)]
        rest = np.arange(whole * batch_size, len(examples))
        for rows in [*batches, *([rest] if len(rest) else [])][skipped:]:
            here = rows[slice(*share.bounds(len(rows)))].tolist()
            yield [examples[row] for row in here], [digests[row] for row in here]
        skipped = 0


def _planned(
    reader: "RowReader",
    dataset: "Dataset",
    plan: Sequence[Sequence[np.ndarray]],
    *,
    pool_rows: int,
    seed: int,
    epoch: int,
    share: Share,
    skip: int,
) -> "Iterator[Rows]":
    """This share of each batch of a `TokenBatches.plan` but the first `skip`; pools that these fill are not read."""
    first = 0
    while first < len(plan) and skip >= len(plan[first]):
        skip -= len(plan[first])
        first += 1
    pools = reader.batches(dataset, pool_rows, seed=seed, epoch=epoch, skip=first)
    for (examples, digests), batches in zip(pools, plan[first:], strict=True):
        for rows in batches[skip:]:
            here = rows[slice(*share.bounds(len(rows)))].tolist()
            yield [examples[row] for row in here], [digests[row] for row in here]
        skip = 0


def token_batches(dataset: "Dataset", split: str, transform: Transform, *, limit: int) -> TokenBatches:
    """Batches of at most `limit` target elements, of a transform with lengths.

    Every row is decoded for it, which the first pass need not do again for what stays in memory.
    """
    assert transform.lengths is not None
    reader = row_reader(dataset, split, transform, limit=None)
    found = [
        transform.lengths(example)
        for examples, _ in reader.batches(dataset, _MEASURED_ROWS, seed=None, epoch=0)
        for example in examples
    ]
    lengths = np.array(found, dtype=np.int64)
    rows = max(limit * len(lengths) // int(lengths[:, -1].sum()), 1)
    return TokenBatches(dataset=dataset, split=split, lengths=lengths, limit=limit, pool_rows=POOL * rows)


class RowReader:
    """Decoded rows of one split in batches, in the order of `Dataset.order`.

    A decoded row stays in memory while the data set's account has room; a later epoch reads it there. The batches are
    the same either way.
    """

    def __init__(
        self, dataset: "Dataset", split: str, transform: Transform, *, limit: int | None, account: "_Account"
    ) -> None:
        self._split, self._transform, self._limit, self._account = split, transform, limit, account
        lengths = dataset.shard_rows(split)
        self._offsets = np.cumsum([0, *lengths])
        self.num_rows = int(self._offsets[-1]) if limit is None else min(limit, int(self._offsets[-1]))
        # With a limit only the wanted rows get a slot: the place of the row's number among theirs.
        self._wanted = np.concatenate(
            [rows + self._offsets[shard] for shard, rows in dataset.order(split, limit=limit)]
            or [np.zeros(0, dtype=np.int64)]
        )
        self._rows: list[tuple[Example, str] | None] = [None] * len(self._wanted)

    def batch_rows(self, number: int, batch_size: int) -> int:
        """How many rows batch `number` of a pass has, all shares together."""
        return min(batch_size, self.num_rows - number * batch_size)

    def batches(
        self,
        dataset: "Dataset",
        batch_size: int,
        *,
        seed: int | None,
        epoch: int,
        share: Share = WHOLE,
        skip: int = 0,
    ) -> Iterator[Rows]:
        """This share of each batch but the first `skip`, whose shards are not read; the last batch may be smaller.

        `dataset` is the one the reader was made for. The reader does not hold it: readers live in a registry that must
        not keep their data set alive.
        """
        number, num_batches = skip, -(-self.num_rows // batch_size)
        examples: list[Example] = []
        digests: list[str] = []
        pieces = self._pieces(dataset, batch_size, seed=seed, epoch=epoch, share=share, skip=skip)
        columns = ("digest", *self._transform.columns)
        with (
            ThreadPoolExecutor(max_workers=min(_MAX_THREADS, os.cpu_count() or 1)) as pool,
            closing(dataset.stream(self._split, pieces, columns=columns, needed=self._is_needed)) as shards,
        ):
            for _, piece, read in shards:
                shard = _Shard(read)
                while number < num_batches and number * batch_size < piece.stop:
                    taken = piece.batches == number
                    if taken.any():
                        more, names = self._decoded(shard, piece, taken, pool)
                        examples += more
                        digests += names
                    if number * batch_size + self.batch_rows(number, batch_size) > piece.stop:
                        break  # the rest of this batch is in the next shard
                    yield examples, digests
                    examples, digests, number = [], [], number + 1

    def _pieces(
        self, dataset: "Dataset", batch_size: int, *, seed: int | None, epoch: int, share: Share, skip: int
    ) -> Iterator[tuple[int, "_Piece"]]:
        """The shards of a pass, and what is read here of each."""
        start = 0
        for shard, rows in dataset.order(self._split, seed=seed, epoch=epoch, limit=self._limit):
            batches, places = np.divmod(np.arange(start, start + len(rows)), batch_size)
            counts = np.minimum(self.num_rows - batches * batch_size, batch_size)
            low, high = share.bounds(counts)
            mine = (batches >= skip) & (places >= low) & (places < high)
            start += len(rows)
            slots = np.searchsorted(self._wanted, rows[mine] + self._offsets[shard])
            yield shard, _Piece(rows=rows[mine], batches=batches[mine], slots=slots, stop=start)

    def _is_needed(self, piece: "_Piece") -> bool:
        """Whether the shard has to be read for it."""
        return any(self._rows[slot] is None for slot in piece.slots.tolist())

    def _decoded(self, shard: "_Shard", piece: "_Piece", taken: np.ndarray, pool: ThreadPoolExecutor) -> Rows:
        """The rows of a piece that are `taken` (bool), from memory where they are there."""
        slots = piece.slots[taken].tolist()
        found = [self._rows[slot] for slot in slots]
        new = np.array([row is None for row in found], dtype=bool)
        if new.any():
            decoded = iter(shard.decode(piece.rows[taken][new], self._transform, pool))
            for place in np.flatnonzero(new).tolist():
                row = found[place] = next(decoded)
                # Two iterators may decode the same row at once: to the same bytes.
                if self._account.take(row[0]):
                    self._rows[slots[place]] = row
        rows = [row for row in found if row is not None]
        return [example for example, _ in rows], [digest for _, digest in rows]


@dataclass(frozen=True, kw_only=True)
class _Piece:
    """The rows of one shard that a pass reads.

    rows: numbers in the shard, int64 `(N,)`. batches: which batch each belongs to. slots: where each is remembered.
    stop: how many rows of the pass, of all shares, come before the next shard.
    """

    rows: np.ndarray
    batches: np.ndarray
    slots: np.ndarray
    stop: int


class _Shard:
    """A shard that is read from disk only when a row of it has to be decoded."""

    def __init__(self, read: Callable[[], pa.Table]) -> None:
        self._read = read
        self._table: pa.Table | None = None

    def decode(self, rows: np.ndarray, transform: Transform, pool: ThreadPoolExecutor) -> list[tuple[Example, str]]:
        if self._table is None:
            self._table = self._read()
        stored = self._table.take(rows).to_pylist()
        return list(zip(pool.map(transform.decode, stored), (row["digest"] for row in stored), strict=True))


class _Account:
    """Bytes of decoded rows that one data set's readers keep, together at most `MEMORY_BYTES`."""

    def __init__(self) -> None:
        self.used = 0
        self._lock = threading.Lock()

    def take(self, example: Example) -> bool:
        """Whether there is room for the example; it counts as kept then."""
        size = sum(part.nbytes for part in example if isinstance(part, np.ndarray))
        with self._lock:
            if self.used + size > MEMORY_BYTES:
                return False
            self.used += size
            return True


@dataclass
class _Readers:
    account: _Account
    by_key: dict[tuple, RowReader]


_READERS: "weakref.WeakKeyDictionary[Dataset, _Readers]" = weakref.WeakKeyDictionary()


def row_reader(dataset: "Dataset", split: str, transform: Transform, *, limit: int | None) -> RowReader:
    """The reader of a split for a transform; forgotten together with the data set object."""
    rows = dataset.rows(split)
    limit = None if limit is None or limit >= rows else limit
    key = (split, transform.key, limit)
    readers = _READERS.setdefault(dataset, _Readers(account=_Account(), by_key={}))
    if key not in readers.by_key:
        readers.by_key[key] = RowReader(dataset, split, transform, limit=limit, account=readers.account)
    return readers.by_key[key]
