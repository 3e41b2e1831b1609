"""Label shift: do two samples have the same mix of classes? Plain numpy on what each row adds to each class."""

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class LabelShift:
    """Whether and by how much the mix of classes moved.

    Attributes:
        statistic: χ² of the 2 × K table.
        p_value: of its permutation test.
        distance: total variation without what chance alone adds, 0 to 1.
        observed_distance: total variation of the two samples as they are.
        chance_distance: its mean over the permutations: what two samples of one mix come to.
        cramers_v: 0 to 1.
    """

    statistic: float
    p_value: float
    distance: float
    observed_distance: float
    chance_distance: float
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
    """Permutation test of whether two samples of rows have the same mix of classes.

    Under the null hypothesis every way to deal the rows of both samples out to samples of these sizes is equally
    likely. Rows are dealt and not what they count: the pixels of one image are no independent observations.

    The effect size is the total variation distance without its bias: `√max(0, d² − m²)`, d observed and m its mean over
    the permutations. Samples of one mix differ by m, which is 0.47 with 100 classes and 75 rows, and that noise adds to
    a true shift about as independent lengths do; to subtract m itself would halve true shifts.

    The statistic is χ² of the 2 × K table of counts, with what rows count scaled so that all of them together count as
    many as there are rows; for one label per row it is Pearson's. With one label per row, tables are drawn from the
    multivariate hypergeometric distribution, which is the same and faster.

    Args:
        reference: what each row adds to each class, `(n, K)`: one label, or its pixels.
        new: the same for the new sample, `(m, K)`.
        permutations: tables drawn; the smallest p-value is 1 / (permutations + 1).
        seed: of the draws.

    Raises:
        ValueError: different numbers of classes, or a sample in which nothing is counted.
    """
    if reference.ndim != 2 or reference.shape[1:] != new.shape[1:]:
        raise ValueError(f"need rows of the same classes, got shapes {reference.shape} and {new.shape}")
    if not reference.sum() or not new.sum():
        raise ValueError(f"need counts in both samples, got {reference.sum()} and {new.sum()}")
    rows = np.concatenate([reference, new])
    scale = len(rows) / rows.sum()
    before, after = reference.sum(axis=0) * scale, new.sum(axis=0) * scale
    observed = chi_square(before, after)
    rng = np.random.default_rng(seed)
    both = before + after
    if (rows.sum(axis=1) == 1).all():
        drawn = iter(rng.multivariate_hypergeometric(rows.sum(axis=0), len(new), size=permutations))
    else:
        drawn = (rows[rng.permutation(len(rows))[: len(new)]].sum(axis=0) * scale for _ in range(permutations))
    larger, chance = 0, 0.0
    for one in drawn:
        # A relative slack: equal tables must count as equal, whatever the order of their sums.
        larger += chi_square(both - one, one) >= observed * (1 - 1e-9)
        chance += total_variation(both - one, one) / permutations
    distance = total_variation(before, after)
    return LabelShift(
        statistic=observed,
        p_value=(1 + larger) / (1 + permutations),
        distance=math.sqrt(max(0.0, distance**2 - chance**2)),
        observed_distance=distance,
        chance_distance=chance,
        cramers_v=float(np.sqrt(observed / both.sum())),
    )
