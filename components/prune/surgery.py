"""Proves that the record of a pruning rebuilds the same network."""

from collections.abc import Sequence

import torch
from torch import nn

from components.core.models.architecture import Architecture
from components.core.models.complexity import example_tensors
from components.core.models.inputs import BATCH, InputSpec
from components.core.tasks.networks import build


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
