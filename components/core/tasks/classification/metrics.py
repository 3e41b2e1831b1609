"""Top-1: the share of images whose largest logit is the label's."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from components.core.tasks.metric import Group, Metric


def _share(sums: np.ndarray) -> np.ndarray:
    right, count = sums[..., 0], sums[..., 1]
    return np.divide(right, count, out=np.full(np.shape(right), np.nan), where=count > 0)


TOP1 = Metric(name="top1", label="top-1", reduce=_share, proportion=True)
METRICS = (TOP1,)

RECALL = replace(TOP1, name="recall", label="recall")
"""Top-1 over the images of one class."""


def statistics(predictions: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """`(right, 1)` of each image, float64 `(N, 2)`; predictions and targets are class indices `(N,)`."""
    return np.stack([(predictions == targets).astype(np.float64), np.ones(len(targets))], axis=1)


def class_groups(classes: Sequence[str]) -> list[Group]:
    """One group per class: its images, by recall."""
    return [Group(kind="class", name=name, metric=RECALL) for name in classes]


def class_rows(targets: np.ndarray, num_classes: int) -> np.ndarray:
    """Bool `(N, classes)`: the images of each class."""
    rows: np.ndarray = targets[:, None] == np.arange(num_classes)
    return rows
