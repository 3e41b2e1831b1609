"""The optimizers on offer."""

from typing import Any

import torch

from components.core.parameters import DECLARED


def build_optimizer(
    name: str, groups: list[dict[str, Any]], *, learning_rate: float, momentum: float
) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum, or AdamW (arXiv:1711.05101) whose β₁ is `momentum` and β₂ 0.999.

    `groups` come from `parameter_groups`: each brings its own weight decay and `lr_scale`. `name` is a choice of
    the parameter `optimizer`.
    """
    assert name in DECLARED["optimizer"].choices, name
    if name == "sgd":
        return torch.optim.SGD(groups, lr=learning_rate, momentum=momentum, nesterov=momentum > 0)
    # One fused kernel instead of a dozen per tensor; a network like EfficientNet has hundreds of small ones.
    return torch.optim.AdamW(groups, lr=learning_rate, betas=(momentum, 0.999), fused=True)
