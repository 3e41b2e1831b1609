"""The task's metrics for the house: mIoU first, then pixel accuracy and boundary F1, and the IoU of each class."""

from collections.abc import Sequence

import numpy as np

from components.core.tasks.metric import Group, Metric
from components.core.tasks.segmentation import metrics
from components.core.tasks.segmentation.masks import IGNORED

METRICS = (
    Metric(name="miou", label="mIoU", reduce=metrics.miou),
    Metric(name="pixel_accuracy", label="pixel accuracy", reduce=metrics.pixel_accuracy),
    Metric(name="boundary_f1", label="boundary F1", reduce=metrics.boundary_f1),
)


def class_metric(number: int) -> Metric:
    """The IoU of one class, of the same statistics."""

    def reduce(sums: np.ndarray) -> np.ndarray:
        return np.asarray(metrics.class_iou(sums)[..., number])

    return Metric(name=f"iou_{number}", label="IoU", reduce=reduce)


def statistics(predictions: Sequence[np.ndarray], targets: Sequence[np.ndarray], num_classes: int) -> np.ndarray:
    """One row of `metrics.statistics` per image, `(N, 3·classes + 4)`; masks may differ in size from row to row."""
    rows = [
        metrics.statistics(prediction[None], target[None], classes=num_classes, ignore_index=IGNORED)
        for prediction, target in zip(predictions, targets, strict=True)
    ]
    return np.concatenate(rows) if rows else np.zeros((0, 3 * num_classes + metrics.BOUNDARY_COLUMNS))


def class_groups(classes: Sequence[str]) -> list[Group]:
    """One group per class: the images that show it, by its IoU on them."""
    return [Group(kind="class", name=name, metric=class_metric(number)) for number, name in enumerate(classes)]


def class_rows(targets: Sequence[np.ndarray], num_classes: int) -> np.ndarray:
    """Bool `(N, classes)`: the images whose mask has the class."""
    rows = np.zeros((len(targets), num_classes), dtype=bool)
    for row, target in zip(rows, targets, strict=True):
        present = np.unique(target)
        row[present[present < num_classes]] = True
    return rows
