"""Figures of merit and their uncertainty; plain numpy on labels, predictions and probabilities."""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

# Resampled counts held at once: 8 bytes each.
_CHUNK_VALUES = 4_000_000


@dataclass(frozen=True, kw_only=True)
class ClassScore:
    """One class: `support` rows have it; precision, recall and F1 in 0..1, and 0 where they are 0/0."""

    support: int
    precision: float
    recall: float
    f1: float


def wilson_interval(mean: float, samples: int, confidence: float = 0.95) -> tuple[float, float]:
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


def paired_bootstrap(
    candidate: np.ndarray, baseline: np.ndarray, *, resamples: int = 10_000, seed: int = 0, confidence: float = 0.95
) -> tuple[float, float]:
    """Percentile bootstrap interval of `mean(candidate) − mean(baseline)`, both measured on the same rows.

    Rows are resampled as pairs, so what both get wrong cancels out; that is why it is narrower than the difference of
    two separate intervals (Efron and Tibshirani 1993, chapter 13).

    Args:
        candidate: score of each row, `(N,)`; 0 or 1 for top-1.
        baseline: the same rows in the same order.
        resamples: bootstrap samples.
        seed: of the resampling.
        confidence: coverage of the interval.

    Raises:
        ValueError: no rows, or different numbers of rows.
    """
    if candidate.shape != baseline.shape or candidate.ndim != 1 or not candidate.size:
        raise ValueError(f"need the same rows twice, got shapes {candidate.shape} and {baseline.shape}")
    # Drawing N rows with replacement is drawing counts of the distinct differences from a multinomial: the same
    # distribution, at three values instead of N for top-1.
    values, counts = np.unique(candidate.astype(np.float64) - baseline.astype(np.float64), return_counts=True)
    rows = int(counts.sum())
    generator = np.random.default_rng(seed)
    step = max(1, _CHUNK_VALUES // values.size)
    means = np.concatenate(
        [
            generator.multinomial(rows, counts / rows, size=min(step, resamples - start)) @ values / rows
            for start in range(0, resamples, step)
        ]
    )
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def confusion_matrix(labels: np.ndarray, predictions: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts `[true, predicted]`, int64 `(num_classes, num_classes)`."""
    cells = np.bincount(labels * num_classes + predictions, minlength=num_classes * num_classes)
    return cells.reshape(num_classes, num_classes)


def class_scores(confusion: np.ndarray) -> list[ClassScore]:
    """Precision, recall and F1 of every class, from counts `[true, predicted]`."""
    right = np.diag(confusion).astype(np.float64)
    support, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    precision, recall = _ratio(right, predicted), _ratio(right, support)
    f1 = _ratio(2 * right, support + predicted)
    return [
        ClassScore(support=int(rows), precision=float(p), recall=float(r), f1=float(f))
        for rows, p, r, f in zip(support, precision, recall, f1, strict=True)
    ]


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = 15) -> float:
    """Σ_b (n_b / N)·|accuracy_b − confidence_b| over `bins` equal bins (i/bins, (i+1)/bins] of the largest probability.

    0 is perfect; 0.1 means that the stated confidence is wrong by ten points on average (Guo et al. 2017,
    arXiv:1706.04599).

    Args:
        probabilities: `(N, classes)`, rows summing to 1.
        labels: `(N,)`.
        bins: number of bins.
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    gap = np.bincount(place, weights=right - confidence, minlength=bins)
    return float(np.abs(gap).sum() / len(labels))


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)
