"""Size of a network: parameters and multiply-accumulates."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from components.core.models.inputs import BATCH, InputSpec, examples


def count_parameters(module: nn.Module) -> int:
    """Number of scalar parameters; buffers (batch-norm statistics) are not counted."""
    return sum(parameter.numel() for parameter in module.parameters())


def count_macs(module: nn.Module, inputs: Sequence[InputSpec], free: Mapping[str, int] | None = None) -> int:
    """Multiply-accumulates of one forward pass of one row of `inputs`, with `free` sizes for other free dimensions.

    Convolution: `(C_in / groups) · k_h · k_w` for each output element. Linear: `in_features` for each output
    element; a layer of one's own says what it costs with `macs_per_output`, for each output element. Biases, norms,
    activations, pooling, resizing and products inside attention are not counted, as is usual in published figures.
    Counted by hooks in a real pass on the module's device, so any input-dependent padding is seen; mode and weights are
    left as they were.
    """
    total = 0

    def count_convolution(layer: nn.Module, _inputs: object, output: torch.Tensor) -> None:
        nonlocal total
        assert isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d)
        total += output[0].numel() * (layer.in_channels // layer.groups) * math.prod(layer.kernel_size)

    def count_linear(layer: nn.Module, _inputs: object, output: torch.Tensor) -> None:
        nonlocal total
        assert isinstance(layer, nn.Linear)
        total += output[0].numel() * layer.in_features

    def count_own(layer: nn.Module, _inputs: object, output: torch.Tensor) -> None:
        nonlocal total
        total += output[0].numel() * int(layer.macs_per_output)  # type: ignore[arg-type]

    handles = []
    for layer in module.modules():
        if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d):
            handles.append(layer.register_forward_hook(count_convolution))
        elif isinstance(layer, nn.Linear):
            handles.append(layer.register_forward_hook(count_linear))
        elif hasattr(layer, "macs_per_output"):
            handles.append(layer.register_forward_hook(count_own))
    parameter = next(module.parameters())
    given = example_tensors(inputs, {BATCH: 1, **(free or {})}, parameter.device)
    modes = {part: part.training for part in module.modules()}
    try:
        module.eval()
        with torch.no_grad():
            module(*given)
    finally:
        for part, training in modes.items():
            part.training = training
        for handle in handles:
            handle.remove()
    return total


def example_tensors(inputs: Sequence[InputSpec], free: Mapping[str, int], device: torch.device) -> list[torch.Tensor]:
    """Random examples of the inputs in their order, on a device, for passes that only look at shapes."""
    return [torch.from_numpy(value).to(device) for value in examples(inputs, free).values()]
