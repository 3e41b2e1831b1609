"""How far stated probabilities are from the observed accuracy, with an interval."""

from dataclasses import dataclass

import numpy as np

BINS = 15
FEWEST_PER_BIN = 10
"""With fewer than 150 rows there are fewer bins."""

DRAWS, CONFIDENCE = 400, 0.95
_SEED = 0
_CELLS = 4_000_000


@dataclass(frozen=True, kw_only=True)
class CalibrationError:
    """Expected calibration error with its interval, in 0..1; of `rows` rows in `bins` bins. None without a row."""

    value: float | None
    low: float | None
    high: float | None
    rows: int
    bins: int


def calibration_error(confidence: np.ndarray, right: np.ndarray) -> CalibrationError:
    """Expected calibration error over bins of equal mass: Σ_b (n_b / N)·|accuracy_b − mean confidence_b|.

    The rows are cut by confidence into 15 bins of equally many. (Guo et al. 2017, arXiv:1706.04599, has bins of equal
    width; most of these are empty where a network is sure of itself.) Rows of equal confidence count with their common
    accuracy, so that their order does not matter.

    The interval is the basic bootstrap's: rows are drawn again within each bin, 400 times, and 2·value − quantile
    corrects for what drawing adds to the error, as sampling does. Its lower end is 0 where perfectly calibrated rows of
    these confidences would show as much in more than 2.5 % of the draws.

    Args:
        confidence: `(N,)`, the probability of what was answered.
        right: bool `(N,)`, whether that was right.
    """
    rows = len(confidence)
    if not rows:
        return CalibrationError(value=None, low=None, high=None, rows=0, bins=0)
    stated, place, counts = np.unique(confidence.astype(np.float64), return_inverse=True, return_counts=True)
    observed = (np.bincount(place, weights=right) / counts)[place]
    bins = np.array_split(np.argsort(confidence, kind="stable"), max(1, min(BINS, rows // FEWEST_PER_BIN)))
    value = sum(abs(float((observed[part] - confidence[part]).sum())) for part in bins) / rows
    rng, drawn, chance = np.random.default_rng(_SEED), np.zeros(DRAWS), np.zeros(DRAWS)
    for part in bins:
        sure, gaps = stated[place[part]], (right - confidence)[part]
        for start in range(0, DRAWS, step := max(1, _CELLS // len(part))):
            size = (min(step, DRAWS - start), len(part))
            taken = slice(start, start + size[0])
            drawn[taken] += np.abs(gaps[rng.integers(len(part), size=size)].sum(axis=1)) / rows
            chance[taken] += np.abs(((rng.random(size) < sure) - sure).sum(axis=1)) / rows
    tail = (1 - CONFIDENCE) / 2
    small, large = np.quantile(drawn, (tail, 1 - tail))
    calibrated = value <= np.quantile(chance, 1 - tail)
    return CalibrationError(
        value=value,
        low=0.0 if calibrated else float(max(0.0, 2 * value - large)),
        high=float(max(value, 2 * value - small)),
        rows=rows,
        bins=len(bins),
    )
