"""Channels between two convolutions of one `nn.Sequential`: what may go of a network whose graph cannot be read."""

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from components.core.pruning.member import ChannelGroup, Convolution, Member, is_depthwise


def chain_groups(module: nn.Module) -> list[ChannelGroup]:
    """One group for each convolution that is followed by another one in the same `nn.Sequential`.

    Between them stand batch norms, depthwise convolutions and layers without weights, which pass channels on.
    """
    groups = []
    for name, part in module.named_modules():
        if type(part) is nn.Sequential:
            groups += _of_sequence([(f"{name}.{own}".lstrip("."), child) for own, child in part.named_children()])
    return groups


def _of_sequence(children: list[tuple[str, nn.Module]]) -> list[ChannelGroup]:
    groups: list[ChannelGroup] = []
    members: list[Member] = []
    each: tuple[tuple[int, ...], ...] = ()
    for path, child in children:
        if isinstance(child, Convolution) and child.groups == 1:
            if members:
                whole = (*members, Member(module=path, dimension="in", channels=each))
                groups.append(ChannelGroup(name=members[0].module, channels=len(each), members=whole))
            each = tuple((channel,) for channel in range(child.out_channels))
            members = [Member(module=path, dimension="out", channels=each)]
        elif isinstance(child, _BatchNorm) or is_depthwise(child):
            if members:
                members.append(Member(module=path, dimension="out", channels=each))
        elif list(child.parameters()):
            members = []
    return groups
