"""Decoded images of a split, remembered in memory as long as they fit.

Decoding is most of the cost of a batch. At the network's input size a decoded split is often small (10,000 images at
64 px: 123 MB), so the second epoch and the next stage function in the same process need not decode again.
"""

import os
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from components.core.tasks.base import WHOLE, Share
from components.core.tasks.images.preprocess import Preprocess

if TYPE_CHECKING:
    from components.core.data.dataset import Dataset

MEMORY_BYTES = 512 * 1024 * 1024
"""Decoded images kept per dataset, bytes. What does not fit is decoded again in each epoch."""

_MAX_THREADS = 8
_COLUMNS = ("image", "label", "digest")

Pixels = tuple[np.ndarray, np.ndarray, list[str]]


class PixelReader:
    """Batches of decoded pixels of one split at one size, in the order of `Dataset.order`.

    With `remember`, each decoded row stays in memory, and a later epoch reads it there. The batches are the same bytes
    either way.
    """

    def __init__(
        self, dataset: "Dataset", split: str, preprocess: Preprocess, *, limit: int | None, remember: bool
    ) -> None:
        self._split, self._preprocess, self._limit = split, preprocess, limit
        lengths = dataset.shard_rows(split)
        self._offsets = np.cumsum([0, *lengths])
        self.num_rows = int(self._offsets[-1]) if limit is None else min(limit, int(self._offsets[-1]))
        self._wanted: np.ndarray | None = None
        if remember:
            self._allocate(dataset)

    def _allocate(self, dataset: "Dataset") -> None:
        # With a limit only the wanted rows get a slot: the place of the row's number among theirs.
        self._wanted = np.concatenate(
            [rows + self._offsets[shard] for shard, rows in dataset.order(self._split, limit=self._limit)]
            or [np.zeros(0, dtype=np.int64)]
        )
        side, count = self._preprocess.image_size, len(self._wanted)
        self._pixels = np.empty((count, side, side, 3), dtype=np.uint8)
        self._labels = np.empty(count, dtype=np.int64)
        self._digests = np.empty(count, dtype=object)
        self._filled = np.zeros(count, dtype=bool)

    @property
    def nbytes(self) -> int:
        """Memory of the remembered pixels, bytes."""
        return 0 if self._wanted is None else self._pixels.nbytes

    def batch_rows(self, number: int, batch_size: int) -> int:
        """How many images batch `number` of a pass has, all shares together."""
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
    ) -> Iterator[Pixels]:
        """This share of each batch but the first `skip`, whose shards are not read; the last batch may be smaller.

        Pixels uint8 `(N, H, W, 3)`, labels int64 `(N,)`, digests. `dataset` is the one the reader was made for. The
        reader does not hold it: readers live in a registry that must not keep their dataset alive.
        """
        number, num_batches = skip, -(-self.num_rows // batch_size)
        waiting: list[Pixels] = []
        pieces = self._pieces(dataset, batch_size, seed=seed, epoch=epoch, share=share, skip=skip)
        with (
            ThreadPoolExecutor(max_workers=min(_MAX_THREADS, os.cpu_count() or 1)) as pool,
            closing(dataset.stream(self._split, pieces, columns=_COLUMNS, needed=self._is_needed)) as shards,
        ):
            for _, piece, read in shards:
                shard = _Shard(read)
                while number < num_batches and number * batch_size < piece.stop:
                    taken = piece.batches == number
                    if taken.any():
                        waiting.append(self._rows(shard, piece, taken, pool))
                    if number * batch_size + self.batch_rows(number, batch_size) > piece.stop:
                        break  # the rest of this batch is in the next shard
                    yield _joined(waiting, self._preprocess.image_size)
                    waiting, number = [], number + 1

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
            slots = None if self._wanted is None else np.searchsorted(self._wanted, rows[mine] + self._offsets[shard])
            yield shard, _Piece(rows=rows[mine], batches=batches[mine], slots=slots, stop=start)

    def _is_needed(self, piece: "_Piece") -> bool:
        """Whether the shard has to be read for it."""
        return len(piece.rows) > 0 and (piece.slots is None or not self._filled[piece.slots].all())

    def _rows(self, shard: "_Shard", piece: "_Piece", taken: np.ndarray, pool: ThreadPoolExecutor) -> Pixels:
        """The rows of a piece that are `taken` (bool)."""
        rows = piece.rows[taken]
        if piece.slots is None:
            return shard.decode(rows, self._preprocess, pool)
        slots = piece.slots[taken]
        new = ~self._filled[slots]
        if new.any():
            pixels, labels, digests = shard.decode(rows[new], self._preprocess, pool)
            # Two iterators may fill the same slots at once: with the same bytes, and each its flags after its bytes.
            self._pixels[slots[new]] = pixels
            self._labels[slots[new]] = labels
            self._digests[slots[new]] = digests
            self._filled[slots[new]] = True
        return self._pixels[slots], self._labels[slots], self._digests[slots].tolist()


@dataclass(frozen=True, kw_only=True)
class _Piece:
    """What is read of one shard in one pass.

    rows: numbers in the shard, int64 `(N,)`. batches: which batch each belongs to. slots: where each is remembered;
    None = nowhere. stop: how many rows of the pass, of all shares, come before the next shard.
    """

    rows: np.ndarray
    batches: np.ndarray
    slots: np.ndarray | None
    stop: int


class _Shard:
    """A shard that is read from disk only when a row of it has to be decoded."""

    def __init__(self, read: Callable[[], pa.Table]) -> None:
        self._read = read
        self._table: pa.Table | None = None

    def decode(self, rows: np.ndarray, preprocess: Preprocess, pool: ThreadPoolExecutor) -> Pixels:
        if self._table is None:
            self._table = self._read()
        table = self._table.take(rows)
        pixels = np.stack(list(pool.map(preprocess.pixels, table["image"].to_pylist())))
        return pixels, table["label"].to_numpy().astype(np.int64), table["digest"].to_pylist()


def _joined(parts: list[Pixels], side: int) -> Pixels:
    if not parts:
        return np.empty((0, side, side, 3), dtype=np.uint8), np.empty(0, dtype=np.int64), []
    if len(parts) == 1:
        return parts[0]
    pixels, labels, digests = zip(*parts, strict=True)
    return np.concatenate(pixels), np.concatenate(labels), [digest for part in digests for digest in part]


_READERS: "weakref.WeakKeyDictionary[Dataset, dict[tuple, PixelReader]]" = weakref.WeakKeyDictionary()


def pixel_reader(dataset: "Dataset", split: str, preprocess: Preprocess, *, limit: int | None) -> PixelReader:
    """The reader for a split at a size; remembers pixels while the dataset's readers stay within `MEMORY_BYTES`.

    Forgotten together with the dataset object.
    """
    rows = dataset.rows(split)
    limit = None if limit is None or limit >= rows else limit
    key = (split, preprocess.image_size, preprocess.interpolation, preprocess.resize, limit)
    readers = _READERS.setdefault(dataset, {})
    if key in readers:
        return readers[key]
    needed = (limit or rows) * preprocess.image_size**2 * 3
    used = sum(known.nbytes for known in readers.values())
    remember = used + needed <= MEMORY_BYTES
    reader = PixelReader(dataset, split, preprocess, limit=limit, remember=remember)
    if remember:
        readers[key] = reader
    return reader
