"""Details of one classifier's evaluation: confusions, scores of each class, calibration."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from components.core.data.batch import Batch
from components.core.evaluation.calibration import calibration_error
from components.core.tasks.classification.serving import OUTPUT
from components.core.tasks.images.assets import softmax


@dataclass(frozen=True, kw_only=True)
class ClassScore:
    """One class: `support` rows have it; precision, recall and F1 in 0..1, and 0 where they are 0/0."""

    support: int
    precision: float
    recall: float
    f1: float


class ClassificationDetails:
    """Confusions and calibration, batch by batch; memory is that of the confusion matrix, and 9 or 17 bytes per row.

    `temperature`: of the release; then calibration is noted with it and without.
    """

    def __init__(self, classes: Sequence[str], *, temperature: float | None = None) -> None:
        self._classes = list(classes)
        self._temperature = temperature
        self._unscaled: list[np.ndarray] = []
        self._confusion = np.zeros((len(classes), len(classes)), dtype=np.int64)
        self._confidence: list[np.ndarray] = []
        self._right: list[np.ndarray] = []

    def add(self, outputs: Mapping[str, np.ndarray], predictions: np.ndarray, batch: Batch) -> None:
        """One batch: logits `(N, classes)`, predicted classes `(N,)`, labels `(N,)`."""
        labels = np.asarray(batch.targets)
        self._confusion += confusion_matrix(labels, predictions, len(self._classes))
        self._confidence.append(softmax(outputs[OUTPUT], self._temperature).max(axis=1))
        if self._temperature is not None:
            self._unscaled.append(softmax(outputs[OUTPUT]).max(axis=1))
        self._right.append(predictions == labels)

    def finish(self) -> dict[str, Any]:
        """`per_class`, `confusion` `[true][predicted]`, `calibration` (`CalibrationError`).

        With a temperature also `temperature`, and `calibration_unscaled` of the logits as the network gives them.
        """
        scores, right = class_scores(self._confusion), _joined(self._right)
        scaling: dict[str, Any] = {}
        if self._temperature is not None:
            scaling["temperature"] = self._temperature
            scaling["calibration_unscaled"] = asdict(calibration_error(_joined(self._unscaled), right))
        return {
            **scaling,
            "per_class": [{"class": name, **asdict(score)} for name, score in zip(self._classes, scores, strict=True)],
            "confusion": self._confusion.tolist(),
            "calibration": asdict(calibration_error(_joined(self._confidence), right)),
        }


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros(0)


def confusion_matrix(labels: np.ndarray, predictions: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts `[true, predicted]`, int64 `(num_classes, num_classes)`."""
    cells = np.bincount(labels * num_classes + predictions, minlength=num_classes * num_classes)
    return cells.reshape(num_classes, num_classes)


def class_scores(confusion: np.ndarray) -> list[ClassScore]:
    """Precision, recall and F1 of every class, from counts `[true, predicted]`."""
    right = np.diag(confusion).astype(np.float64)
    support, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    precision, recall = _ratio(right, predicted), _ratio(right, support)
    f1 = _ratio(2 * right, support + predicted)
    return [
        ClassScore(support=int(rows), precision=float(p), recall=float(r), f1=float(f))
        for rows, p, r, f in zip(support, precision, recall, f1, strict=True)
    ]


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)
