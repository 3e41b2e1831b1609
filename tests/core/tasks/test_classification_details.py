"""Golden numerics of a classifier's details: each against its definition or scikit-learn's."""

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix as reference_confusion
from sklearn.metrics import precision_recall_fscore_support

from components.core.data.batch import Batch
from components.core.tasks.classification.details import (
    CalibrationBins,
    ClassificationDetails,
    class_scores,
    confusion_matrix,
)


def error(probabilities: np.ndarray, labels: np.ndarray, bins: int = 15) -> float:
    collected = CalibrationBins(bins)
    collected.add(probabilities, labels)
    return collected.error


def test_class_scores_and_confusions_equal_scikit_learns():
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 4, 300)
    predictions = np.where(rng.random(300) < 0.7, labels, rng.integers(0, 3, 300))
    labels[labels == 3] = 2
    confusion = confusion_matrix(labels, predictions, 5)
    np.testing.assert_array_equal(confusion, reference_confusion(labels, predictions, labels=range(5)))
    expected = precision_recall_fscore_support(labels, predictions, labels=range(5), zero_division=0.0)
    found = [(score.precision, score.recall, score.f1, score.support) for score in class_scores(confusion)]
    np.testing.assert_allclose(found, np.array(expected).T)


def test_calibration_error_is_the_weighted_gap_of_the_bins():
    probabilities = np.array([[0.95, 0.05], [0.95, 0.05], [0.4, 0.6], [0.4, 0.6], [0.4, 0.6]])
    labels = np.array([0, 1, 1, 1, 0])
    by_hand = 2 / 5 * abs(1 / 2 - 0.95) + 3 / 5 * abs(2 / 3 - 0.6)
    assert error(probabilities, labels) == pytest.approx(by_hand)
    sure = np.eye(3)[[0, 1, 2]]
    assert error(sure, np.array([0, 1, 2])) == 0.0
    assert error(sure, np.array([1, 2, 0])) == 1.0


def test_a_confidence_on_a_border_belongs_to_the_lower_bin():
    # With 2 bins, 0.5 and 0.4 share the first: their gaps cancel.
    probabilities = np.array([[0.5, 0.3, 0.2], [0.4, 0.3, 0.3]])
    assert error(probabilities, np.array([0, 1]), bins=2) == pytest.approx(abs(1 - 0.9) / 2)


def test_details_of_batches_are_those_of_all_rows_at_once():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(50, 3)).astype(np.float32), rng.integers(0, 3, 50)

    def collected(*sizes: int) -> dict:
        details, start = ClassificationDetails(["a", "b", "c"]), 0
        for size in sizes:
            rows = slice(start, start + size)
            batch = Batch(inputs={}, targets=labels[rows], digests=[""] * size)
            details.add({"logits": logits[rows]}, logits[rows].argmax(axis=1), batch)
            start += size
        return details.finish()

    whole, parts = collected(50), collected(7, 0, 30, 13)
    assert parts["confusion"] == whole["confusion"]
    assert parts["per_class"] == whole["per_class"]
    assert parts["expected_calibration_error"] == pytest.approx(whole["expected_calibration_error"])
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert whole["expected_calibration_error"] == pytest.approx(error(softmax, labels), abs=1e-6)
    assert whole["per_class"][1]["support"] == int((labels == 1).sum())
