"""Uncertainty of a metric and of a difference between two models; plain numpy on rows of statistics.

Two kinds of metric have intervals of their own: a proportion (rows that are each right or wrong), and all others, for
which rows are resampled. `PairedRows` is the place that chooses between them.
"""

import math
from collections.abc import Callable
from functools import cached_property
from statistics import NormalDist

import numpy as np

from components.core.evaluation.document import Difference, Estimate
from components.core.tasks.metric import Metric

CONFIDENCE = 0.95
SEED = 0

RESAMPLES = 10_000
DENSE_RESAMPLES = 2_000
"""Resamples when more than `_FEW_ROWS` rows differ: drawing counts costs resamples × distinct rows. The standard error
of an end of the interval, from the number of resamples alone, is then about 0.06 standard errors of the difference."""

_FEW_ROWS = 1_000
# Resampled counts held at once: 8 bytes each.
_CHUNK_VALUES = 4_000_000


def interval_name(metric: Metric) -> str:
    """How `PairedRows.estimates` makes its intervals, in words."""
    return "Wilson" if metric.proportion else "percentile bootstrap over rows"


class PairedRows:
    """Rows of statistics `(N, K)` of both models, in the same order, and what they say of any metric.

    The rows are resampled once, for all metrics that need it.
    """

    def __init__(self, candidate: np.ndarray, baseline: np.ndarray) -> None:
        if candidate.shape != baseline.shape or candidate.ndim != 2:
            raise ValueError(f"need the same rows twice, got shapes {candidate.shape} and {baseline.shape}")
        self.candidate, self.baseline = candidate, baseline

    def part(self, rows: np.ndarray) -> "PairedRows":
        """Some of the rows, bool `(N,)`."""
        return PairedRows(self.candidate[rows], self.baseline[rows])

    def estimates(self, metric: Metric) -> tuple[Estimate, Estimate]:
        """The metric of candidate and baseline, each with its interval: Wilson's for a proportion, else a bootstrap."""
        sides = (self.candidate, self.baseline)
        return (
            _estimate(metric, sides[0], lambda: self._sums[0]),
            _estimate(metric, sides[1], lambda: self._sums[1]),
        )

    def difference(self, metric: Metric) -> Difference:
        """Candidate minus baseline in points, positive = better, with the interval of a paired bootstrap."""
        difference = metric.value(self.candidate) - metric.value(self.baseline) if len(self.candidate) else math.nan
        if not math.isfinite(difference):
            return Difference(points=None, low=None, high=None)
        if metric.proportion:
            ends = paired_mean_bootstrap(self.candidate[:, 0], self.baseline[:, 0])
        else:
            # Resamples in which the metric is undefined say nothing and are left out.
            ends = percentiles(metric.reduce(self._sums[0]) - metric.reduce(self._sums[1]), CONFIDENCE)
        low, high = sorted(metric.points(end) for end in ends)
        return Difference(points=metric.points(difference), low=low, high=high)

    def changed(self, metric: Metric) -> tuple[int, int]:
        """On how many rows the candidate did better, and on how many worse; rows that say nothing are neither."""
        change = metric.reduce(self.candidate) - metric.reduce(self.baseline)
        better, worse = int((change > 0).sum()), int((change < 0).sum())
        return (better, worse) if metric.higher_is_better else (worse, better)

    @cached_property
    def _sums(self) -> list[np.ndarray]:
        return resampled_sums(self.candidate, self.baseline)


def _estimate(metric: Metric, statistics: np.ndarray, sums: Callable[[], np.ndarray]) -> Estimate:
    value = metric.value(statistics) if len(statistics) else math.nan
    if not math.isfinite(value):
        return Estimate(value=None, low=None, high=None)
    if metric.proportion:
        low, high = wilson_interval(value, int(statistics[:, 1].sum()), CONFIDENCE)
    else:
        low, high = percentiles(metric.reduce(sums()), CONFIDENCE)
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


def paired_mean_bootstrap(
    candidate: np.ndarray, baseline: np.ndarray, *, resamples: int = RESAMPLES, seed: int = SEED,
    confidence: float = CONFIDENCE,
) -> tuple[float, float]:  # fmt: skip
    """Percentile bootstrap interval of `mean(candidate) − mean(baseline)`, scores `(N,)` of the same rows.

    Rows are resampled as pairs, so what both get wrong cancels out; that is why it is narrower than the difference of
    two separate intervals (Efron and Tibshirani 1993, chapter 13). Of a mean, the distinct differences are all that is
    needed: three values for right and wrong, however many rows there are.

    Raises:
        ValueError: no rows, or different numbers of rows.
    """
    if candidate.shape != baseline.shape or candidate.ndim != 1 or not candidate.size:
        raise ValueError(f"need the same rows twice, got shapes {candidate.shape} and {baseline.shape}")
    values = candidate.astype(np.float64) - baseline.astype(np.float64)
    (sums,) = resampled_sums(values[:, None], resamples=resamples, seed=seed)
    return percentiles(sums[:, 0] / len(values), confidence)


def resampled_sums(*statistics: np.ndarray, resamples: int | None = None, seed: int = SEED) -> list[np.ndarray]:
    """Sums over N rows drawn with replacement, the same rows of each of `statistics` `(N, K)`: each `(resamples, K)`.

    Drawing N rows is drawing counts of the distinct rows from a multinomial: the same distribution, at a few values
    instead of N where rows are right or wrong.

    Args:
        statistics: of the same rows in the same order.
        resamples: None: `RESAMPLES`, or `DENSE_RESAMPLES` where almost every row differs from every other.
        seed: of the drawing.
    """
    joined = np.concatenate([values.astype(np.float64) for values in statistics], axis=1)
    distinct, counts = np.unique(joined, axis=0, return_counts=True)
    if resamples is None:
        resamples = RESAMPLES if len(distinct) <= _FEW_ROWS else DENSE_RESAMPLES
    rows = int(counts.sum())
    generator = np.random.default_rng(seed)
    step = max(1, _CHUNK_VALUES // len(distinct))
    sums = np.concatenate(
        [
            # As floats, so that the product is BLAS's.
            generator.multinomial(rows, counts / rows, size=min(step, resamples - start)).astype(np.float64) @ distinct
            for start in range(0, resamples, step)
        ]
    )
    widths = np.cumsum([values.shape[1] for values in statistics])[:-1]
    return np.split(sums, widths, axis=1)


def percentiles(values: np.ndarray, confidence: float) -> tuple[float, float]:
    """The two ends of the central `confidence` of the values that are defined."""
    low, high = np.nanquantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
