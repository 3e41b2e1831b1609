"""Run an ONNX bundle over a split and keep what the figures need."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from components.core.bundles.onnx_bundle import OnnxBundle
from components.core.data.reading import read_batches
from components.core.errors import UserError
from components.core.runtime.released import softmax
from components.core.runtime.sessions import open_session

if TYPE_CHECKING:
    from components.core.data.dataset import Dataset

BATCH = 32
SPLITS = ("validation", "test")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Predictions of one model on a split, in stored order; N rows.

    `labels` and `predictions` are class indices `(N,)`, `probabilities` `(N, classes)` float64, `correct` 0/1 `(N,)`.
    """

    labels: np.ndarray
    predictions: np.ndarray
    probabilities: np.ndarray
    digests: list[str]

    @property
    def correct(self) -> np.ndarray:
        return (self.labels == self.predictions).astype(np.float64)

    @property
    def top1(self) -> float:
        return float(self.correct.mean())


def check_split(dataset: "Dataset", split: str) -> None:
    """UserError unless `split` is one that a model may be judged on, and has rows."""
    if split == "train":
        raise UserError("a model is not evaluated on the images it was trained on; split: validation or test")
    if split not in SPLITS:
        raise UserError(f"unknown split {split!r}; available: {', '.join(SPLITS)}")
    if not dataset.rows(split):
        raise UserError(f"the {split} split is empty; give data_prep a larger {split}_fraction or more images")


def run_split(bundle: OnnxBundle, dataset: "Dataset", split: str, *, threads: int) -> Outcome:
    """Every row of the split through the file, with the bundle's own preprocessing.

    Raises:
        UserError: the bundle's labels are not the dataset's classes.
    """
    task = bundle.task
    task.check_classes(dataset, bundle.assets)
    sessions = {name: open_session(path, threads=threads) for name, path in bundle.graphs.items()}
    labels, logits, digests = [], [], []
    transform = task.transform(bundle.assets, full_size=True)
    for batch in read_batches(dataset, split, transform, batch_size=BATCH):
        logits.append(task.run(sessions, batch, bundle.assets)["logits"])
        labels.append(batch.targets)
        digests.extend(batch.digests)
    scores = np.concatenate(logits)
    return Outcome(
        labels=np.concatenate(labels),
        predictions=scores.argmax(axis=1),
        probabilities=softmax(scores),
        digests=digests,
    )
