"""A metric: additive statistics per row, and a reduction of their sum.

Sums over any rows are enough for a figure, so slices, processes, streaming and the jackknife need no knowledge of it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from components.core.numbers import figure_of_merit


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One figure of merit of a task.

    Attributes:
        name: for documents and KFP metrics, e.g. "top1".
        label: for people, e.g. "top-1".
        reduce: sums of statistics `(…, K)` → values `(…)`; nan where they say nothing.
        proportion: whether it is a share of rows that are each right or wrong, with statistics `(right, 1)` first.
        higher_is_better: direction.
        points_per_unit: how many points a difference of 1.0 is; 100 for a fraction (and every proportion), 1 for BLEU.
        percent: whether people read it in per cent.
    """

    name: str
    label: str
    reduce: Callable[[np.ndarray], np.ndarray]
    proportion: bool = False
    higher_is_better: bool = True
    points_per_unit: float = 100.0
    percent: bool = True

    def __post_init__(self) -> None:
        # Margins are in points; the test of a proportion needs them as shares of rows.
        if self.proportion and self.points_per_unit != 100:
            raise ValueError(f"points_per_unit of a proportion must be 100, got {self.points_per_unit}")

    def value(self, statistics: np.ndarray) -> float:
        """The figure over rows of statistics `(N, K)`."""
        return float(self.reduce(statistics.sum(axis=0)))

    def better(self, first: float, second: float) -> bool:
        """Whether `first` is better than `second`."""
        return first > second if self.higher_is_better else first < second

    def points(self, difference: float) -> float:
        """A difference of values in points, positive = better."""
        return self.points_per_unit * (difference if self.higher_is_better else -difference)

    def write(self, value: float | None) -> str:
        """A value as people read it: "91.30 %", "31.20", or a dash."""
        return figure_of_merit(None if value is None or np.isnan(value) else value, percent=self.percent)


@dataclass(frozen=True, kw_only=True)
class Group:
    """Rows that are compared besides the whole: kind "class", name "boot".

    `metric` is of the same statistics as the task's own, over the rows of the group.
    """

    kind: str
    name: str
    metric: Metric
