"""Top-1: the share of images whose largest logit is the label's."""

import numpy as np

from components.core.tasks.metric import Metric


def _share(sums: np.ndarray) -> np.ndarray:
    right, count = sums[..., 0], sums[..., 1]
    return np.divide(right, count, out=np.full(np.shape(right), np.nan), where=count > 0)


TOP1 = Metric(name="top1", label="top-1", reduce=_share, proportion=True)
METRICS = (TOP1,)


def statistics(predictions: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """`(right, 1)` of each image, float64 `(N, 2)`; predictions and targets are class indices `(N,)`."""
    return np.stack([(predictions == targets).astype(np.float64), np.ones(len(targets))], axis=1)
