"""The record of a training, step by step and epoch by epoch."""

from dataclasses import asdict, dataclass, field
from typing import Any

MAX_STEPS_SHOWN = 1000
FORMAT = 2


@dataclass(kw_only=True)
class History:
    """The learning curves; JSON-able, and free of times so that equal runs have equal histories.

    steps: step, epoch (from 1), learning_rate (of the head), loss. epochs: epoch (0 is before the first step),
    train_loss, validation_loss, validation_metric; None where there is nothing to say. layer_rates: epoch, and each
    layer's factor on the learning rate by its name, from the stem to the head; empty where they do not change. metric:
    name, label and whether it is read in per cent, of the task's first metric. phases: name and epochs, in order.
    best_epoch: the epoch whose weights were kept.
    """

    metric: dict[str, Any] = field(default_factory=dict)
    steps: list[dict[str, Any]] = field(default_factory=list)
    epochs: list[dict[str, Any]] = field(default_factory=list)
    phases: list[dict[str, Any]] = field(default_factory=list)
    layer_rates: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int | None = None

    def best(self) -> dict[str, Any] | None:
        """The epoch that was kept, or None before any."""
        return next((epoch for epoch in self.epochs if epoch["epoch"] == self.best_epoch), None)

    def to_json(self) -> dict[str, Any]:
        """The content of `curves.json`; of a long run an evenly spread thousand of steps."""
        stride = -(-len(self.steps) // MAX_STEPS_SHOWN) or 1
        return {"format": FORMAT, **asdict(self), "steps": self.steps[::stride]}
