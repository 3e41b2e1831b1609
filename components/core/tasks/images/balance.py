"""Weights of classes in the loss, for data in which some are rare."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from components.core.data.dataset import Dataset


def balanced(settings: Mapping[str, Any], dataset: "Dataset") -> dict[str, Any]:
    """The settings, with `class_weight` from the training split where `class_weights` is "balanced"."""
    found = dict(settings)
    if settings.get("class_weights") == "balanced":
        found["class_weight"] = class_weights(dataset.class_counts["train"]).tolist()
    return found


def class_weights(numbers: Sequence[int] | np.ndarray) -> np.ndarray:
    """`w_c ∝ 1/√n_c`, scaled so that their mean over the training data, `Σ n_c·w_c / Σ n_c`, is 1; float32 `(C,)`.

    `numbers`: training images, or counted pixels, per class, `(C,)`. A class without any gets the largest weight of the
    others: nothing ever uses it. The square root is the milder choice: median-frequency weights (`1/n_c`, Eigen and
    Fergus 2015, arXiv:1411.4734) are 50 times larger for a class 50 times rarer, and rare classes are then predicted
    in place of their neighbours; inverse-root sampling is Mahajan et al. 2018, arXiv:1805.00932.

    Raises:
        ValueError: nothing is counted, or a count is negative.
    """
    counts = np.asarray(numbers, dtype=np.float64)
    if counts.ndim != 1 or counts.min(initial=0) < 0 or counts.sum() <= 0:
        raise ValueError(f"numbers must be counts per class, not all zero, got {counts.tolist()}")
    seen = counts > 0
    weights = np.where(seen, 1 / np.sqrt(np.where(seen, counts, 1)), 0)
    weights[~seen] = weights.max()
    return (weights * counts.sum() / (weights * counts).sum()).astype(np.float32)
