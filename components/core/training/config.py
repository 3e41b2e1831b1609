"""The parameters of a training run, checked when they are built. Knows no torch, so that checking is cheap."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from components.core.parameters import NO_LIMIT, check_declared
from components.core.training.schedules import Schedule


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """The choices that every training stage gives its user.

    epochs: passes over the training split; 0 trains nothing.
    learning_rate: η₀, the head's rate at the end of warm-up.
    schedule, power, step_epochs, step_gamma, warmup_fraction: see `schedules`; warm-up as a fraction of all steps.
    momentum: SGD's momentum, AdamW's β₁.
    layer_decay: factor on the learning rate per layer below the head; 1.0 is the same rate everywhere.
    ema_decay: of the weights' moving average, which is evaluated and saved; 0 is none.
    batch_norm: "frozen" normalises with the stored statistics while training, "train" with each batch's own and moves
        the stored ones; see `batchnorm.set_training_mode`.
    patience: epochs without a better validation result before stopping; 0 always trains to the end.
    checkpoint_seconds: time between resumable checkpoints.
    num_processes: processes that share each batch; it must divide batch_size, unless batch_tokens makes the batches;
        and batch norms must be frozen: their statistics would be those of a part of the batch.
    batch_tokens: target elements of a step's batch at most, padding included; 0 is batch_size rows.
    accumulation_steps: parts in which a process computes its share of a batch, one after the other, to save memory;
        gradients are those of the whole batch. Batch norms must be frozen, for the same reason.
    layer_rates: how fast layers learn: "decay" by `layer_decay`, "gradual" with it, but from the head down one after
        the other, "auto_rgn" by relative gradient norm instead of it; see `layer_rates`.
    max_gradient_norm: longer gradients (over all parameters) are scaled down to it; -1 is no limit.

    The rules are those of the declared parameters (`core.parameters`). Raises `UserError` naming the value.
    """

    declared_as: ClassVar[Mapping[str, str]] = {}
    """Where a parameter is declared under another name: name here → declared name."""

    epochs: int
    batch_size: int
    optimizer: str
    learning_rate: float
    schedule: str
    power: float
    step_epochs: int
    step_gamma: float
    warmup_fraction: float
    momentum: float
    weight_decay: float
    layer_decay: float
    ema_decay: float
    precision: str
    batch_norm: str
    patience: int
    checkpoint_seconds: float
    seed: int
    num_processes: int = 1
    accumulation_steps: int = 1
    layer_rates: str = "decay"
    max_gradient_norm: float = NO_LIMIT
    batch_tokens: int = 0

    def __post_init__(self) -> None:
        check_declared(vars(self), **self.declared_as)

    def build_schedule(self, steps_per_epoch: int) -> Schedule:
        """The schedule over `epochs · steps_per_epoch` optimizer steps."""
        total = max(self.epochs * steps_per_epoch, 1)
        return Schedule(
            name=self.schedule,
            total_steps=total,
            warmup_steps=round(self.warmup_fraction * total),
            power=self.power,
            step_every=self.step_epochs * steps_per_epoch,
            step_gamma=self.step_gamma,
        )
