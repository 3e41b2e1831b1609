"""An exponential moving average of a network's weights, evaluated and saved in their place."""

import copy

import torch
from torch import nn


def decay_at(update: int, decay: float) -> float:
    """`min(d, (1 + n)/(10 + n))` for the n-th update (from 0): short runs are not averaged with their random start."""
    return min(decay, (1 + update) / (10 + update))


class Ema:
    """`v ← d·v + (1 − d)·w` after each optimizer step, for weights and for floating-point buffers alike.

    Batch-norm statistics are averaged with the weights that they belong to: statistics of the raw network would fit
    other weights than those evaluated. Counters (integer buffers) are copied. `module` is the averaged network,
    always in eval mode. Polyak, Juditsky 1992; decay as in Tan, Le 2019 (arXiv:1905.11946).
    """

    def __init__(self, module: nn.Module, *, decay: float) -> None:
        self.module = copy.deepcopy(module).eval().requires_grad_(False)
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Moves the average one step towards the weights of `module`."""
        weight = 1.0 - decay_at(self.updates, self.decay)
        self.updates += 1
        averages, currents = [], []
        for average, current in zip(
            self.module.state_dict(keep_vars=True).values(),
            module.state_dict(keep_vars=True).values(),
            strict=True,
        ):
            if average.is_floating_point():
                averages.append(average.detach())
                currents.append(current.detach())
            else:
                average.copy_(current)
        torch._foreach_lerp_(averages, currents, weight)
