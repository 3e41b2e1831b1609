"""How fast each layer learns, decided at the start of each epoch: gradual unfreezing, or relative gradient norms.

A layer is a depth of `parameter_groups`. Its factor multiplies the learning rate; 0 freezes it.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from components.core.training.parameter_groups import layer_depths

DECAY, GRADUAL, AUTO_RGN = "decay", "gradual", "auto_rgn"
"""Values of the parameter `layer_rates`."""

PROBE_BATCHES = 4
"""Training batches on which relative gradient norms are measured, before each epoch."""


def gradual_factors(depths: Iterable[int], *, epoch: int, epochs: int) -> dict[int, float]:
    """1 for each layer that learns in this epoch (from 0), 0 for each that is still frozen.

    From the head down, equally many layers join in each epoch, so that all learn from the middle of the training on.
    Howard and Ruder 2018, arXiv:1801.06146, let one layer join in an epoch; few networks are trained for that long.
    """
    ordered = sorted(set(depths), reverse=True)
    learning = -(-len(ordered) * 2 * (epoch + 1) // max(epochs, 1))
    return {depth: float(place < learning) for place, depth in enumerate(ordered)}


def relative_gradient_norms(groups: Sequence[Mapping[str, Any]]) -> dict[int, float]:
    """Depth → ‖∂L/∂w‖₂ / ‖w‖₂ over all parameters of the layer, from their present gradients; ≥ 0.

    Without a gradient, or where all weights are 0 and the ratio is not defined, it is 0.
    """
    weights: dict[int, list[Tensor]] = {}
    gradients: dict[int, list[Tensor]] = {}
    for group in groups:
        for parameter in group["params"]:
            weights.setdefault(group["depth"], []).append(parameter.detach())
            if parameter.grad is not None:
                gradients.setdefault(group["depth"], []).append(parameter.grad)
    found = {}
    for depth, tensors in weights.items():
        weight, gradient = _norm(tensors), _norm(gradients.get(depth, []))
        found[depth] = gradient / weight if weight > 0 else 0.0
    return found


def auto_rgn_factors(measured: Sequence[Mapping[int, float]]) -> dict[int, float]:
    """Depth → mean relative gradient norm over batches, divided by the largest of all layers but the head; in [0, 1].

    The layer whose weights the data pull at hardest learns at the full rate: Auto-RGN in Lee et al. 2022, "Surgical
    fine-tuning", arXiv:2210.11466. The head, the deepest layer, always does: theirs was trained before, ours is new,
    its weights are small, and beside its ratio those of all others would be next to nothing (at most 0.06, seen with
    EfficientNet-Lite0 on Fashion-MNIST).

    Batches with a norm that is not finite (of float16) do not count; without any other, or where no layer has a
    gradient, every factor is 1.
    """
    finite = [one for one in measured if all(map(math.isfinite, one.values()))]
    means = {depth: sum(one[depth] for one in finite) / max(len(finite), 1) for depth in measured[0]}
    head = max(means)
    largest = max((mean for depth, mean in means.items() if depth != head), default=0.0)
    return {depth: mean / largest if largest > 0 and depth != head else 1.0 for depth, mean in means.items()}


def set_factors(groups: Sequence[dict[str, Any]], factors: Mapping[int, float]) -> None:
    """Sets each group's `factor`, and freezes the parameters of layers whose factor is 0."""
    for group in groups:
        group["factor"] = factors[group["depth"]]
        for parameter in group["params"]:
            parameter.requires_grad_(group["factor"] > 0)


def layer_labels(module: nn.Module) -> dict[int, str]:
    """Depth → name of its first layer, as a person finds it in the network."""
    labels: dict[int, str] = {}
    for name, depth in layer_depths(module).items():
        if name or depth not in labels:
            labels[depth] = labels.get(depth) or name
    return labels


def _norm(tensors: Sequence[Tensor]) -> float:
    if not tensors:
        return 0.0
    return float(torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(one.float()) for one in tensors])))
