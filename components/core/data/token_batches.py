"""Batches of so many target elements in place of so many rows: which rows of a pass go together.

All of it follows from the lengths of the rows, which are known before the first batch is read: how many steps an epoch
has, and which rows a batch has in each process and after a restart.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from components.core.data.dataset import Dataset


@dataclass(frozen=True, kw_only=True)
class TokenBatches:
    """How a split is read in batches of at most `limit` target elements, padding included, but one row at least.

    Attributes:
        dataset, split: what is read.
        lengths: of each row, int64 `(rows, sides)` in stored order; the side of the target comes last.
        limit: at least 1.
        pool_rows: rows among which those of similar length are brought together.
    """

    dataset: "Dataset"
    split: str
    lengths: np.ndarray
    limit: int
    pool_rows: int

    def plan(self, *, seed: int, epoch: int) -> list[list[np.ndarray]]:
        """The batches of each pool of a pass, in their order: places in the pool, int64.

        A pool is the next `pool_rows` rows in the order of the pass. They are sorted by the target's length, then by
        those of the other sides; the order of a pool's batches is drawn.
        """
        found = []
        for number, pool in enumerate(self._pools(seed, epoch)):
            rows = np.lexsort(pool.T)
            batches = np.split(rows, cuts(pool[rows, -1], self.limit))
            drawn = np.random.default_rng([seed, epoch, 2, number]).permutation(len(batches))
            found.append([batches[place] for place in drawn])
        return found

    def steps(self, *, seed: int, epochs: int) -> int:
        """Batches that every one of the first `epochs` passes has, at least 1.

        Passes differ by a few batches, since other rows meet in a pool; what a pass has more is left out.
        """
        return max(min(sum(map(len, self.plan(seed=seed, epoch=epoch))) for epoch in range(max(epochs, 1))), 1)

    def padding(self, *, seed: int) -> float:
        """Share of the elements of the first pass's batches, all sides together, that are padding."""
        pools = self._pools(seed, 0)
        places = sum(
            len(rows) * int(pool[rows].max(axis=0).sum())
            for pool, batches in zip(pools, self.plan(seed=seed, epoch=0), strict=True)
            for rows in batches
        )
        return 1 - int(self.lengths.sum()) / places if places else 0.0

    def _pools(self, seed: int, epoch: int) -> list[np.ndarray]:
        """The lengths of each pool of a pass."""
        offsets = np.cumsum([0, *self.dataset.shard_rows(self.split)])
        order = [rows + offsets[shard] for shard, rows in self.dataset.order(self.split, seed=seed, epoch=epoch)]
        lengths = self.lengths[np.concatenate(order)]
        return [lengths[start : start + self.pool_rows] for start in range(0, len(lengths), self.pool_rows)]


def cuts(lengths: np.ndarray, limit: int) -> np.ndarray:
    """Where ascending lengths `(N,)` are cut into batches: as few as can be, and as equal as can be.

    A batch of n rows takes `n · longest` elements, at most `limit`; a row that is longer is a batch. Of all limits that
    give as few batches the smallest is taken, or a small batch would be left whose few rows would weigh as much as all
    rows of another.
    """
    low, high = 1, limit
    fewest = len(_cuts(lengths, limit))
    while low < high:
        middle = (low + high) // 2
        if len(_cuts(lengths, middle)) > fewest:
            low = middle + 1
        else:
            high = middle
    return _cuts(lengths, high)


def _cuts(lengths: np.ndarray, limit: int) -> np.ndarray:
    """From the shortest on, each batch as large as it can be."""
    found: list[int] = []
    start = 0
    while True:
        longest = lengths[start : start + limit]
        taken = int(np.searchsorted(longest * np.arange(1, len(longest) + 1), limit, side="right"))
        start += max(taken, 1)
        if start >= len(lengths):
            return np.array(found, dtype=np.int64)
        found.append(start)
