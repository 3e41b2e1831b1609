"""Learning-rate schedules as pure functions of the optimizer step.

Every function gives the factor η_t / η₀ in [0, 1] (step decay may use any positive gamma) that the step `t`
(counted from 0, one per optimizer step) is taken with.
"""

import math
from dataclasses import dataclass

from components.core.errors import UserError

SCHEDULES = ("polynomial", "step", "cosine", "constant", "inverse_sqrt")


def polynomial(step: int, total: int, power: float) -> float:
    """`(1 − t/T)^γ`: 1 at t = 0, 0 at t = T (DeepLab's "poly"; arXiv:1606.00915). `total` > 0, `power` > 0."""
    return (1.0 - min(step, total) / total) ** power


def cosine(step: int, total: int) -> float:
    """`(1 + cos(π t/T)) / 2`: SGDR without restarts (Loshchilov, Hutter 2017, arXiv:1608.03983). `total` > 0."""
    return 0.5 * (1.0 + math.cos(math.pi * min(step, total) / total))


def inverse_sqrt(step: int, warmup_steps: int) -> float:
    """`√((W + 1)/(t + 1))` for t ≥ W: 1 at the end of warm-up, then as 1/√t (Vaswani et al. 2017, arXiv:1706.03762)."""
    return math.sqrt((warmup_steps + 1) / (max(step, warmup_steps) + 1))


def step_decay(step: int, every: int, gamma: float) -> float:
    """`γ^⌊t/every⌋`: multiplied by `gamma` after each `every` steps. `every` > 0."""
    return gamma ** (step // every)


def warm_up(step: int, warmup_steps: int) -> float:
    """`(t + 1)/(W + 1)` while t < W, then 1: linear, and its first step is never wasted on a rate of 0.

    Goyal et al. 2017, arXiv:1706.02677.
    """
    return (step + 1) / (warmup_steps + 1) if step < warmup_steps else 1.0


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """η_t/η₀ for t = 0 … total_steps − 1.

    polynomial and cosine decay over the T − W steps that follow the W warm-up steps. step decay counts its
    milestones from the very first step, so that "every 30 epochs" means epochs 30, 60, … whatever the warm-up.

    Raises `UserError` for an unknown name and for numbers outside their range.
    """

    name: str
    total_steps: int
    warmup_steps: int = 0
    power: float = 1.0
    step_every: int = 1
    step_gamma: float = 0.1

    def __post_init__(self) -> None:
        if self.name not in SCHEDULES:
            raise UserError(f"schedule must be one of {', '.join(SCHEDULES)}; got {self.name!r}")
        if self.total_steps < 1 or not 0 <= self.warmup_steps <= self.total_steps:
            raise UserError(
                f"a schedule needs at least one step and at most that many of warm-up; "
                f"got {self.total_steps} steps, {self.warmup_steps} of warm-up"
            )
        if self.power <= 0 or self.step_every < 1 or self.step_gamma <= 0:
            raise UserError(
                f"power, step_epochs and step_gamma must be positive; "
                f"got {self.power}, {self.step_every} steps, {self.step_gamma}"
            )

    def factor(self, step: int) -> float:
        """The factor that multiplies the base learning rate at this optimizer step."""
        if step < self.warmup_steps:
            return warm_up(step, self.warmup_steps)
        decay_steps = max(self.total_steps - self.warmup_steps, 1)
        match self.name:
            case "polynomial":
                return polynomial(step - self.warmup_steps, decay_steps, self.power)
            case "cosine":
                return cosine(step - self.warmup_steps, decay_steps)
            case "inverse_sqrt":
                return inverse_sqrt(step, self.warmup_steps)
            case "step":
                return step_decay(step, self.step_every, self.step_gamma)
            case _:
                return 1.0
