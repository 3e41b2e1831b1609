"""A task that labels pixels of which not all count, small enough for the arithmetic of a step to be written out.

Used by tests/core/training: what it is for is that rows, parts and processes count unequal numbers of elements.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from components.core.data.batch import WHOLE, Batch, Share
from components.core.tasks.metric import Metric
from components.core.training.config import TrainingConfig
from components.core.training.data import TrainingData

CLASSES, SIDE, ROWS = 3, 4, 6
COUNTED = (16, 1, 9, 0, 5, 2)
"""How many of its 16 pixels count in each row of a batch."""

LAST = 5
"""Rows of the last validation batch: an odd number, so that processes have unequal shares."""


def _accuracy(sums: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return np.asarray(sums[..., 0] / sums[..., 1])


class PixelTask:
    """Cross-entropy and accuracy over the pixels that count."""

    row_noun = "images"
    training_metric = Metric(name="accuracy", label="accuracy", reduce=_accuracy)

    def loss(self, outputs: Tensor, batch: Batch, *, settings: Any = None) -> Tensor:
        return (F.cross_entropy(outputs, batch.targets, reduction="none") * batch.weight).sum()

    def guess(self, outputs: Tensor, batch: Batch) -> np.ndarray:
        return outputs.argmax(dim=1).cpu().numpy()

    def training_statistics(self, predictions: np.ndarray, batch: Batch, num_classes: int) -> np.ndarray:
        weight = np.asarray(batch.weight)
        right = (predictions == np.asarray(batch.targets)) & weight
        return np.stack([right.sum(axis=(1, 2)), weight.sum(axis=(1, 2))], axis=1).astype(np.float64)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, CLASSES, 1))


def step_loss(model: nn.Module, batch: Batch) -> Tensor:
    return PixelTask().loss(model(*batch.inputs.values()), batch)


def batch_of(counted: Sequence[int], *, seed: int) -> Batch:
    """Random images and labels; the first `counted[row]` pixels of each row count."""
    generator = torch.Generator().manual_seed(seed)
    rows = len(counted)
    order = torch.arange(SIDE * SIDE).view(SIDE, SIDE)
    return Batch(
        inputs={"images": torch.randn(rows, 3, SIDE, SIDE, generator=generator)},
        targets=torch.randint(0, CLASSES, (rows, SIDE, SIDE), generator=generator),
        weight=torch.stack([order < count for count in counted]),
        digests=[""] * rows,
    )


def data(share: Share = WHOLE, *, counted: Sequence[int] = COUNTED) -> TrainingData:
    """Three steps an epoch; the second batch counts in other places than the first."""

    def of_share(batch: Batch) -> Batch:
        return batch.part(slice(*share.bounds(len(batch))))

    def training(epoch: int, skip: int) -> Iterator[Batch]:
        for number in range(skip, 3):
            turned = [*counted[number:], *counted[:number]]
            yield of_share(batch_of(turned, seed=10 * epoch + number))

    def validation() -> Iterator[Batch]:
        yield of_share(batch_of(counted, seed=100))
        yield of_share(batch_of(counted[:LAST], seed=101))
        yield of_share(batch_of([7], seed=102))  # one of two processes has no row of it

    return TrainingData(training=training, steps_per_epoch=3, validation=validation)


def config(**changes: Any) -> TrainingConfig:
    """Plain gradient descent: a step is `weight − 0.5 · gradient`."""
    values: dict[str, Any] = {
        "epochs": 2, "batch_size": ROWS, "optimizer": "sgd", "learning_rate": 0.5, "schedule": "constant", "power": 1.0,
        "step_epochs": 1, "step_gamma": 0.1, "warmup_fraction": 0.0, "momentum": 0.0, "weight_decay": 0.0,
        "layer_decay": 1.0, "ema_decay": 0.0, "precision": "float32", "batch_norm": "frozen", "patience": 0,
        "checkpoint_seconds": 3600, "seed": 0,
    }  # fmt: skip
    return TrainingConfig(**(values | changes))
