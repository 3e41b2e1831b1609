"""Loss and metric of a network on a split, while training."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from components.core.training.data import Batch
from components.core.training.device import autocast, place_images
from components.core.training.ranks import ALONE, Ranks

if TYPE_CHECKING:
    from components.core.tasks import Task


@dataclass(frozen=True, kw_only=True)
class Validation:
    """Mean loss without label smoothing, mean of the task's metric (a fraction), and the number of samples."""

    loss: float
    metric: float
    samples: int


@torch.inference_mode()
def validate(
    module: nn.Module,
    batches: Iterable[Batch],
    *,
    task: "Task",
    device: torch.device,
    precision: str = "auto",
    ranks: Ranks = ALONE,
) -> Validation:
    """Evaluates in eval mode and leaves the module in the mode it was in. `batches` are the shares of `ranks`."""
    was_training = module.training
    module.eval()
    losses, correct, samples = [], [], 0
    for images, targets, _ in batches:
        if not len(images):  # a last batch of fewer images than there are processes
            continue
        targets = targets.to(device)
        with autocast(device, precision):
            logits = module(place_images(images, device)).float()
        losses.append(task.loss(logits, targets) * len(images))
        correct.append(task.correct(logits, targets).sum())
        samples += len(images)
    module.train(was_training)
    # Read back once: a .item() in each step would make a GPU wait for it.
    sums = torch.tensor([_sum(losses), _sum(correct), samples], dtype=torch.float64)
    loss, right, count = ranks.total(sums).tolist()
    assert count, "an empty split has no validation"
    return Validation(loss=loss / count, metric=right / count, samples=round(count))


def _sum(values: list[torch.Tensor]) -> float:
    return float(torch.stack(values).sum()) if values else 0.0
