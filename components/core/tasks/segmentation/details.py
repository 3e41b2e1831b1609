"""Details of one segmentation network's evaluation: confusions over pixels, the IoU of each class."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from components.core.data.batch import Batch
from components.core.tasks.segmentation.masks import IGNORED
from components.core.tasks.segmentation.metrics import confusion_matrix


class SegmentationDetails:
    """One confusion matrix over all pixels, image by image; memory is that of the matrix."""

    def __init__(self, classes: Sequence[str]) -> None:
        self._classes = list(classes)
        self._confusion = np.zeros((len(classes), len(classes)), dtype=np.int64)
        self._images = np.zeros(len(classes), dtype=np.int64)
        self._called = self._calls = 0

    def add(self, outputs: Mapping[str, Any], predictions: Sequence[np.ndarray], batch: Batch) -> None:
        """One batch: predicted and true masks uint8 `(H, W)` of each image; `IGNORED` in the truth counts nowhere."""
        for prediction, target in zip(predictions, batch.targets, strict=True):
            matrix = confusion_matrix(prediction, np.asarray(target), classes=len(self._classes), ignore_index=IGNORED)
            self._confusion += matrix
            self._images += matrix.sum(axis=1) > 0
        # Only of images that are not resized, which may take several.
        calls = outputs.get("calls", ())
        self._called, self._calls = self._called + len(calls), self._calls + int(sum(calls))

    def finish(self) -> dict[str, Any]:
        """`per_class` (images and pixels of it, pixels predicted, IoU, recall; None without such a pixel), `confusion`.

        The matrix is of pixels, `[true][predicted]`. `calls_per_image` is there if images were not resized.
        """
        right = np.diagonal(self._confusion)
        true, predicted = self._confusion.sum(axis=1), self._confusion.sum(axis=0)
        union = true + predicted - right
        return {
            "per_class": [
                {
                    "class": name,
                    "images": int(self._images[number]),
                    "pixels": int(true[number]),
                    "predicted": int(predicted[number]),
                    "iou": _ratio(right[number], union[number]),
                    "recall": _ratio(right[number], true[number]),
                }
                for number, name in enumerate(self._classes)
            ],
            "confusion": self._confusion.tolist(),
            **({"calls_per_image": round(self._calls / self._called, 2)} if self._called else {}),
        }


def _ratio(part: float, whole: float) -> float | None:
    value = float(part) / float(whole) if whole else math.nan
    return value if math.isfinite(value) else None
