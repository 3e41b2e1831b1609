"""Decoded images of a split, remembered in memory as long as they fit.

Decoding is most of the cost of a batch. At the network's input size a decoded split is often small (10,000 images at
64 px: 123 MB), so the second epoch and the next stage function in the same process need not decode again.
"""

import os
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from components.core.tasks.base import WHOLE, Share
from components.core.tasks.preprocess import Preprocess

if TYPE_CHECKING:
    from components.core.artifacts.dataset import Dataset

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
        self._lock = threading.Lock()
        self._slots: np.ndarray | None = None
        if remember:
            self._allocate(dataset)

    def _allocate(self, dataset: "Dataset") -> None:
        # With a limit only the wanted rows get a slot.
        wanted = np.concatenate(
            [rows + self._offsets[shard] for shard, rows in dataset.order(self._split, limit=self._limit)]
            or [np.zeros(0, dtype=np.int64)]
        )
        side = self._preprocess.image_size
        self._slots = np.full(self._offsets[-1], -1, dtype=np.int64)
        self._slots[wanted] = np.arange(len(wanted))
        self._pixels = np.empty((len(wanted), side, side, 3), dtype=np.uint8)
        self._labels = np.empty(len(wanted), dtype=np.int64)
        self._digests = np.empty(len(wanted), dtype=object)
        self._filled = np.zeros(len(wanted), dtype=bool)

    @property
    def nbytes(self) -> int:
        """Memory of the remembered pixels, bytes."""
        return 0 if self._slots is None else self._pixels.nbytes

    def batches(
        self, dataset: "Dataset", batch_size: int, *, seed: int | None, epoch: int, share: Share = WHOLE
    ) -> Iterator[tuple[Pixels, int]]:
        """This share of each batch, and the number of images in the whole one; the last batch may be smaller.

        Pixels uint8 `(N, H, W, 3)`, labels int64 `(N,)`, digests. `dataset` is the one the reader was made for. The
        reader does not hold it: readers live in a registry that must not keep their dataset alive.
        """
        waiting: list[tuple[_Shard, np.ndarray]] = []
        num_waiting = 0
        with ThreadPoolExecutor(max_workers=min(_MAX_THREADS, os.cpu_count() or 1)) as pool:
            for shard, rows in dataset.order(self._split, seed=seed, epoch=epoch, limit=self._limit):
                loader = _Shard(dataset, self._split, shard)
                start = 0
                while start < len(rows):
                    taken = rows[start : start + batch_size - num_waiting]
                    start += len(taken)
                    num_waiting += len(taken)
                    waiting.append((loader, taken))
                    if num_waiting == batch_size:
                        yield self._part(waiting, num_waiting, share, pool), num_waiting
                        waiting, num_waiting = [], 0
            if waiting:
                yield self._part(waiting, num_waiting, share, pool), num_waiting

    def _part(
        self, pieces: list[tuple["_Shard", np.ndarray]], count: int, share: Share, pool: ThreadPoolExecutor
    ) -> Pixels:
        low, high = share.bounds(count)
        found: list[Pixels] = []
        start = 0
        for loader, rows in pieces:
            mine = rows[max(low - start, 0) : max(high - start, 0)]
            start += len(rows)
            if len(mine):
                found.append(self._rows(loader, int(self._offsets[loader.number]), mine, pool))
        return _joined(found, self._preprocess.image_size)

    def _rows(self, loader: "_Shard", offset: int, rows: np.ndarray, pool: ThreadPoolExecutor) -> Pixels:
        if self._slots is None:
            return loader.decode(rows, self._preprocess, pool)
        slots = self._slots[rows + offset]
        new = ~self._filled[slots]
        if new.any():
            pixels, labels, digests = loader.decode(rows[new], self._preprocess, pool)
            # Two iterators may fill the same slots at once: with the same bytes, so only the flag's order matters.
            with self._lock:
                self._pixels[slots[new]] = pixels
                self._labels[slots[new]] = labels
                self._digests[slots[new]] = digests
                self._filled[slots[new]] = True
        return self._pixels[slots], self._labels[slots], self._digests[slots].tolist()


class _Shard:
    """A shard that is read from disk only when a row of it has to be decoded."""

    def __init__(self, dataset: "Dataset", split: str, shard: int) -> None:
        self.number = shard
        self._where = (dataset, split, shard)
        self._table: pa.Table | None = None

    def decode(self, rows: np.ndarray, preprocess: Preprocess, pool: ThreadPoolExecutor) -> Pixels:
        if self._table is None:
            dataset, split, shard = self._where
            self._table = dataset.read(split, shard, columns=_COLUMNS)
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
