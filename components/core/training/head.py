"""Trains a network's linear head alone, on features that the frozen network computes once."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from components.core.errors import UserError
from components.core.training.data import Batch
from components.core.training.device import autocast, place_images
from components.core.training.parameter_groups import parameter_groups, set_learning_rate
from components.core.training.schedules import polynomial

if TYPE_CHECKING:
    from components.core.tasks import Task

MAX_FEATURE_ROWS = 50_000
"""Rows whose features are kept in memory (256 MB at 1280 features); a linear head gains nothing from more."""

_MAX_BATCH_SIZE = 256
_LEARNING_RATE = 1e-3
_WEIGHT_DECAY = 1e-2


@torch.no_grad()
def pooled_features(
    features: Callable[[Tensor], Tensor], batches: Iterable[Batch], *, device: torch.device, precision: str = "auto"
) -> tuple[Tensor, Tensor]:
    """Features (N, D) float32 and targets of all batches, on the device. The network must be in eval mode."""
    rows, targets = [], []
    for images, batch_targets, _ in batches:
        with autocast(device, precision):
            rows.append(features(place_images(images, device)).float())
        targets.append(batch_targets.to(device))
    return torch.cat(rows), torch.cat(targets)


def train_head(
    head: nn.Module,
    features: Tensor,
    targets: Tensor,
    *,
    task: "Task",
    epochs: int,
    seed: int,
    label_smoothing: float = 0.0,
) -> list[float]:
    """Trains `head` in place on features (N, D); returns the mean loss of each epoch.

    AdamW with a linearly falling rate and batches of a twentieth of the rows, at most 256; none of it a parameter,
    since on frozen features the problem is convex. About 14 times cheaper than an epoch through the network, and it
    keeps the first large gradients of a fresh head away from pretrained weights (LP-FT; Kumar et al. 2022,
    arXiv:2202.10054).
    The order of rows is drawn from `seed` alone.

    Raises `UserError` when the features are not finite.
    """
    if not bool(torch.isfinite(features).all()):
        raise UserError("the pretrained network gives features that are not finite; its weights do not fit this input")
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(parameter_groups(head, weight_decay=_WEIGHT_DECAY), lr=_LEARNING_RATE)
    batch_size = min(_MAX_BATCH_SIZE, max(len(features) // 20, 8))
    steps_per_epoch = -(-len(features) // batch_size)
    losses: list[float] = []
    for epoch in range(epochs):
        order = torch.randperm(len(features), generator=generator).to(features.device)
        total = torch.zeros((), device=features.device)
        for number, rows in enumerate(order.split(batch_size)):
            step = epoch * steps_per_epoch + number
            set_learning_rate(
                optimizer.param_groups, _LEARNING_RATE * polynomial(step, epochs * steps_per_epoch, power=1.0)
            )
            loss = task.loss(head(features[rows]), targets[rows], label_smoothing=label_smoothing)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(rows)
        losses.append(float(total) / len(features))
    return losses
