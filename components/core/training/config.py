"""The parameters of a training run, checked when they are built. Knows no torch, so that checking is cheap."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from components.core.errors import UserError
from components.core.training.schedules import SCHEDULES, Schedule

OPTIMIZERS = ("adamw", "sgd")
PRECISIONS = ("auto", "float32", "bfloat16")
BATCH_NORMS = ("frozen", "train")


def require_choice(name: str, value: Any, choices: Sequence[str]) -> None:
    """Raises `UserError` listing the choices when `value` is none of them."""
    if value not in choices:
        raise UserError(f"{name} must be one of {', '.join(choices)}; got {value!r}")


def require(condition: bool, name: str, value: Any, wanted: str) -> None:
    """Raises `UserError` "`name` must be `wanted`, got `value`" unless `condition`."""
    if not condition:
        raise UserError(f"{name} must be {wanted}, got {value!r}")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """What every training stage lets its user choose.

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
    num_processes: processes that share each batch; it must divide batch_size, and batch norms must be frozen: their
        statistics would be those of a part of the batch.
    accumulation_steps: parts in which a process computes its share of a batch, one after the other, to save memory;
        gradients are those of the whole batch. Batch norms must be frozen, for the same reason.

    Raises `UserError` naming the value.
    """

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

    def __post_init__(self) -> None:
        require(self.epochs >= 0, "epochs", self.epochs, "at least 0")
        require(self.batch_size >= 1, "batch_size", self.batch_size, "at least 1")
        require_choice("optimizer", self.optimizer, OPTIMIZERS)
        require(self.learning_rate > 0, "learning_rate", self.learning_rate, "positive")
        require_choice("schedule", self.schedule, SCHEDULES)
        require(self.power > 0, "power", self.power, "positive")
        require(self.step_epochs >= 1, "step_epochs", self.step_epochs, "at least 1")
        require(self.step_gamma > 0, "step_gamma", self.step_gamma, "positive")
        require(0 <= self.warmup_fraction < 1, "warmup_fraction", self.warmup_fraction, "in [0, 1)")
        require(0 <= self.momentum < 1, "momentum", self.momentum, "in [0, 1)")
        require(self.weight_decay >= 0, "weight_decay", self.weight_decay, "at least 0")
        require(0 < self.layer_decay <= 1, "layer_decay", self.layer_decay, "in (0, 1]")
        require(0 <= self.ema_decay < 1, "ema_decay", self.ema_decay, "in [0, 1)")
        require_choice("precision", self.precision, PRECISIONS)
        require_choice("batch_norm", self.batch_norm, BATCH_NORMS)
        require(self.patience >= 0, "patience", self.patience, "at least 0")
        require(self.checkpoint_seconds >= 0, "checkpoint_seconds", self.checkpoint_seconds, "at least 0")
        require(self.seed >= 0, "seed", self.seed, "at least 0")
        divides = self.num_processes >= 1 and self.batch_size % self.num_processes == 0
        require(divides, "num_processes", self.num_processes, f"a divisor of batch_size {self.batch_size}")
        if self.num_processes > 1:
            require(self.batch_norm == "frozen", "batch_norm", self.batch_norm, "frozen with several processes")
        require(self.accumulation_steps >= 1, "accumulation_steps", self.accumulation_steps, "at least 1")
        if self.accumulation_steps > 1:
            require(
                self.batch_norm == "frozen", "batch_norm", self.batch_norm, "frozen with accumulation_steps above 1"
            )

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
