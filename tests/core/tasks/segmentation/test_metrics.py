import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.core.tasks.segmentation.metrics import (
    boundary_counts,
    boundary_f1,
    class_iou,
    confusion_matrix,
    miou,
    pixel_accuracy,
    statistics,
)

IGNORED = 255


@st.composite
def masks(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int]:
    """Predictions and targets of a few small images, with classes that may be absent and pixels that may be ignored."""
    classes = draw(st.integers(1, 5))
    shape = (draw(st.integers(1, 4)), draw(st.integers(1, 7)), draw(st.integers(1, 7)))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    some = rng.choice(classes, size=draw(st.integers(1, classes)), replace=False)
    predictions, targets = rng.choice(some, shape), rng.integers(0, classes, shape)
    targets[rng.random(shape) < draw(st.sampled_from([0, 0.3, 1]))] = IGNORED
    return predictions.astype(np.uint8), targets.astype(np.uint8), classes


def naive_ious(predictions: np.ndarray, targets: np.ndarray, classes: int) -> list[float]:
    pairs = [(p, t) for p, t in zip(predictions.ravel(), targets.ravel(), strict=True) if t != IGNORED]
    ious = []
    for c in range(classes):
        both = sum(1 for p, t in pairs if p == c and t == c)
        either = sum(1 for p, t in pairs if p == c or t == c)
        ious.append(both / either if either else math.nan)
    return ious


@settings(deadline=None)
@given(masks())
def test_miou_equals_a_naive_count_over_all_pixels(drawn: tuple[np.ndarray, np.ndarray, int]) -> None:
    predictions, targets, classes = drawn
    sums = statistics(predictions, targets, classes=classes).sum(axis=0)
    ious = naive_ious(predictions, targets, classes)
    np.testing.assert_allclose(class_iou(sums), ious)
    present = [iou for iou in ious if not math.isnan(iou)]
    np.testing.assert_allclose(miou(sums), sum(present) / len(present) if present else math.nan)
    counted = targets != IGNORED
    right = (predictions == targets)[counted]
    np.testing.assert_allclose(pixel_accuracy(sums), right.mean() if right.size else math.nan)


@settings(deadline=None)
@given(masks())
def test_confusion_matrices_of_images_add_up_to_a_count_by_pairs(drawn: tuple[np.ndarray, np.ndarray, int]) -> None:
    predictions, targets, classes = drawn
    expected = np.zeros((classes, classes), dtype=np.int64)
    for p, t in zip(predictions.ravel(), targets.ravel(), strict=True):
        if t != IGNORED:
            expected[t, p] += 1
    parts = [confusion_matrix(p, t, classes=classes) for p, t in zip(predictions, targets, strict=True)]
    np.testing.assert_array_equal(sum(parts), expected)


def naive_boundary(mask: np.ndarray, counted: np.ndarray) -> set[tuple[int, int]]:
    height, width = mask.shape
    return {
        (y, x)
        for y in range(height)
        for x in range(width)
        for v, u in ((y + 1, x), (y, x + 1))
        if v < height and u < width and counted[y, x] and counted[v, u] and mask[y, x] != mask[v, u]
    }


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([(6, 9), (1, 5), (30, 40), (9, 400)]), st.booleans())
def test_boundary_counts_equal_a_search_over_pairs(seed: int, shape: tuple[int, int], with_ignored: bool) -> None:
    rng = np.random.default_rng(seed)
    prediction, target = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    for mask in (prediction, target):
        top, left = rng.integers(0, shape[0]), rng.integers(0, shape[1])
        mask[top : top + rng.integers(1, 8), left : left + rng.integers(1, 8)] = rng.integers(1, 3)
    if with_ignored:
        target[rng.random(shape) < 0.1] = IGNORED
    counted = target != IGNORED
    radius = max(1.0, 0.0075 * math.hypot(*shape))
    predicted, true = naive_boundary(prediction, counted), naive_boundary(target, counted)

    def matched(points: set[tuple[int, int]], others: set[tuple[int, int]]) -> int:
        return sum(1 for p in points if any(math.dist(p, other) <= radius for other in others))

    expected = (matched(predicted, true), len(predicted), matched(true, predicted), len(true))
    assert boundary_counts(prediction, target) == expected


def test_boundary_f1_is_the_harmonic_mean_and_says_when_there_is_nothing_to_match() -> None:
    sums = np.zeros((4, 3 + 4))
    sums[0, -4:] = 3, 4, 1, 2
    sums[1, -4:] = 0, 4, 0, 0
    sums[2, -4:] = 0, 5, 0, 5
    scores = boundary_f1(sums)
    assert scores[0] == pytest.approx(2 * 0.75 * 0.5 / 1.25)
    assert scores[1] == scores[2] == 0
    assert math.isnan(scores[3])


def test_figures_of_a_bootstrap_equal_the_figures_one_by_one() -> None:
    rng = np.random.default_rng(0)
    rows = statistics(rng.integers(0, 4, (9, 8, 8)), rng.integers(0, 4, (9, 8, 8)), classes=4)
    sums = np.stack([rows[rng.integers(0, 9, 9)].sum(axis=0) for _ in range(6)])
    sums[0, :12] = 0
    for figure in (miou, pixel_accuracy, boundary_f1, class_iou):
        together = figure(sums.reshape(2, 3, -1))
        np.testing.assert_array_equal(together.reshape(6, -1), [np.atleast_1d(figure(row)) for row in sums])


def test_values_outside_of_the_classes_and_other_shapes_are_refused() -> None:
    good = np.zeros((1, 2, 2), np.uint8)
    with pytest.raises(ValueError, match=r"prediction must be in 0\.\.2, got 0\.\.3"):
        statistics(np.array([[[0, 3], [0, 0]]]), good, classes=3)
    with pytest.raises(ValueError, match="target must be in"):
        statistics(good, good + 7, classes=3)
    with pytest.raises(ValueError, match="shape"):
        confusion_matrix(good, good[:, :1], classes=3)


def test_memory_of_the_statistics_does_not_grow_with_the_pixels_of_all_images() -> None:
    rng = np.random.default_rng(0)
    predictions, targets = (rng.integers(0, 5, (64, 96, 96), dtype=np.uint8) for _ in range(2))
    peaks = []
    for count in (4, 64):
        tracemalloc.start()
        statistics(predictions[:count], targets[:count], classes=5)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 64 * 19 * 8 + 10_000
