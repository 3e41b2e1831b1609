"""What is noted of one classifier while it is evaluated: confusions, scores of each class, calibration."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from components.core.data.batch import Batch
from components.core.tasks.classification.serving import OUTPUT, softmax

CALIBRATION_BINS = 15


@dataclass(frozen=True, kw_only=True)
class ClassScore:
    """One class: `support` rows have it; precision, recall and F1 in 0..1, and 0 where they are 0/0."""

    support: int
    precision: float
    recall: float
    f1: float


class ClassificationDetails:
    """Confusions and calibration, batch by batch; memory is that of the confusion matrix."""

    def __init__(self, classes: Sequence[str]) -> None:
        self._classes = list(classes)
        self._confusion = np.zeros((len(classes), len(classes)), dtype=np.int64)
        self._calibration = CalibrationBins()

    def add(self, outputs: Mapping[str, np.ndarray], predictions: np.ndarray, batch: Batch) -> None:
        """One batch: logits `(N, classes)`, predicted classes `(N,)`, labels `(N,)`."""
        labels = np.asarray(batch.targets)
        self._confusion += confusion_matrix(labels, predictions, len(self._classes))
        self._calibration.add(softmax(outputs[OUTPUT]), labels)

    def finish(self) -> dict[str, Any]:
        """`per_class`, `confusion` `[true][predicted]`, `expected_calibration_error`."""
        scores = class_scores(self._confusion)
        return {
            "per_class": [{"class": name, **asdict(score)} for name, score in zip(self._classes, scores, strict=True)],
            "confusion": self._confusion.tolist(),
            "expected_calibration_error": self._calibration.error,
        }


class CalibrationBins:
    """Expected calibration error, accumulated: Σ_b (n_b / N)·|accuracy_b − confidence_b|.

    Over `bins` equal bins (i/bins, (i+1)/bins] of the largest probability. 0 is perfect; 0.1 means that the stated
    confidence is wrong by ten points on average (Guo et al. 2017, arXiv:1706.04599).
    """

    def __init__(self, bins: int = CALIBRATION_BINS) -> None:
        self._gaps = np.zeros(bins)
        self._rows = 0

    def add(self, probabilities: np.ndarray, labels: np.ndarray) -> None:
        """Rows with probabilities `(N, classes)`, each summing to 1, and labels `(N,)`."""
        bins = len(self._gaps)
        confidence = probabilities.max(axis=1)
        right = probabilities.argmax(axis=1) == labels
        place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
        self._gaps += np.bincount(place, weights=right - confidence, minlength=bins)
        self._rows += len(labels)

    @property
    def error(self) -> float:
        """Of all rows so far; 0 without any."""
        return float(np.abs(self._gaps).sum() / max(1, self._rows))


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
