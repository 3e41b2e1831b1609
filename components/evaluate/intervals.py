"""Uncertainty of a metric and of a difference between two models; plain numpy on rows of statistics.

Two kinds of metric have intervals of their own: a proportion (rows that are each right or wrong), and all others, for
which rows are left out one by one. `PairedRows` is the place that chooses between them. Where the rows are too few for
an interval, there is none, and nothing is decided by it.
"""

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np

from components.core.evaluation.document import Difference, Estimate
from components.core.evaluation.paired_proportions import FEWEST_ROWS, score_interval
from components.core.tasks.metric import Metric

CONFIDENCE = 0.95

FEWEST_DIFFERING = 20
"""Rows on which two models must differ for a jackknife interval of their difference; below it nothing is decided."""

_FEWEST_DEGREES = 3.0

# Sums without one row that are held at once: 8 bytes each.
_CHUNK_VALUES = 4_000_000


def interval_name(metric: Metric) -> str:
    """How `PairedRows.estimates` makes its intervals, in words."""
    return "Wilson" if metric.proportion else "jackknife over rows"


def difference_name(metric: Metric) -> str:
    """How `PairedRows.difference` makes its intervals, in words."""
    return "paired score interval (Tango 1998)" if metric.proportion else "paired jackknife over rows"


class PairedRows:
    """Rows of statistics `(N, K)` of both models, in the same order, and what they say of any metric."""

    def __init__(self, candidate: np.ndarray, baseline: np.ndarray) -> None:
        if candidate.shape != baseline.shape or candidate.ndim != 2:
            raise ValueError(f"need the same rows twice, got shapes {candidate.shape} and {baseline.shape}")
        self.candidate, self.baseline = candidate, baseline

    def part(self, rows: np.ndarray) -> "PairedRows":
        """Some of the rows, bool `(N,)`."""
        return PairedRows(self.candidate[rows], self.baseline[rows])

    def estimates(self, metric: Metric) -> tuple[Estimate, Estimate]:
        """The metric of candidate and baseline, each with its interval: Wilson's for a proportion, else a jackknife."""
        return estimate(metric, self.candidate), estimate(metric, self.baseline)

    def difference(self, metric: Metric) -> Difference:
        """Candidate minus baseline in points, positive = better.

        The interval is Tango's score interval for a proportion, else that of a paired jackknife; both ends are None
        where the rows are too few for one.
        """
        difference = metric.value(self.candidate) - metric.value(self.baseline) if len(self.candidate) else math.nan
        if not math.isfinite(difference):
            return Difference(points=None, low=None, high=None)
        ends = self._proportion_ends(metric) if metric.proportion else self._jackknife_ends(metric)
        if ends is None:
            return Difference(points=metric.points(difference), low=None, high=None)
        low, high = sorted(metric.points(end) for end in ends)
        return Difference(points=metric.points(difference), low=low, high=high)

    def changed(self, metric: Metric) -> tuple[int, int]:
        """On how many rows the candidate did better, and on how many worse; rows that say nothing are neither."""
        change = metric.reduce(self.candidate) - metric.reduce(self.baseline)
        better, worse = int((change > 0).sum()), int((change < 0).sum())
        return (better, worse) if metric.higher_is_better else (worse, better)

    def _proportion_ends(self, metric: Metric) -> tuple[float, float] | None:
        change = self.candidate[:, 0] - self.baseline[:, 0]
        rows = int(self.candidate[:, 1].sum())
        if rows < FEWEST_ROWS:
            return None
        return score_interval(int((change > 0).sum()), int((change < 0).sum()), rows, CONFIDENCE)

    def _jackknife_ends(self, metric: Metric) -> tuple[float, float] | None:
        if (self.candidate != self.baseline).any(axis=1).sum() < FEWEST_DIFFERING:
            return None
        both = np.concatenate([self.candidate, self.baseline], axis=1)
        width = self.candidate.shape[1]
        return jackknife_interval(
            lambda sums: metric.reduce(sums[..., :width]) - metric.reduce(sums[..., width:]), both
        )


def estimate(metric: Metric, statistics: np.ndarray) -> Estimate:
    """The metric over rows of statistics `(N, K)` with its interval (`interval_name`)."""
    value = metric.value(statistics) if len(statistics) else math.nan
    if not math.isfinite(value):
        return Estimate(value=None, low=None, high=None)
    if metric.proportion:
        ends = wilson_interval(value, int(statistics[:, 1].sum()), CONFIDENCE)
        return Estimate(value=value, low=ends[0], high=ends[1])
    found = jackknife_interval(metric.reduce, statistics)
    if found is None:
        return Estimate(value=value, low=None, high=None)
    low, high = (max(0.0, found[0]), min(1.0, found[1])) if metric.percent else found
    return Estimate(value=value, low=low, high=high)


def wilson_interval(mean: float, samples: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Wilson's score interval of a proportion; (low, high) inside 0..1.

    `(p + z²/2n ± z·√(p(1−p)/n + z²/4n²)) / (1 + z²/n)`, z the two-sided normal quantile. Unlike `p ± z·√(p(1−p)/n)`
    it stays inside 0..1 and keeps its coverage near 0 and 1 (Wilson 1927; Brown, Cai, DasGupta 2001).

    Raises:
        ValueError: no samples, or a mean outside 0..1.
    """
    if samples < 1 or not 0 <= mean <= 1:
        raise ValueError(f"need a mean in [0, 1] of at least one sample, got {mean} of {samples}")
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    centre = mean + z * z / (2 * samples)
    spread = z * math.sqrt(mean * (1 - mean) / samples + z * z / (4 * samples * samples))
    scale = 1 + z * z / samples
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def jackknife_interval(
    reduce: Callable[[np.ndarray], np.ndarray], statistics: np.ndarray, confidence: float = CONFIDENCE
) -> tuple[float, float] | None:
    """`θ ± t(ν)·s/√n` of any reduction of additive statistics; None where the rows are too few for it.

    With θᵢ the figure without row i and uᵢ = (n − 1)(mean θ − θᵢ), s² is the variance of the uᵢ (Tukey 1958; Efron and
    Tibshirani 1993, chapter 11). Their tails say how well s² is known: ν = 2n·m₂² / (m₄ − m₂²), at most n − 1, from
    the second and fourth moment of the uᵢ (Satterthwaite's approximation), and at least 3. Where a few rows make the
    whole figure, ν is small and the interval wide; where no row changes it, there is none.

    Args:
        reduce: sums `(…, K)` → values `(…)`.
        statistics: `(N, K)`.
        confidence: between 0 and 1.
    """
    rows, total = len(statistics), statistics.sum(axis=0)
    step = max(1, _CHUNK_VALUES // max(1, statistics.shape[1]))
    parts = [reduce(total - statistics[start : start + step]) for start in range(0, rows, step)]
    without = np.concatenate(parts) if parts else np.zeros(0)
    # Without the only row that says something of a class, its figure does not exist: nothing can be told from it.
    if rows < 2 or not np.isfinite(without).all():
        return None
    influence = (rows - 1) * (without.mean() - without)
    second, fourth = float((influence**2).mean()), float((influence**4).mean())
    if second <= (1e-12 * max(1.0, float(np.abs(without).max()))) ** 2:
        return None
    known = 2 * rows * second**2 / max(fourth - second**2, 1e-12 * second**2)
    degrees = max(_FEWEST_DEGREES, min(rows - 1.0, known))
    value = float(reduce(total))
    half = t_quantile(0.5 + confidence / 2, degrees) * math.sqrt(second / (rows - 1))
    return value - half, value + half


def t_quantile(probability: float, degrees: float) -> float:
    """Student's t by the Cornish-Fisher expansion (Abramowitz and Stegun 1964, 26.7.5).

    Within 0.5 % of the true quantile for 3 degrees of freedom and more, at probabilities up to 0.975.
    """
    z = NormalDist().inv_cdf(probability)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / degrees**power for power, term in enumerate(terms, start=1))
