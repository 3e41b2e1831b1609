"""Builds networks as their architecture records them, whatever the task."""

import torch
from torch import nn

from components.core.models.architecture import Architecture, apply_surgery
from components.core.models.sparsity import hold_zeros
from components.core.tasks import get_task


def build(architecture: Architecture) -> nn.Module:
    """The network with random weights and the surgery applied: exactly the shapes of the pruned one."""
    module = get_task(architecture.task).create_network(architecture)
    apply_surgery(module, architecture.surgery)
    hold_zeros(module, architecture.sparse)
    return module


def fresh_network(architecture: Architecture, *, seed: int) -> nn.Module:
    """The network with random weights, the same for the same seed; the global random state is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        task = get_task(architecture.task)
        module = task.create_network(architecture)
        task.reset_head(module)
    return module
