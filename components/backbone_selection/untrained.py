"""Compares networks by their metric and loss on training rows before any training, for tasks without classes."""

from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np

from components.core.bundles.model_bundle import ModelBundle
from components.core.data.reading import read_batches
from components.core.tasks.metric import Metric
from components.core.training.data import as_tensors
from components.core.training.device import choose_device
from components.core.training.validation import validate

if TYPE_CHECKING:
    from components.core.data.dataset import Dataset

MOST_ROWS = 200
"""Rows that are predicted: a network without weights may take long for nonsense, and 200 tell networks apart."""
BATCH_SIZE = 32


def untrained_scores(bundle: ModelBundle, dataset: "Dataset", *, rows: int) -> tuple[int, dict[str, float]]:
    """`untrained`, the task's primary metric on training rows, its standard error, and `untrained_loss`.

    The error is the jackknife's over rows. The loss is the mean over what counts; networks with other vocabularies
    count other pieces, so it decides between equal metrics only. Gives how many rows were looked at, at most `rows`.
    """
    task, number = bundle.task, min(rows, MOST_ROWS, dataset.rows("train"))
    module = bundle.module.to(choose_device()).eval()
    transform = task.transform(bundle.assets, full_size=True)
    parts = []
    with closing(read_batches(dataset, "train", transform, batch_size=BATCH_SIZE, limit=number)) as batches:
        for batch in batches:
            predictions = task.reference(module, batch, bundle.assets)
            parts.append(task.statistics(predictions, batch, len(dataset.classes)))
    statistics = np.concatenate(parts)
    read = read_batches(dataset, "train", task.transform(bundle.assets), batch_size=BATCH_SIZE, limit=number)
    loss = validate(
        module, as_tensors(read), task=task, num_classes=len(dataset.classes), device=choose_device()
    ).loss  # fmt: skip
    module.to("cpu")
    metric = task.metrics[0]
    return number, {
        "untrained": metric.value(statistics),
        "untrained_error": standard_error(metric, statistics),
        "untrained_loss": loss,
    }


def standard_error(metric: Metric, statistics: np.ndarray) -> float:
    """The jackknife's, `√((n − 1)/n · Σ (θ₋ᵢ − mean)²)` over rows `(n, K)`; 0 for fewer than two.

    Efron and Tibshirani 1993, chapter 11.
    """
    rows = len(statistics)
    if rows < 2:
        return 0.0
    without = metric.reduce(statistics.sum(axis=0) - statistics)
    return float(np.sqrt((rows - 1) / rows * ((without - without.mean()) ** 2).sum()))
