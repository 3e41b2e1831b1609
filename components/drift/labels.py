"""Label shift: do two samples have the same mix of classes? Plain numpy on counts."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class LabelShift:
    """`statistic` χ² of the 2 × K table, its permutation `p_value`, `distance` in [0, 1], `cramers_v` in [0, 1]."""

    statistic: float
    p_value: float
    distance: float
    cramers_v: float


def chi_square(reference: np.ndarray, new: np.ndarray) -> float:
    """Σ (observed − expected)² / expected over the 2 × K table of counts; classes that neither sample has count 0.

    Pearson 1900. `expected` is row sum · column sum / total.
    """
    table = np.stack([reference, new]).astype(np.float64)
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0, keepdims=True) / table.sum()
    return float((np.divide((table - expected) ** 2, expected, out=np.zeros_like(table), where=expected > 0)).sum())


def total_variation(reference: np.ndarray, new: np.ndarray) -> float:
    """½ Σ |q_k − p_k| of the two samples' shares: the fraction of images that would have to change their class.

    0 is the same mix, 1 no class in common. Unlike Cramér's V it does not shrink when one sample is much larger.
    """
    return float(0.5 * np.abs(new / new.sum() - reference / reference.sum()).sum())


def label_shift(reference: np.ndarray, new: np.ndarray, *, permutations: int = 2000, seed: int = 0) -> LabelShift:
    """Permutation test of the χ² statistic.

    Under the null hypothesis every way to deal the labels of both samples together out to samples of these sizes is
    equally likely, so tables are drawn from the multivariate hypergeometric distribution. That is exact for any
    counts, where the χ² distribution needs five expected in every cell.

    Args:
        reference: counts of each class, `(K,)`.
        new: the same for the new sample.
        permutations: tables drawn; the smallest p-value is 1 / (permutations + 1).
        seed: of the draws.

    Raises:
        ValueError: different numbers of classes, or a sample without images.
    """
    if reference.shape != new.shape or reference.ndim != 1:
        raise ValueError(f"need counts of the same classes, got shapes {reference.shape} and {new.shape}")
    if not reference.sum() or not new.sum():
        raise ValueError(f"need images in both samples, got {reference.sum()} and {new.sum()}")
    observed = chi_square(reference, new)
    both = reference + new
    drawn = np.random.default_rng(seed).multivariate_hypergeometric(both, int(new.sum()), size=permutations)
    # A relative slack: equal tables must count as equal, whatever the order of their sums.
    larger = sum(chi_square(both - one, one) >= observed * (1 - 1e-9) for one in drawn)
    return LabelShift(
        statistic=observed,
        p_value=(1 + larger) / (1 + permutations),
        distance=total_variation(reference, new),
        cramers_v=float(np.sqrt(observed / both.sum())),
    )
