"""One vector per chosen row: what drift compares."""

from collections.abc import Collection, Generator, Sequence

import numpy as np
import torch

from components.core.bundles.model_bundle import ModelBundle
from components.core.data.batch import Batch, Example, Transform
from components.core.data.dataset import Dataset
from components.core.training.data import as_tensors
from components.core.training.device import choose_device, place, place_batch

_BATCH = 64


def embed(
    dataset: Dataset, splits: Sequence[str], digests: Collection[str], model: ModelBundle
) -> tuple[np.ndarray, list[str]]:
    """The task's embedding of each row whose digest is in `digests`, `(n, D)` float32, and the n digests.

    Rows are in stored order, split by split. The network runs in eval mode and is given back on the CPU.
    """
    device = choose_device()
    place(model.module.eval(), device)
    compute = model.task.embeddings(model.module)
    transform = model.task.transform(model.assets)
    found, names = [], []
    with torch.inference_mode():
        for batch in as_tensors(_batches(dataset, splits, digests, transform)):
            found.append(compute(*place_batch(batch, device).inputs.values()).float().cpu().numpy())
            names.extend(batch.digests)
    model.module.to("cpu")
    return np.concatenate(found), names


def _batches(
    dataset: Dataset, splits: Sequence[str], digests: Collection[str], transform: Transform
) -> Generator[Batch]:
    examples: list[Example] = []
    names: list[str] = []
    for split in splits:
        for row in dataset.iterate(split, columns=("digest", *transform.columns)):
            if row["digest"] in digests:
                examples.append(transform.decode(row))
                names.append(row["digest"])
            if len(examples) == _BATCH:
                yield transform.collate(examples, names, None)
                examples, names = [], []
    if examples:
        yield transform.collate(examples, names, None)
