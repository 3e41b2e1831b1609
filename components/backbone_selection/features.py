"""Frozen pooled features of training images."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import nn

from components.core.models.zoo import split_features
from components.core.training.device import choose_device, place, place_images

BATCH_SIZE = 64


def pooled_features(
    module: nn.Module, batches: Iterable[tuple[torch.Tensor, torch.Tensor, list[str]]]
) -> tuple[np.ndarray, np.ndarray]:
    """What the head of `module` would receive, for every image: `(n, D)` float32 and labels `(n,)` int64.

    The network runs in eval mode and is given back in eval mode on the CPU. Raises ValueError when there is no batch.
    """
    device = choose_device()
    place(module.eval(), device)
    features, _ = split_features(module)
    rows, labels = [], []
    with torch.inference_mode():
        for images, targets, _ in batches:
            rows.append(features(place_images(images, device)).float().cpu().numpy())
            labels.append(targets.numpy())
    module.to("cpu")
    if not rows:
        raise ValueError("there are no images to compute features of")
    return np.concatenate(rows), np.concatenate(labels).astype(np.int64)
