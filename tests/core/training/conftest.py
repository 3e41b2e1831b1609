"""A network and data small enough to train in a blink, with everything that makes resuming hard."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from components.core.data.batch import Batch
from components.core.training.config import TrainingConfig
from components.core.training.data import TrainingData

CLASSES = 3


class TinyNet(nn.Module):
    """Convolution, batch norm, dropout (so the generator's state matters) and a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.dropout(self.stem(images).mean(dim=(2, 3))))


def tiny_batches(rows: int, batch_size: int, *, seed: int) -> list[Batch]:
    """Noise whose mean in one colour channel names the class."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(0, CLASSES, (rows,), generator=generator)
    images = torch.randn(rows, 3, 8, 8, generator=generator)
    images[torch.arange(rows), targets] += 1.0
    return [
        Batch(inputs={"images": one}, targets=labels, digests=[""] * len(labels))
        for one, labels in zip(images.split(batch_size), targets.split(batch_size), strict=True)
    ]


def tiny_data(*, validation: bool = True) -> TrainingData:
    """Four steps an epoch; every epoch has an order of its own."""

    def training(epoch: int, skip: int) -> Iterator[Any]:
        yield from tiny_batches(64, 16, seed=epoch)[skip:]

    return TrainingData(
        training=training,
        steps_per_epoch=4,
        validation=(lambda: tiny_batches(48, 16, seed=1000)) if validation else None,
    )


def tiny_config(**changes: Any) -> TrainingConfig:
    values: dict[str, Any] = {
        "epochs": 3,
        "batch_size": 16,
        "optimizer": "adamw",
        "learning_rate": 0.01,
        "schedule": "polynomial",
        "power": 1.0,
        "step_epochs": 1,
        "step_gamma": 0.1,
        "warmup_fraction": 0.1,
        "momentum": 0.9,
        "weight_decay": 0.01,
        "layer_decay": 0.8,
        "ema_decay": 0.9,
        "precision": "float32",
        "batch_norm": "train",
        "patience": 0,
        "checkpoint_seconds": 3600,
        "seed": 0,
    }
    return TrainingConfig(**(values | changes))


def tiny_net(seed: int = 0) -> TinyNet:
    torch.manual_seed(seed)
    return TinyNet()


def cross_entropy_step(model: nn.Module, batch: Batch) -> Tensor:
    return nn.functional.cross_entropy(model(*batch.inputs.values()), batch.targets, reduction="sum")


@pytest.fixture
def tiny() -> SimpleNamespace:
    """The functions of this file; test modules cannot import a conftest."""
    return SimpleNamespace(
        net=tiny_net, data=tiny_data, config=tiny_config, batches=tiny_batches, step_loss=cross_entropy_step
    )
