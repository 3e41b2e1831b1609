"""Proof that groups are what they say: a network without channels that nothing reads computes what it computed."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from components.core.models.architecture import apply_surgery
from components.core.models.complexity import example_tensors
from components.core.models.inputs import BATCH, InputSpec
from components.core.pruning.member import ChannelGroup, cuts_of, is_depthwise

_TOLERANCE = 1e-9
"""Of float64, relative to the largest output: a layer scale of 1e-6 must not hide a channel that is read elsewhere."""


def sound(module: nn.Module, groups: Sequence[ChannelGroup], inputs: Sequence[InputSpec]) -> list[ChannelGroup]:
    """The groups whose channels can go: those that shuffles, slices or reshapes tie to others are left out.

    Half of the channels are removed from one copy; in another the weights that read these channels are 0. Both must
    give the same outputs. All groups are tried together, and one by one if that fails.
    """
    if not groups or is_sound(module, groups, inputs):
        return list(groups)
    return [group for group in groups if is_sound(module, [group], inputs)]


@torch.no_grad()
def is_sound(module: nn.Module, groups: Sequence[ChannelGroup], inputs: Sequence[InputSpec]) -> bool:
    """Whether removing a random half of the channels of all these groups changes nothing but what reads them."""
    # Random, since a regular half would be regular in the halves of a concatenation too, and hide that they are tied.
    draw = torch.Generator().manual_seed(0)
    removal = {
        group.name: torch.randperm(group.channels, generator=draw)[: group.channels // 2].tolist() for group in groups
    }
    unread, cut = (copy.deepcopy(module).cpu().double().eval() for _ in range(2))
    for group in groups:
        for member in group.members:
            part: Any = unread.get_submodule(member.module)
            reads = isinstance(part, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear) and not is_depthwise(part)
            if reads and member.dimension == "in":
                lost = [channel for one in removal[group.name] for channel in member.channels[one]]
                part.weight[:, lost] = 0
    given = [
        one.double() if one.is_floating_point() else one
        for one in example_tensors(inputs, {BATCH: 2}, torch.device("cpu"))
    ]
    try:
        apply_surgery(cut, cuts_of(cut, groups, removal))
        expected, actual = _flat(unread(*given)), _flat(cut(*given))
    except (RuntimeError, ValueError, IndexError, AssertionError):
        # A layer behind the cut no longer fits: the channels were tied to others.
        return False
    if expected.shape != actual.shape:
        return False
    return bool((expected - actual).abs().max() <= _TOLERANCE * expected.abs().max().clamp_min(1.0))


def _flat(outputs: object) -> Tensor:
    assert isinstance(outputs, Tensor)
    return outputs.flatten()
