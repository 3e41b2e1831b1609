"""Pooled features of chosen images."""

from collections.abc import Collection, Iterator, Sequence

import numpy as np
import torch

from components.core.bundles.model_bundle import ModelBundle
from components.core.data.dataset import Dataset
from components.core.models.zoo import split_features
from components.core.training.device import choose_device, place, place_images

_BATCH = 64


def embed(dataset: Dataset, splits: Sequence[str], digests: Collection[str], model: ModelBundle) -> np.ndarray:
    """What the network's head would receive for each image whose digest is in `digests`: `(n, D)` float32.

    Rows are in stored order, split by split. The network runs in eval mode and is given back on the CPU.
    """
    device = choose_device()
    place(model.module.eval(), device)
    features, _ = split_features(model.module)
    found = []
    with torch.inference_mode():
        for images in _batches(dataset, splits, digests, model):
            found.append(features(place_images(torch.from_numpy(np.stack(images)), device)).float().cpu().numpy())
    model.module.to("cpu")
    return np.concatenate(found)


def _batches(
    dataset: Dataset, splits: Sequence[str], digests: Collection[str], model: ModelBundle
) -> Iterator[list[np.ndarray]]:
    images: list[np.ndarray] = []
    for split in splits:
        for row in dataset.iterate(split, columns=("digest", "image")):
            if row["digest"] in digests:
                images.append(model.preprocess(row["image"]))
            if len(images) == _BATCH:
                yield images
                images = []
    if images:
        yield images
