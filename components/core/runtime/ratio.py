"""The ratio of two models' times from pairs of neighbouring blocks, with an interval that outliers do not decide.

Hodges and Lehmann's estimate and the interval of Wilcoxon's signed-rank test (Hollander, Wolfe and Chicken,
*Nonparametric Statistical Methods*, 3rd edition, sections 3.2 and 3.3), on the logarithms of the pairs' ratios.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95
FEWEST_PAIRS = 6
"""With fewer pairs no interval of the signed-rank test reaches 95 %."""


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """How many times as long one takes as the other, with its interval, from this many pairs."""

    value: float
    low: float
    high: float
    pairs: int

    @property
    def precision(self) -> float:
        """How far the interval reaches from the value, relative to it: 0.03 is ±3 %."""
        return max(self.high / self.value, self.value / self.low) - 1


def paired_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Ratio:
    """The ratio of paired positive times.

    `exp` of the median of the Walsh averages `(d_i + d_j) / 2`, `i ≤ j`, of `d = log(numerator / denominator)`. The
    interval covers at least 95 % when the `d` are independent and symmetric about the true one; they need not be normal
    or equally exact.

    Args:
        numerators: one time per pair.
        denominators: the other, in the same order.

    Raises:
        ValueError: another number of each, fewer than `FEWEST_PAIRS`, or a time that is not positive.
    """
    count = len(numerators)
    if count != len(denominators) or count < FEWEST_PAIRS:
        raise ValueError(f"need at least {FEWEST_PAIRS} pairs, got {count} and {len(denominators)} times")
    times = np.array([numerators, denominators], dtype=np.float64)
    if not (np.isfinite(times).all() and (times > 0).all()):
        raise ValueError("times must be positive numbers")
    logs = np.log(times[0] / times[1])
    first, second = np.triu_indices(count)
    walsh = np.sort((logs[first] + logs[second]) / 2)
    outside = _outside(count)
    low, value, high = np.exp([walsh[outside], np.median(walsh), walsh[-1 - outside]])
    return Ratio(value=float(value), low=float(low), high=float(high), pairs=count)


def _outside(count: int) -> int:
    """The largest c with P(T ≤ c) ≤ (1 - CONFIDENCE) / 2, where T is the signed-rank statistic of `count` pairs."""
    ways = np.ones(1)
    for rank in range(1, count + 1):
        shifted = np.concatenate([np.zeros(rank), ways])
        ways = np.concatenate([ways, np.zeros(rank)]) + shifted
    cumulated = np.cumsum(ways) / 2.0**count
    return int(np.searchsorted(cumulated, (1 - CONFIDENCE) / 2, side="right")) - 1
