"""Trains a network's head alone, on features that the frozen network computes once."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from components.core.data.batch import Batch
from components.core.errors import UserError
from components.core.models.complexity import example_tensors
from components.core.models.inputs import BATCH, InputSpec
from components.core.training.device import autocast, place_batch
from components.core.training.parameter_groups import parameter_groups, set_learning_rate
from components.core.training.schedules import polynomial

if TYPE_CHECKING:
    from components.core.tasks import Task

MAX_FEATURE_BYTES = 256_000_000
"""Features that are kept in memory: those of 50,000 images at 1280 features; a head gains nothing from more."""

_MAX_BATCH_SIZE = 256
_LEARNING_RATE = 1e-3
_WEIGHT_DECAY = 1e-2


@dataclass(frozen=True, kw_only=True)
class Features:
    """Inputs of a frozen network's head for many rows: tensors `(N, …)`, and the rows' targets and weight."""

    values: tuple[Tensor, ...]
    targets: Tensor
    weight: Tensor | None

    def __len__(self) -> int:
        return len(self.targets)

    def batch(self, rows: Tensor) -> Batch:
        """Targets and weight of some rows."""
        weight = None if self.weight is None else self.weight[rows]
        return Batch(inputs={}, targets=self.targets[rows], weight=weight, digests=[""] * len(rows))


@torch.no_grad()
def max_feature_rows(
    compute: Callable[..., tuple[Tensor, ...]], inputs: Sequence[InputSpec], device: torch.device
) -> int:
    """How many rows' features fit into `MAX_FEATURE_BYTES`, at least one. The network must be in eval mode."""
    values = compute(*example_tensors(inputs, {BATCH: 1}, device))
    return max(1, MAX_FEATURE_BYTES // max(1, sum(4 * value.numel() for value in values)))


@torch.no_grad()
def frozen_features(
    compute: Callable[..., tuple[Tensor, ...]], batches: Iterable[Batch], *, device: torch.device, precision: str
) -> Features:
    """Features float32 and targets of all batches, on the device. The network must be in eval mode."""
    values: list[tuple[Tensor, ...]] = []
    targets: list[Tensor] = []
    weights: list[Tensor] = []
    for batch in batches:
        placed = place_batch(batch, device)
        with autocast(device, precision):
            values.append(tuple(value.float() for value in compute(*placed.inputs.values())))
        targets.append(placed.targets)
        if placed.weight is not None:
            weights.append(placed.weight)
    return Features(
        values=tuple(torch.cat(column) for column in zip(*values, strict=True)),
        targets=torch.cat(targets),
        weight=torch.cat(weights) if weights else None,
    )


def train_head(
    head: nn.Module,
    features: Features,
    *,
    task: "Task",
    epochs: int,
    seed: int,
    settings: Mapping[str, Any],
) -> list[float]:
    """Trains `head` in place on frozen features; returns the mean loss of each epoch.

    AdamW with a linearly falling rate and batches of a twentieth of the rows, at most 256; none of it a parameter,
    since on frozen features the problem is convex. About 14 times cheaper than an epoch through the network, and it
    keeps the first large gradients of a fresh head away from pretrained weights (LP-FT; Kumar et al. 2022,
    arXiv:2202.10054).
    The order of rows is drawn from `seed` alone.

    Raises `UserError` when the features are not finite.
    """
    if not all(bool(torch.isfinite(values).all()) for values in features.values):
        raise UserError("the pretrained network's features are NaN or infinite; its weights do not fit this input")
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(parameter_groups(head, weight_decay=_WEIGHT_DECAY), lr=_LEARNING_RATE)
    batch_size = min(_MAX_BATCH_SIZE, max(len(features) // 20, 8))
    steps_per_epoch = -(-len(features) // batch_size)
    losses: list[float] = []
    for epoch in range(epochs):
        order = torch.randperm(len(features), generator=generator).to(features.targets.device)
        total = torch.zeros((), device=features.targets.device)
        counted = 0
        for number, rows in enumerate(order.split(batch_size)):
            step = epoch * steps_per_epoch + number
            set_learning_rate(
                optimizer.param_groups, _LEARNING_RATE * polynomial(step, epochs * steps_per_epoch, power=1.0)
            )
            batch = features.batch(rows)
            loss = task.loss(head(*(values[rows] for values in features.values)), batch, settings=settings)
            optimizer.zero_grad(set_to_none=True)
            (loss / max(batch.count, 1)).backward()
            optimizer.step()
            total += loss.detach()
            counted += batch.count
        losses.append(float(total) / max(counted, 1))
    return losses
