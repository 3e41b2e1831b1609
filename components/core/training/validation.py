"""Loss and metric of a network on a split, while training."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from components.core.data.batch import Batch
from components.core.errors import UserError
from components.core.training.device import autocast, place_batch
from components.core.training.ranks import ALONE, Ranks

if TYPE_CHECKING:
    from components.core.tasks import Task


@dataclass(frozen=True, kw_only=True)
class Validation:
    """Mean of the task's plain loss over what counts, its metric of training, and the number of rows."""

    loss: float
    metric: float
    rows: int


@torch.inference_mode()
def validate(
    module: nn.Module,
    batches: Iterable[Batch],
    *,
    task: "Task",
    num_classes: int,
    device: torch.device,
    precision: str = "auto",
    ranks: Ranks = ALONE,
) -> Validation:
    """Evaluates in eval mode and leaves the module in the mode it was in. `batches` are the shares of `ranks`.

    Sums of losses, counts and statistics are added over all batches and processes before anything is divided, so that
    each pixel or token weighs the same wherever it falls.

    Raises:
        UserError: the network answers with what is no number, so that its guesses mean nothing; or the metric is not a
            number, since nothing in the split counts.
    """
    was_training = module.training
    module.eval()
    losses: list[torch.Tensor] = []
    statistics: np.ndarray | None = None
    count = rows = 0
    for batch in batches:
        if not len(batch):  # a last batch of fewer rows than there are processes
            continue
        placed = place_batch(batch, device)
        with autocast(device, precision):
            outputs = _as_float(module(*placed.inputs.values()))
        losses.append(task.loss(outputs, placed))
        found = task.training_statistics(task.guess(outputs, placed), batch, num_classes).sum(axis=0)
        statistics = found if statistics is None else statistics + found
        count += batch.count
        rows += len(batch)
    module.train(was_training)
    # Read back once: a .item() in each step would make a GPU wait for it.
    loss, total, seen, *sums = ranks.gathered_total(
        [float(torch.stack(losses).sum()) if losses else 0.0, count, rows], statistics
    )
    assert seen, "an empty split has no validation"
    if math.isnan(loss):  # of logits that are NaN or +∞; −∞ rules a class out, and makes it +∞ at most
        raise UserError(
            f"the network's output is NaN or infinite for the validation {task.row_noun}; train it again with a "
            "lower learning rate or without mixed precision"
        )
    metric = float(task.training_metric.reduce(np.array(sums)))
    if not math.isfinite(metric):
        raise UserError(
            f"{task.training_metric.label} cannot be computed on the {round(seen)} validation {task.row_noun}: "
            f"they hold only {round(total)} labelled places; label what the network is to learn, in every split"
        )
    return Validation(loss=loss / total if total else 0.0, metric=metric, rows=round(seen))


def _as_float(outputs: torch.Tensor | tuple[torch.Tensor, ...]) -> torch.Tensor | tuple[torch.Tensor, ...]:
    return outputs.float() if isinstance(outputs, torch.Tensor) else tuple(output.float() for output in outputs)
