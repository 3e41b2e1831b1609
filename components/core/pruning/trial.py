"""Tries a network before anything is trained: whether it takes its images, and whether it can be pruned."""

import copy
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from components.core.errors import UserError
from components.core.models.complexity import example_tensors
from components.core.models.inputs import BATCH, InputSpec
from components.core.pruning.costs import layer_costs
from components.core.pruning.groups import PruningGraph
from components.core.pruning.member import ChannelGroup, Convolution, is_depthwise
from components.core.pruning.plan import MAX_RATIO, block_sizes, total_macs

LEAST_PRUNED = 0.05
"""Share of the multiply-accumulates that pruning must at least be able to remove."""

_ROWS = 2


class UnprunableError(UserError):
    """A network has next to no channels that can be pruned."""


def check_network(
    module: nn.Module,
    inputs: Sequence[InputSpec],
    *,
    called: str,
    output_layers: Sequence[str],
    prunes: bool,
    round_to: int = 1,
) -> None:
    """Runs the network once as it is trained and, if it is to be pruned, looks for channels that can go.

    Args:
        module: the network; it is left alone.
        inputs: what it takes.
        called: what messages call it.
        output_layers: those whose outputs are the classes.
        prunes: whether any recipe removes channels.
        round_to: as for pruning.

    Raises:
        UserError: it cannot take such inputs, or gives something else than logits while it trains; names the layer.
        UnprunableError: it has next to no channels that can be pruned; names the layer.
    """
    trial = copy.deepcopy(module).cpu().train()
    given = example_tensors(inputs, {BATCH: _ROWS}, torch.device("cpu"))
    sizes = ", ".join("×".join(map(str, one.shape[1:])) for one in given)
    with _naming_the_layer(trial, f"{called} cannot take inputs of {sizes}"), torch.no_grad():
        outputs = trial(*given)
    if not isinstance(outputs, torch.Tensor):
        raise UserError(f"in training mode {called} gives a {type(outputs).__name__} instead of one tensor of logits")
    if prunes:
        _check_pruning(trial.eval(), inputs, called, output_layers, round_to)


def _check_pruning(
    module: nn.Module, inputs: Sequence[InputSpec], called: str, output_layers: Sequence[str], round_to: int
) -> None:
    module.requires_grad_(True)
    graph = PruningGraph(module, inputs=inputs, output_layers=output_layers)
    groups = graph.groups()
    layers = layer_costs(module, groups, inputs=inputs)
    most = {group.name: sum(block_sizes(group.channels, round_to=round_to, max_ratio=MAX_RATIO)) for group in groups}
    removable = 1 - total_macs(layers, most) / total_macs(layers, {})
    if removable < LEAST_PRUNED:
        why = _obstacle(module, groups, graph.tied, round_to)
        raise UnprunableError(
            f"{called} cannot be pruned: at most {removable:.0%} of its multiply-accumulates can be removed "
            f"({why}); prune_targets=1 quantizes it without pruning"
        )


def _obstacle(module: nn.Module, groups: Sequence[ChannelGroup], tied: Sequence[str], round_to: int) -> str:
    for name, part in module.named_modules():
        if isinstance(part, Convolution) and part.groups > 1 and not is_depthwise(part):
            return f"{name!r} is a convolution in {part.groups} groups, which keep their channels"
    if tied:
        return f"the channels of {tied[0]!r} are shuffled or sliced behind it"
    free = {group.name for group in groups}
    layers = [name for name, part in module.named_modules() if isinstance(part, Convolution) and name not in free]
    # The first is the stem, which stays in any network.
    shared = f"those of {layers[1]!r} are shared with other layers" if len(layers) > 1 else "all are shared"
    return f"the channels are too few for round_to {round_to}, or tied: {shared}"


def _leave(inside: list[str]) -> None:
    inside.pop()


@contextmanager
def _naming_the_layer(module: nn.Module, problem: str) -> Iterator[None]:
    """Turns what a layer raises into one line that names the layer."""
    inside: list[str] = []
    handles = []
    for name, part in module.named_modules():
        handles.append(part.register_forward_pre_hook(lambda _, __, name=name: inside.append(name)))
        handles.append(part.register_forward_hook(lambda *_: _leave(inside)))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (RuntimeError, AssertionError, ValueError, IndexError, TypeError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        where = f"in layer {inside[-1]!r}: " if inside and inside[-1] else ""
        raise UserError(f"{problem}: {where}{reason}") from None
    finally:
        for handle in handles:
            handle.remove()
