"""Details of a segmentation's evaluation against counts over all pixels in a loop."""

from itertools import product

import numpy as np
import pytest

from components.core.data.batch import Batch
from components.core.tasks.segmentation import figures
from components.core.tasks.segmentation.details import SegmentationDetails
from components.core.tasks.segmentation.masks import IGNORED

CLASSES = ["background", "shoe", "bag", "never"]


def masks(seed: int, count: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Predictions and truths of several sizes; some pixels are ignored, the last class is nowhere."""
    rng = np.random.default_rng(seed)
    sizes = [(int(rng.integers(4, 9)), int(rng.integers(4, 9))) for _ in range(count)]
    truths = [rng.choice([0, 0, 1, 2, IGNORED], size).astype(np.uint8) for size in sizes]
    wrong = [rng.integers(0, 3, size, dtype=np.uint8) for size in sizes]
    predictions = [
        np.where((rng.random(truth.shape) < 0.7) & (truth != IGNORED), truth, other).astype(np.uint8)
        for truth, other in zip(truths, wrong, strict=True)
    ]
    return predictions, truths


def collected(predictions, truths, *sizes: int) -> dict:
    details, start = SegmentationDetails(CLASSES), 0
    for size in sizes:
        rows = slice(start, start + size)
        details.add({}, predictions[rows], Batch(inputs={}, targets=truths[rows], digests=[""] * size))
        start += size
    return details.finish()


def test_confusions_and_iou_are_those_of_a_loop_over_all_pixels():
    predictions, truths = masks(0, 6)
    matrix = np.zeros((4, 4), int)
    for prediction, truth in zip(predictions, truths, strict=True):
        for row, column in product(*map(range, truth.shape)):
            if truth[row, column] != IGNORED:
                matrix[truth[row, column], prediction[row, column]] += 1
    found = collected(predictions, truths, 6)
    assert found["confusion"] == matrix.tolist()
    for number, entry in enumerate(found["per_class"][:3]):
        union = matrix[number].sum() + matrix[:, number].sum() - matrix[number, number]
        assert entry["iou"] == pytest.approx(matrix[number, number] / union)
        assert entry["recall"] == pytest.approx(matrix[number, number] / matrix[number].sum())
        assert (entry["pixels"], entry["predicted"]) == (matrix[number].sum(), matrix[:, number].sum())
        assert entry["images"] == sum((truth == number).any() for truth in truths)
    assert found["per_class"][3] == {
        "class": "never", "images": 0, "pixels": 0, "predicted": 0, "iou": None, "recall": None,
    }  # fmt: skip


def test_details_of_batches_are_those_of_all_images_at_once():
    predictions, truths = masks(1, 7)
    assert collected(predictions, truths, 3, 0, 4) == collected(predictions, truths, 7)


def test_the_mean_of_the_classes_is_the_tasks_metric():
    predictions, truths = masks(2, 5)
    found = collected(predictions, truths, 5)
    known = [entry["iou"] for entry in found["per_class"] if entry["iou"] is not None]
    statistics = figures.statistics(predictions, truths, 4)
    assert figures.METRICS[0].value(statistics) == pytest.approx(np.mean(known))
    groups = figures.class_groups(CLASSES)
    assert [(group.kind, group.name) for group in groups] == [("class", name) for name in CLASSES]
    for group, entry in zip(groups[:3], found["per_class"], strict=False):
        assert group.metric.value(statistics) == pytest.approx(entry["iou"])


def test_an_image_belongs_to_the_groups_of_the_classes_that_its_mask_shows():
    truths = [np.array([[0, 2]], np.uint8), np.array([[IGNORED, IGNORED]], np.uint8), np.array([[1]], np.uint8)]
    np.testing.assert_array_equal(
        figures.class_rows(truths, 3), [[True, False, True], [False] * 3, [False, True, False]]
    )
