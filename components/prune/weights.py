"""Weight pruning: single weights become zero, the shapes stay."""

import torch
from torch import Tensor, nn

from components.core.models.sparsity import hold_zeros, weight_layers

UNSTRUCTURED, TWO_OF_FOUR = "unstructured", "2:4"
"""Values of the parameter `sparsity_pattern`."""


@torch.no_grad()
def zero_weights(module: nn.Module, fraction: float, pattern: str) -> tuple[str, ...]:
    """Sets weights to zero in place and marks their layers, so that training holds on to the zeros; returns the layers.

    Args:
        module: convolutions and linear layers give weights; biases, norms and embeddings do not.
        fraction: of all these weights, in [0, 1); with 2:4 of the weights of each layer that the pattern fits.
        pattern: "unstructured", the smallest magnitudes of the whole network (Han et al. 2015, arXiv:1506.02626); or
            "2:4", in each layer (see `two_of_four`). A layer whose inputs do not divide by 4 is left whole.
    """
    if not fraction:
        return ()
    weights: dict[str, Tensor] = {name: layer.weight for name, layer in weight_layers(module).items()}
    if pattern == TWO_OF_FOUR:
        masks = {name: two_of_four(weight) for name, weight in weights.items() if weight.shape[1] % 4 == 0}
    else:
        masks = dict(zip(weights, smallest_of_all(list(weights.values()), fraction), strict=True))
    thinned = tuple(name for name, mask in masks.items() if not mask.all())
    for name in thinned:
        weights[name].mul_(masks[name])
    hold_zeros(module, thinned)
    return thinned


def smallest_of_all(weights: list[Tensor], fraction: float) -> list[Tensor]:
    """Masks of the weights' shapes, bool: false for the `round(fraction · N)` of all N entries with the least |w|.

    Of equal magnitudes the first in order goes first.
    """
    flat = torch.cat([weight.abs().flatten() for weight in weights])
    kept = torch.ones(len(flat), dtype=torch.bool, device=flat.device)
    kept[flat.argsort(stable=True)[: round(fraction * len(flat))]] = False
    pieces = kept.split([weight.numel() for weight in weights])
    return [piece.view(weight.shape) for piece, weight in zip(pieces, weights, strict=True)]


def two_of_four(weight: Tensor) -> Tensor:
    """Mask of the weight's shape, bool: of each four neighbours along the inputs the two of largest |w| stay.

    weight: `(outputs, inputs, …)`, inputs divisible by 4. At each position of a convolution's kernel the input channels
    4k … 4k+3 are neighbours: so they lie side by side in the matrix product of sparse tensor cores. Mishra et al. 2021,
    arXiv:2104.08378.
    """
    last = weight.abs().movedim(1, -1)
    fours = last.reshape(*last.shape[:-1], -1, 4)
    order = fours.argsort(dim=-1, descending=True, stable=True)
    kept = torch.zeros_like(fours, dtype=torch.bool).scatter(-1, order[..., :2], value=True)
    return kept.reshape(last.shape).movedim(-1, 1)
