"""Which channels go: a greedy plan over the groups of a network. Pure arithmetic; knows no network."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Cost = Callable[[Mapping[str, int]], float]
"""The cost of a network after removing so many channels of each group."""

MAX_RATIO = 0.85
"""Largest part of a group's channels that may go: a block of which less is left passes little on."""


@dataclass(frozen=True, kw_only=True)
class LayerCost:
    """How a layer's multiply-accumulates follow from its channels: `pairs · in · out` (depthwise: `pairs · out`).

    pairs: multiply-accumulates of one input channel with one output channel (kernel area × output positions).
    out_groups, in_groups: group → how many channels of this layer go with one channel of the group (more than one
    behind a flatten).
    """

    name: str
    pairs: int
    out_channels: int
    in_channels: int
    depthwise: bool
    out_groups: Mapping[str, int]
    in_groups: Mapping[str, int]

    @property
    def groups(self) -> tuple[str, ...]:
        """All groups that it belongs to, each once."""
        return tuple(dict.fromkeys([*self.out_groups, *self.in_groups]))

    def macs(self, removed: Mapping[str, int]) -> int:
        """Multiply-accumulates when so many channels of each group are gone."""
        used, out = self.channels(removed)
        return self.pairs * out * (1 if self.depthwise else used)

    def channels(self, removed: Mapping[str, int]) -> tuple[int, int]:
        """Input and output channels then; of a depthwise layer, each output reads one input."""
        out = self.out_channels - sum(removed.get(group, 0) * width for group, width in self.out_groups.items())
        if self.depthwise:
            return 1, out
        return self.in_channels - sum(removed.get(group, 0) * width for group, width in self.in_groups.items()), out


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of a network's cost, most often one layer's: it depends on the channels removed from `groups` only."""

    groups: tuple[str, ...]
    cost: Cost


def total_macs(layers: Sequence[LayerCost], removed: Mapping[str, int]) -> int:
    """Multiply-accumulates of all layers when so many channels of each group are gone."""
    return sum(layer.macs(removed) for layer in layers)


def macs_per_channel(layers: Sequence[LayerCost], group: str) -> int:
    """Multiply-accumulates saved by the first channel of a group, everything else being whole."""
    return total_macs(layers, {}) - total_macs(layers, {group: 1})


def block_sizes(channels: int, *, round_to: int, max_ratio: float) -> list[int]:
    """How many channels go in the first, second, … cut of a group, so that what is left is a multiple of `round_to`.

    The first cut takes what stands over a multiple. At least one multiple, and `1 − max_ratio` of the channels, stay.
    `channels` that are not more than that give an empty list.
    """
    keep_at_least = max(round_to, channels * (1 - max_ratio))
    sizes: list[int] = []
    left = channels
    while True:
        size = left % round_to or round_to
        if left - size < keep_at_least:
            return sizes
        sizes.append(size)
        left -= size


def plan_removal(
    scores: Mapping[str, Tensor],
    cost: Cost,
    *,
    target: float,
    round_to: int,
    max_ratio: float,
) -> dict[str, list[int]]:
    """The channels to remove from each group, ascending, until the network costs at most `target`.

    In each group the channels are ordered by score and cut into blocks that keep what is left a multiple of `round_to`;
    then blocks are taken in ascending order of their mean score, over all groups together (ties: the group named
    first), and those that turn out needless are given back. When no block is left the target may be missed: the caller
    compares.

    scores: group → (channels,), comparable between groups. cost: of the network, in the unit of `target`, when so many
    channels of each group are gone. max_ratio: largest part of a group's channels to remove.
    """
    queue: list[tuple[float, int, int, list[int]]] = []
    names = list(scores)
    for number, name in enumerate(names):
        order = torch.argsort(scores[name], stable=True).tolist()
        start = 0
        for position, size in enumerate(block_sizes(len(order), round_to=round_to, max_ratio=max_ratio)):
            block = order[start : start + size]
            queue.append((float(scores[name][block].mean()), number, position, block))
            start += size
    # Means ascend within a group, so a sorted queue takes a group's blocks in order.
    taken: list[tuple[str, list[int]]] = []
    counts = dict.fromkeys(names, 0)
    for _, number, _, block in sorted(queue, key=lambda entry: entry[:3]):
        if cost(counts) <= target:
            break
        taken.append((names[number], block))
        counts[names[number]] += len(block)
    removed = _without_the_needless(taken, counts, cost, target)
    return {name: sorted(removed.get(name, [])) for name in names}


def _without_the_needless(
    taken: Sequence[tuple[str, list[int]]], counts: dict[str, int], cost: Cost, target: float
) -> dict[str, list[int]]:
    """Gives back what the last, large blocks made needless: the most important first, a group's own from its end."""
    removed: dict[str, list[int]] = {}
    fixed: set[str] = set()
    for name, block in reversed(taken):
        without = counts | {name: counts[name] - len(block)}
        if name not in fixed and cost(without) <= target:
            counts = without
        else:
            fixed.add(name)
            removed.setdefault(name, []).extend(block)
    return removed
