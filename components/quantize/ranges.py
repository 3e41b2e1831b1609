"""From what an activation's values look like to the range that eight bits shall cover.

A range (low, high) of a uint8 tensor costs rounding error everywhere in proportion to its width, and clipping error
outside of it; the methods differ in how they weigh the two. All work on a histogram, so that no activation has to stay
in memory.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from components.core.errors import UserError

Method = Literal["minmax", "percentile", "entropy"]
METHODS: tuple[str, ...] = get_args(Method)
BINS = 2048
LEVELS = 256
PERCENTILE = 99.99


@dataclass(frozen=True)
class Histogram:
    """Counts of values in `BINS` equal bins between `low` and `high`, the smallest and largest value seen."""

    low: float
    high: float
    counts: np.ndarray

    @property
    def edges(self) -> np.ndarray:
        """The `len(counts) + 1` borders of the bins."""
        return np.linspace(self.low, self.high, len(self.counts) + 1)


def count_values(values: np.ndarray, low: float, high: float, bins: int = BINS) -> np.ndarray:
    """Counts int64 `(bins,)` of `values`, all of which lie in [low, high].

    Three times as fast as `np.histogram`, which matters for the hundred million values of a calibration.
    """
    if high <= low:
        return np.array([values.size] + [0] * (bins - 1), dtype=np.int64)
    places = ((values.ravel() - np.float32(low)) * np.float32(bins / (high - low))).astype(np.int32)
    return np.bincount(np.clip(places, 0, bins - 1), minlength=bins).astype(np.int64)


def choose_range(histogram: Histogram, method: str, *, percentile: float = PERCENTILE) -> tuple[float, float]:
    """The range (low, high) to represent; it always contains 0, which padding needs to be exact.

    - "minmax": everything that was seen; one outlier widens the steps of all.
    - "percentile": cuts off (100 − percentile) / 2 percent of the values at each end.
    - "entropy": the range whose 256 levels lose least information, see `entropy_range`.
    """
    if method == "minmax":
        low, high = histogram.low, histogram.high
    elif method == "percentile":
        low, high = percentile_range(histogram, percentile)
    elif method == "entropy":
        low, high = entropy_range(histogram)
    else:
        raise UserError(f"unknown calibration_method {method!r}; available: {', '.join(METHODS)}")
    return min(low, 0.0), max(high, 0.0)


def percentile_range(histogram: Histogram, percentile: float = PERCENTILE) -> tuple[float, float]:
    """Smallest range of whole bins that leaves at most (100 − percentile) / 2 percent of the values on either side."""
    if not 50 < percentile <= 100:
        raise ValueError(f"percentile must be in (50, 100], got {percentile}")
    below = np.concatenate([[0], np.cumsum(histogram.counts)])
    tail = below[-1] * (1 - percentile / 100) / 2
    edges = histogram.edges
    first = int(np.searchsorted(below, tail, side="right")) - 1
    last = int(np.searchsorted(below, below[-1] - tail, side="left"))
    return float(edges[first]), float(edges[max(last, first + 1)])


def entropy_range(histogram: Histogram, levels: int = LEVELS, candidates: int = 96) -> tuple[float, float]:
    """The range [low·r, high·r] with the smallest KL(P ‖ Q), r in (0, 1].

    P is the distribution with everything outside of the range moved to its outermost bins; Q is P's inside spread
    evenly over `levels` steps, as a uint8 tensor would hold it (Migacz 2017, "8-bit inference with TensorRT"; there for
    symmetric ranges).

    Args:
        histogram: of the tensor.
        levels: steps of the quantized type.
        candidates: values of r that are tried, evenly spread.
    """
    counts, bins = histogram.counts.astype(np.float64), len(histogram.counts)
    if histogram.high <= histogram.low:
        return histogram.low, histogram.high
    zero = int(np.clip(round(-histogram.low / (histogram.high - histogram.low) * bins), 0, bins))
    # Half of what a ReLU lets out is exactly 0, which every range represents; counted, it would outweigh all else.
    spike = min(zero, bins - 1)
    counts[spike] = counts[min(spike + 1, bins - 1)]
    best, divergence = (0, bins), np.inf
    for share in np.linspace(1, candidates, candidates) / candidates:
        first, last = round(zero * (1 - share)), zero + round((bins - zero) * share)
        if last - first < levels:
            continue
        loss = _divergence(counts, first, last, levels)
        # On a tie the wider range: it clips less.
        if loss <= divergence:
            best, divergence = (first, last), loss
    edges = histogram.edges
    return float(edges[best[0]]), float(edges[best[1]])


def _divergence(counts: np.ndarray, first: int, last: int, levels: int) -> float:
    inside = counts[first:last]
    reference = inside.copy()
    reference[0] += counts[:first].sum()
    reference[-1] += counts[last:].sum()
    level = np.arange(last - first) * levels // (last - first)
    occupied = inside > 0
    mass = np.bincount(level, weights=inside, minlength=levels)
    members = np.bincount(level, weights=occupied, minlength=levels)
    spread = np.where(occupied, (mass / np.maximum(members, 1))[level], 0.0)
    # The outermost bins may be empty inside and hold the clipped values only: Q gives them next to nothing.
    smallest = 1e-4 * spread[occupied].min() if occupied.any() else 1.0
    p, q = reference / reference.sum(), np.maximum(spread, smallest) / np.maximum(spread, smallest).sum()
    seen = p > 0
    return float(np.sum(p[seen] * np.log(p[seen] / q[seen])))
