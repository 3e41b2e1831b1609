"""The hidden layers of a network's MLPs, as groups: what may go of a transformer, read without a dependency graph."""

from torch import nn

from components.core.pruning.member import ChannelGroup, Member


def has_attention(module: nn.Module) -> bool:
    """Whether any part of the network is attention over heads."""
    return any(is_attention(part) for part in module.modules())


def is_attention(part: nn.Module) -> bool:
    """Attention by its class's name, in timm and torchvision alike, and its number of heads."""
    return "Attention" in type(part).__name__ and hasattr(part, "num_heads")


def mlp_groups(module: nn.Module) -> list[ChannelGroup]:
    """One group for each MLP: the outputs of its first linear layer, which the second reads and nothing else.

    An MLP is a module whose children are two linear layers, of which the second takes what the first gives, and layers
    without weights (an activation, dropout).
    """
    groups = []
    for name, part in module.named_modules():
        children = [(f"{name}.{own}".lstrip("."), child) for own, child in part.named_children()]
        linears = [(path, child) for path, child in children if isinstance(child, nn.Linear)]
        others = [child for _, child in children if not isinstance(child, nn.Linear)]
        if len(linears) != 2 or not others or any(list(child.parameters()) for child in others):
            continue
        (first, one), (second, other) = linears
        if one.out_features == other.in_features:
            each = tuple((channel,) for channel in range(one.out_features))
            members = (
                Member(module=first, dimension="out", channels=each),
                Member(module=second, dimension="in", channels=each),
            )
            groups.append(ChannelGroup(name=first, channels=one.out_features, members=members))
    return groups
