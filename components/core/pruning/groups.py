"""Which channels may go together: groups from torch-pruning's dependency graph; of a transformer, its MLPs."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
import torch_pruning
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from components.core.models.architecture import Cut, Dimension, apply_surgery
from components.core.models.complexity import example_tensors
from components.core.models.inputs import BATCH, InputSpec
from components.core.pruning.chains import chain_groups
from components.core.pruning.member import ChannelGroup, Convolution, Member, cuts_of, is_depthwise
from components.core.pruning.mlp import has_attention, is_attention, mlp_groups
from components.core.pruning.soundness import sound
from components.core.training.parameter_groups import layer_name

_UNREADABLE = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""Errors of torch-pruning for a network that it cannot follow."""


class PruningGraph:
    """The dependency graph of one network, and the groups of it that may be pruned."""

    def __init__(self, module: nn.Module, *, inputs: Sequence[InputSpec], output_layers: Sequence[str]) -> None:
        """`inputs`: what the module takes. `output_layers`: those whose outputs are the classes, which are all kept."""
        self.module = module
        self._names = {part: name for name, part in module.named_modules()}
        self._order = {name: number for number, name in enumerate(self._names.values())}
        self._output_layers = set(output_layers)
        self._input_channels = {spec.shape[1] for spec in inputs if len(spec.shape) > 1}
        self._graph: Any = None
        self._groups: dict[str, Any] = {}
        # torch-pruning cannot follow most attention, or follows it for minutes.
        found = mlp_groups(module) if has_attention(module) else []
        if not found:
            found = self._of_graph(inputs)
        self._found = {group.name: group for group in sound(module, found, inputs)}
        self.tied = tuple(group.name for group in found if group.name not in self._found)
        """Layers whose channels look free and are not: a shuffle, a slice or a reshape ties them to others."""

    def _of_graph(self, inputs: Sequence[InputSpec]) -> list[ChannelGroup]:
        try:
            self._read_graph(inputs)
        except _UNREADABLE:
            # torch-pruning stumbles over some networks (ShuffleNet's reshapes): what is plain to see remains.
            return [group for group in chain_groups(self.module) if not self._reads_inputs(group.name)]
        return [self._described(name) for name in sorted(self._groups, key=self._order.__getitem__)]

    def _read_graph(self, inputs: Sequence[InputSpec]) -> None:
        example = tuple(example_tensors(inputs, {BATCH: 2}, next(self.module.parameters()).device))
        # The graph is read from autograd: under no_grad, or with every parameter frozen, there would be none.
        with torch.enable_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._graph = torch_pruning.DependencyGraph().build_dependency(self.module, example_inputs=example)
        self._has_residuals = _has_additions(self._graph)
        for group in self._graph.get_all_groups(ignored_layers=[]):
            makers = {name for name, dimension, _, _ in self._items(group) if self._makes_channels(name, dimension)}
            if makers and self._may_be_pruned(group, makers):
                self._groups[min(makers, key=self._order.__getitem__)] = group

    def groups(self) -> list[ChannelGroup]:
        """The groups that may be pruned, in the order in which the network registers their layers."""
        return list(self._found.values())

    def remove(self, removal: Mapping[str, Sequence[int]]) -> list[Cut]:
        """Removes channels from the network in place, once, and returns the surgery as a record.

        Args:
            removal: group → its channels to remove, as they count in `groups()`.
        """
        cuts = cuts_of(self.module, self.groups(), removal)
        apply_surgery(self.module, cuts)
        return cuts

    def _may_be_pruned(self, group: Any, makers: set[str]) -> bool:
        """Whether the group's channels live inside one block, or only between the last convolution and the head.

        Channels of the residual stream, of the stem and of the projections between blocks are shared by many layers:
        cutting them costs far more accuracy than it saves work. A network without residual additions has no stream,
        and only its stem and what the head reads are kept whole.
        """
        if any(isinstance(dep.target.module, nn.Parameter) for dep, _ in group):
            return False
        names = [name for name, _, _, _ in self._items(group)]
        if not all(_can_be_cut(self.module.get_submodule(name)) for name in names):
            return False
        if any(self._is_in_attention(name) for name in names):
            return False
        if self._output_layers & makers or any(self._reads_inputs(name) for name in makers):
            return False
        if len({layer_name(self.module, name) for name in names}) == 1:
            return True
        readers = [name for name, dimension, _, _ in self._items(group) if dimension == "in"]
        if readers and set(readers) <= self._output_layers:
            return len(makers) == 1
        return not self._has_residuals and not self._output_layers & set(readers)

    def _reads_inputs(self, name: str) -> bool:
        """Whether it is a stem: a convolution with as many input channels as an image has."""
        part = self.module.get_submodule(name)
        return isinstance(part, Convolution) and part.in_channels in self._input_channels

    def _is_in_attention(self, name: str) -> bool:
        """Channels of queries, keys and values are tied to heads, which a dependency graph does not see."""
        path = name.split(".")
        owners = [self.module.get_submodule(".".join(path[:length])) for length in range(1, len(path))]
        return any(is_attention(owner) for owner in owners)

    def _makes_channels(self, name: str, dimension: Dimension) -> bool:
        """Batch norms and depthwise convolutions pass channels on; other layers make them."""
        part = self.module.get_submodule(name)
        return dimension == "out" and not isinstance(part, _BatchNorm) and not is_depthwise(part)

    def _items(self, group: Any) -> Iterator[tuple[str, Dimension, list[int], list[int]]]:
        """Module, dimension, its channels, and the group's channel that each of them goes with."""
        for item in group:
            name = self._names.get(item.dep.target.module)
            if name is not None:
                is_out = self._graph.is_out_channel_pruning_fn(item.dep.handler)
                yield name, "out" if is_out else "in", list(item.idxs), list(item.root_idxs)

    def _described(self, name: str) -> ChannelGroup:
        group = self._groups[name]
        count = len(group[0].idxs)
        members = []
        for module, dimension, indices, roots in self._items(group):
            channels: list[list[int]] = [[] for _ in range(count)]
            for index, root in zip(indices, roots, strict=True):
                channels[root].append(index)
            members.append(Member(module=module, dimension=dimension, channels=tuple(map(tuple, channels))))
        return ChannelGroup(name=name, channels=count, members=tuple(members))


def _can_be_cut(part: nn.Module) -> bool:
    """Whether `architecture.apply_surgery` can cut the layer, and a single group determines its channels."""
    if isinstance(part, Convolution):
        return part.groups == 1 or is_depthwise(part)
    return isinstance(part, _BatchNorm | nn.Linear)


def _has_additions(graph: Any) -> bool:
    return any("AddBackward" in str(node.grad_fn) for node in graph.module2node.values() if node.grad_fn is not None)
