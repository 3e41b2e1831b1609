"""Feature drift: can a classifier tell two samples of embeddings apart? Plain numpy."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class FeatureDrift:
    """`auc` of the classifier on the held-out halves (0.5: cannot tell, 1: always right), its permutation `p_value`.

    `reference` and `new` are the images of each sample that the test looked at.
    """

    auc: float
    p_value: float
    reference: int
    new: int


def auc(new: np.ndarray, reference: np.ndarray) -> float:
    """P(a new score > a reference score) + ½ P(equal): the area under the ROC curve, from ranks (Mann, Whitney)."""
    ranks = _ranks(np.concatenate([new, reference]))
    return _auc(ranks[: len(new)].sum(), len(new), len(reference))


def _ranks(scores: np.ndarray) -> np.ndarray:
    """1 for the smallest; equal scores share the mean of their ranks."""
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place]


def _auc(rank_sum: float, num_new: int, num_reference: int) -> float:
    return float((rank_sum - num_new * (num_new + 1) / 2) / (num_new * num_reference))


def discriminant(new: np.ndarray, reference: np.ndarray, *, shrinkage: float = 0.1) -> np.ndarray:
    """Fisher's direction w = ((1−λ)·S + λ·(tr S / D)·I)⁻¹ (mean(new) − mean(reference)), `(D,)`.

    S is the covariance within the samples; λ = `shrinkage` keeps it invertible with fewer rows than features
    (Friedman 1989).

    Args:
        new: `(n, D)`.
        reference: `(m, D)`.
        shrinkage: λ in (0, 1].
    """
    centred = np.concatenate([new - new.mean(axis=0), reference - reference.mean(axis=0)])
    width = centred.shape[1]
    covariance = centred.T @ centred / len(centred)
    scale = np.trace(covariance) / width or 1.0
    regular = (1 - shrinkage) * covariance + shrinkage * scale * np.eye(width)
    return np.linalg.solve(regular, new.mean(axis=0) - reference.mean(axis=0))


def feature_drift(
    new: np.ndarray,
    reference: np.ndarray,
    *,
    new_strata: np.ndarray | None = None,
    reference_strata: np.ndarray | None = None,
    permutations: int = 2000,
    seed: int = 0,
) -> FeatureDrift:
    """Classifier two-sample test (Lopez-Paz and Oquab 2017, arXiv:1610.06545).

    Fisher's discriminant is fitted on one random half of each sample and scores the other half. Whatever it has
    learnt, under the null hypothesis those scores are exchangeable, so dealing them out again gives the p-value; it is
    one-sided, for a direction that was learnt separates in its own sense.

    Where the samples were matched by class, so are the halves, and scores are dealt out within each class alone: the
    design that was drawn. Dealt out among all classes, p-values would be too large.

    Args:
        new: embeddings `(n, D)`, n ≥ 4.
        reference: embeddings `(m, D)`, m ≥ 4.
        new_strata: class of each new row, ints `(n,)`; None: all are one.
        reference_strata: the same of the reference, `(m,)`.
        permutations: the smallest p-value is 1 / (permutations + 1).
        seed: of the halves and the permutations.

    Raises:
        ValueError: too few rows, another width, or values that are not finite.
    """
    if new.ndim != 2 or reference.ndim != 2 or new.shape[1] != reference.shape[1]:
        raise ValueError(f"need embeddings of one width, got shapes {new.shape} and {reference.shape}")
    if min(len(new), len(reference)) < 4:
        raise ValueError(f"need at least 4 rows of each sample, got {len(new)} and {len(reference)}")
    both = np.concatenate([new, reference]).astype(np.float64)
    if not np.isfinite(both).all():
        raise ValueError("the embeddings are not finite")
    rng = np.random.default_rng(seed)
    # Features of one scale: a few channels with large values would else be all that the shrunk covariance sees.
    both = (both - both.mean(axis=0)) / np.maximum(both.std(axis=0), 1e-9)
    strata = np.concatenate(
        [
            np.zeros(len(rows), dtype=np.int64) if classes is None else classes
            for rows, classes in ((new, new_strata), (reference, reference_strata))
        ]
    )
    train_new, test_new = _halves(strata[: len(new)], rng)
    train_reference, test_reference = (half + len(new) for half in _halves(strata[len(new) :], rng))
    direction = discriminant(both[train_new], both[train_reference])
    tested = np.concatenate([test_new, test_reference])
    ranks = _ranks(both[tested] @ direction)
    is_new = np.arange(len(tested)) < len(test_new)
    observed = ranks[is_new].sum()
    larger = sum(one >= observed - 1e-6 for one in _dealt(ranks, is_new, strata[tested], permutations, rng))
    return FeatureDrift(
        auc=_auc(observed, len(test_new), len(test_reference)),
        p_value=float((1 + larger) / (1 + permutations)),
        reference=len(reference),
        new=len(new),
    )


def _halves(strata: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the rows of each random half; of each stratum both have as many rows, or one has one more."""
    order = rng.permutation(len(strata))
    order = order[np.argsort(strata[order], kind="stable")]
    first = int(rng.integers(2))
    return order[first::2], order[1 - first :: 2]


def _dealt(
    ranks: np.ndarray, is_new: np.ndarray, strata: np.ndarray, permutations: int, rng: np.random.Generator
) -> Iterator[float]:
    """Rank sums of the new rows, with the ranks permuted within each stratum."""
    by_stratum = np.argsort(strata, kind="stable")
    ranks, is_new, strata = ranks[by_stratum], is_new[by_stratum], strata[by_stratum]
    for _ in range(permutations):
        yield ranks[np.lexsort((rng.random(len(ranks)), strata))][is_new].sum()
