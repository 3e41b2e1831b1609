"""A group of channels: the layers that it runs through, and which of their channels go together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from components.core.models.architecture import Cut, Dimension

Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d


@dataclass(frozen=True, kw_only=True)
class Member:
    """One dimension of one module in a group, and which of its channels go with each channel of the group.

    `channels[c]` lists the module's channels that are removed with channel c: one, or several behind a flatten.
    """

    module: str
    dimension: Dimension
    channels: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, kw_only=True)
class ChannelGroup:
    """Channels that can only be removed together. `name` is the layer that makes them."""

    name: str
    channels: int
    members: tuple[Member, ...]


def is_depthwise(part: nn.Module) -> bool:
    """Whether the module is a convolution with one filter per channel: it passes channels on and makes none."""
    return isinstance(part, Convolution) and part.groups == part.in_channels == part.out_channels and part.groups > 1


def width(part: nn.Module, dimension: Dimension) -> int:
    """How many channels one dimension of a convolution, a batch norm or a linear layer has."""
    if isinstance(part, Convolution):
        return part.out_channels if dimension == "out" else part.in_channels
    if isinstance(part, _BatchNorm):
        return part.num_features
    assert isinstance(part, nn.Linear)
    return part.out_features if dimension == "out" else part.in_features


def cuts_of(module: nn.Module, groups: Sequence[ChannelGroup], removal: Mapping[str, Sequence[int]]) -> list[Cut]:
    """The surgery that removes channels of groups, each given once, from the network as it is.

    Args:
        module: the network.
        groups: of it.
        removal: group → its channels to remove.
    """
    gone: dict[tuple[str, Dimension], set[int]] = {}
    for group in groups:
        for member in group.members:
            part = module.get_submodule(member.module)
            # A batch norm and a depthwise convolution have one kind of channel, whichever word is used.
            single = isinstance(part, _BatchNorm) or is_depthwise(part)
            key: tuple[str, Dimension] = (member.module, "out" if single else member.dimension)
            lost = gone.setdefault(key, set())
            for channel in removal.get(group.name, ()):
                lost.update(member.channels[channel])
    cuts = []
    for (name, dimension), lost in gone.items():
        if lost:
            total = width(module.get_submodule(name), dimension)
            kept = tuple(channel for channel in range(total) if channel not in lost)
            cuts.append(Cut(module=name, dimension=dimension, kept=kept, total=total))
    return cuts
