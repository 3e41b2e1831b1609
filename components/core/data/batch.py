"""A batch: named inputs, targets, and what of them counts. Numpy or torch, the same form."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import numpy as np

Example = tuple[Any, ...]
"""One decoded row: arrays and numbers, whatever the task's `Transform` makes of it."""

Draws = Mapping[str, np.ndarray]
"""Random numbers of a batch's augmentation, by name, each with the rows along its first axis."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Rows that pass through a network together; arrays are numpy's, or torch's after `training.data.as_tensors`.

    Attributes:
        inputs: by the name of the network's input, each `(N, …)`, in the order in which the network takes them.
        targets: `(N, …)` as the task has them; for an evaluation at each row's own size a list of N arrays.
        weight: what of the targets counts, bool `(N, …)`: not ignored pixels, not padding. None: each row counts once.
        digests: content digest of each row.
    """

    inputs: dict[str, Any]
    targets: Any
    digests: list[str]
    weight: Any = None

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.digests)

    @property
    def count(self) -> int:
        """How many elements count: what a sum of losses is divided by."""
        return len(self) if self.weight is None else int(self.weight.sum())

    def part(self, rows: slice) -> "Batch":
        """Some of the rows."""
        return replace(
            self,
            inputs={name: values[rows] for name, values in self.inputs.items()},
            targets=self.targets[rows],
            digests=self.digests[rows],
            weight=None if self.weight is None else self.weight[rows],
        )


class Share(NamedTuple):
    """Which part of every batch is read here: number `rank` of `size` contiguous parts, as equal as can be."""

    rank: int = 0
    size: int = 1

    def bounds(self, count: int) -> tuple[int, int]:
        """First and one past the last row of a batch of `count` rows."""
        return self.rank * count // self.size, (self.rank + 1) * count // self.size


WHOLE = Share()


class Transform(Protocol):
    """How stored rows become a batch; made by a task, used by the reading engine (`reading.read_batches`)."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that `decode` needs."""

    @property
    def key(self) -> Hashable:
        """Transforms with equal keys decode a row to the same bytes."""

    def decode(self, row: Mapping[str, Any]) -> Example:
        """One row, without anything random; called in several threads."""

    @property
    def lengths(self) -> Callable[[Example], tuple[int, ...]] | None:
        """Sizes of an example that batches pad, the target's last; None where all are of one size.

        In training rows of similar lengths are brought together.
        """

    def draw(self, rng: np.random.Generator, count: int) -> Draws:
        """The random numbers that the augmentation of a batch of `count` rows needs.

        Drawn for the whole batch, also by a process that reads a part of it or skips it.
        """

    def collate(self, examples: Sequence[Example], digests: list[str], draws: Draws | None) -> Batch:
        """Decoded rows, none or more, as a batch; augmented with `draws` unless they are None."""
