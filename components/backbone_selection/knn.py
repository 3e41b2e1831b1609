"""k-nearest-neighbour accuracy of frozen features: how well classes lie apart before any training."""

from dataclasses import dataclass

import numpy as np
import torch

NEIGHBOURS = 20
TEMPERATURE = 0.07
"""Both as usual for this evaluation: Wu et al. 2018, arXiv:1805.01978; Caron et al. 2021, arXiv:2104.14294."""

_CHUNK_ROWS = 1024


@dataclass(frozen=True, kw_only=True)
class KnnScore:
    """A fraction 0..1 and its standard error, over `samples` images."""

    accuracy: float
    standard_error: float
    samples: int


def knn_score(
    features: np.ndarray, labels: np.ndarray, *, groups: np.ndarray | None = None, neighbours: int = NEIGHBOURS
) -> KnnScore:
    """Leave-one-group-out accuracy of weighted k-NN with cosine similarity; leave-one-out without `groups`.

    Each sample i is classified from those of other groups: with s_ij = f_i·f_j / (|f_i||f_j|) and N(i) the `neighbours`
    of them of largest s_ij (fewer when there are fewer), the prediction is
    argmax_c Σ_{j ∈ N(i), y_j = c} exp(s_ij / 0.07); the lowest class wins a tie. Standard error: sqrt(p̃(1 − p̃)/n)
    with p̃ = (correct + 1)/(n + 2), the binomial one with Laplace's correction, without which an accuracy of 1 would
    claim to be exact.

    Args:
        features: `(n, D)`, n ≥ 2; a row of zeros is similar to nothing.
        labels: `(n,)` class indices from 0.
        groups: `(n,)` what each sample is of. Regions of one image are alike for what surrounds them and never of one
            class: they must not be each other's neighbours. None is every sample by itself.
        neighbours: k ≥ 1.

    Raises:
        ValueError: fewer than two samples or groups, other shapes, or features that are not finite.
    """
    count = len(features)
    if features.ndim != 2 or labels.shape != (count,) or count < 2 or neighbours < 1:
        raise ValueError(f"need (n, D) features, (n,) labels, n ≥ 2, k ≥ 1; got {features.shape}, {labels.shape}")
    if not np.isfinite(features).all():
        raise ValueError("features are not finite")
    of = np.arange(count) if groups is None else np.asarray(groups)
    others = count - int(np.unique(of, return_counts=True)[1].max())
    if of.shape != (count,) or others < 1:
        raise ValueError(f"need (n,) groups, at least two of them, got {of.shape}, {len(np.unique(of))}")
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    # Multiplied in torch: its threads are those that the stage sets, so the rounding is the same in every run.
    unit = torch.from_numpy((features / np.where(norms > 0, norms, 1)).astype(np.float32))
    k = min(neighbours, others)
    classes = int(labels.max()) + 1
    correct = 0
    for start in range(0, count, _CHUNK_ROWS):
        similarity = (unit[start : start + _CHUNK_ROWS] @ unit.T).numpy()
        rows = np.arange(len(similarity))
        similarity[of[start : start + _CHUNK_ROWS, None] == of] = -np.inf
        nearest = np.argpartition(-similarity, k - 1, axis=1)[:, :k]
        # Relative to the nearest one: the same argmax, and no overflow.
        closeness = np.take_along_axis(similarity, nearest, axis=1).astype(np.float64)
        weights = np.exp((closeness - closeness.max(axis=1, keepdims=True)) / TEMPERATURE)
        votes = np.zeros((len(similarity), classes))
        np.add.at(votes, (rows[:, None], labels[nearest]), weights)
        correct += int((votes.argmax(axis=1) == labels[start : start + _CHUNK_ROWS]).sum())
    smoothed = (correct + 1) / (count + 2)
    return KnnScore(
        accuracy=correct / count,
        standard_error=float(np.sqrt(smoothed * (1 - smoothed) / count)),
        samples=count,
    )
