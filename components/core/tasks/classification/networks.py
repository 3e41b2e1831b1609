"""Classifiers of timm and torchvision: pooled features and one linear layer."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from components.core.data.batch import Batch
from components.core.models.zoo import split_features


def split(module: nn.Module) -> tuple[Callable[..., tuple[Tensor, ...]], nn.Module]:
    """`features(images)` gives `(pooled (N, D),)`; the head is the module's own linear layer."""
    compute, head = split_features(module)
    return (lambda images: (compute(images),)), head


def labelled_vectors(module: nn.Module) -> Callable[[Batch], tuple[Tensor, Tensor, Tensor]]:
    """Pooled features `(N, D)`, labels `(N,)` and rows 0..N−1."""
    compute, _ = split_features(module)
    return lambda batch: (compute(*batch.inputs.values()), batch.targets, torch.arange(len(batch)))
