"""Run an ONNX bundle over a split and keep what the figures need."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from components.core.bundles.onnx_bundle import OnnxBundle
from components.core.errors import UserError
from components.core.runtime.released import softmax
from components.core.runtime.sessions import open_session
from components.core.tasks import get_task

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
    if bundle.labels != dataset.classes:
        raise UserError(
            f"the model knows the classes {_some(bundle.labels)}, the dataset has {_some(dataset.classes)}; "
            "train and evaluate on the same classes"
        )
    session = open_session(bundle.model, threads=threads)
    labels, logits, digests = [], [], []
    for batch in get_task(dataset.task).arrays(dataset, split, bundle.preprocess, batch_size=BATCH):
        logits.append(session.run(["logits"], {"images": batch.images})[0])
        labels.append(batch.targets)
        digests.extend(batch.digests)
    scores = np.concatenate(logits)
    return Outcome(
        labels=np.concatenate(labels),
        predictions=scores.argmax(axis=1),
        probabilities=softmax(scores),
        digests=digests,
    )


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:5])
    return f"{shown}, … ({len(names)})" if len(names) > 5 else shown
