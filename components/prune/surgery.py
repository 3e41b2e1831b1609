"""Carries a plan out, records it, and proves that the record rebuilds the same network."""

from collections.abc import Mapping, Sequence

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from components.core.models.architecture import Architecture, Cut, Dimension
from components.core.models.complexity import example_tensors
from components.core.models.inputs import BATCH, InputSpec
from components.core.pruning.groups import PruningGraph
from components.core.tasks.networks import build


def prune_channels(graph: PruningGraph, removal: Mapping[str, list[int]]) -> list[Cut]:
    """Removes the channels from the graph's network in place; returns the surgery as a record.

    removal: group → its channels to remove. The cuts stand in the order of the removals and count channels as the cuts
    before them left the network, as `architecture.apply_surgery` reads them.
    """
    cuts: list[Cut] = []
    for name, channels in removal.items():
        if not channels:
            continue
        widths = _widths(graph.module)
        gone = graph.remove(name, channels)
        for (module, dimension), indices in gone.items():
            total = widths[module, dimension]
            lost = set(indices)
            kept = tuple(channel for channel in range(total) if channel not in lost)
            cuts.append(Cut(module=module, dimension=dimension, kept=kept, total=total))
    return cuts


@torch.no_grad()
def check_record(pruned: nn.Module, architecture: Architecture, *, inputs: Sequence[InputSpec]) -> None:
    """Asserts that the architecture, rebuilt from its record and given the weights, computes what the network computes.

    The difference may be rounding only: 1e-4 of the largest output, on two random rows.
    """
    rebuilt = build(architecture)
    rebuilt.load_state_dict(pruned.state_dict(), strict=True)
    given = example_tensors(inputs, {BATCH: 2}, torch.device("cpu"))
    expected, actual = pruned.eval()(*given), rebuilt.eval()(*given)
    difference = float((expected - actual).abs().max())
    assert difference <= 1e-4 * max(float(expected.abs().max()), 1.0), f"the recorded surgery differs by {difference}"


def _widths(module: nn.Module) -> dict[tuple[str, Dimension], int]:
    """Channels of both dimensions of every layer that has channels, as they are now."""
    widths: dict[tuple[str, Dimension], int] = {}
    for name, part in module.named_modules():
        if isinstance(part, nn.Conv1d | nn.Conv2d | nn.Conv3d):
            widths[name, "out"], widths[name, "in"] = part.out_channels, part.in_channels
        elif isinstance(part, _BatchNorm):
            widths[name, "out"] = widths[name, "in"] = part.num_features
        elif isinstance(part, nn.Linear):
            widths[name, "out"], widths[name, "in"] = part.out_features, part.in_features
    return widths
