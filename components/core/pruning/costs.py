"""The cost of each layer as a function of the channels of the groups it belongs to."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from components.core.models.complexity import example_tensors
from components.core.models.inputs import BATCH, InputSpec
from components.core.pruning.member import ChannelGroup
from components.core.pruning.plan import LayerCost


@torch.no_grad()
def layer_costs(module: nn.Module, groups: Sequence[ChannelGroup], *, inputs: Sequence[InputSpec]) -> list[LayerCost]:
    """The cost of every convolution and linear layer for one row, read off one forward pass in eval mode.

    At full width the costs sum up to `complexity.count_macs`.
    """
    memberships: dict[tuple[str, str], dict[str, int]] = {}
    for group in groups:
        for member in group.members:
            width = len(member.channels[0])
            memberships.setdefault((member.module, member.dimension), {})[group.name] = width
    costs: list[LayerCost] = []

    def measure(name: str, layer: nn.Module, output: Tensor) -> None:
        if isinstance(layer, nn.Linear):
            out_channels, in_channels, kernel, number_of_groups = layer.out_features, layer.in_features, 1, 1
        else:
            assert isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d)
            out_channels, in_channels, number_of_groups = layer.out_channels, layer.in_channels, layer.groups
            kernel = math.prod(layer.kernel_size)
        depthwise = number_of_groups == in_channels == out_channels and number_of_groups > 1
        costs.append(
            LayerCost(
                name=name,
                pairs=kernel * output[0].numel() // out_channels,
                out_channels=out_channels,
                # An output of a grouped convolution reads its own group only; such a layer is never pruned.
                in_channels=in_channels // number_of_groups,
                depthwise=depthwise,
                out_groups=memberships.get((name, "out"), {}),
                in_groups=memberships.get((name, "in"), {}),
            )
        )

    handles = [
        part.register_forward_hook(lambda layer, _, output, name=name: measure(name, layer, output))
        for name, part in module.named_modules()
        if isinstance(part, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear)
    ]
    try:
        module.eval()(*example_tensors(inputs, {BATCH: 1}, next(module.parameters()).device))
    finally:
        for handle in handles:
            handle.remove()
    return costs
