"""Weights that were set to zero and stay zero: which layers have them, and what training must hold on to.

Which weights it are needs no record beside the weights themselves: in a layer that `Architecture.sparse` names, each
zero stays one.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

_HOLDS = "holds_zeros"

WeightLayer = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear


def weight_layers(module: nn.Module) -> dict[str, WeightLayer]:
    """Name → each convolution and linear layer: what weight pruning may take from."""
    return {name: part for name, part in module.named_modules() if isinstance(part, WeightLayer)}


def hold_zeros(module: nn.Module, names: Iterable[str]) -> None:
    """Marks layers whose zeros training must keep.

    Raises:
        ValueError: a name that is no convolution or linear layer of the module.
    """
    layers = weight_layers(module)
    for name in names:
        if name not in layers:
            raise ValueError(f"sparse names the layer {name!r}, which {type(module).__name__} does not have")
        setattr(layers[name], _HOLDS, True)


def held_zeros(module: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """The weights of marked layers, each with a mask of the same shape: 0 where it is zero now, else 1."""
    marked = [part.weight for part in weight_layers(module).values() if getattr(part, _HOLDS, False)]
    return [(weight, (weight.detach() != 0).to(weight.dtype)) for weight in marked]


@torch.no_grad()
def set_zeros(held: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Makes the masked weights zero again, after a step has moved them."""
    for weight, mask in held:
        weight.mul_(mask)


def share_of_zeros(module: nn.Module) -> float:
    """Zeros among all weights of convolutions and linear layers, in [0, 1]."""
    weights = [part.weight.detach() for part in weight_layers(module).values()]
    return sum(int((weight == 0).sum()) for weight in weights) / max(1, sum(weight.numel() for weight in weights))
