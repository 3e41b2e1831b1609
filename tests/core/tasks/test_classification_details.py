"""Golden numerics of a classifier's details: each against its definition or scikit-learn's."""

from dataclasses import asdict

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix as reference_confusion
from sklearn.metrics import precision_recall_fscore_support

from components.core.data.batch import Batch
from components.core.evaluation.calibration import calibration_error
from components.core.tasks.classification.details import (
    ClassificationDetails,
    class_scores,
    confusion_matrix,
)


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
    assert parts["calibration"] == pytest.approx(whole["calibration"])
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = calibration_error(softmax.max(axis=1), logits.argmax(axis=1) == labels)
    assert whole["calibration"] == pytest.approx(asdict(expected), abs=1e-5)
    assert whole["per_class"][1]["support"] == int((labels == 1).sum())


def test_with_a_temperature_the_error_is_told_before_and_after():
    rng = np.random.default_rng(1)
    honest = rng.normal(size=(400, 3))
    chances = np.exp(honest) / np.exp(honest).sum(axis=1, keepdims=True)
    labels = (chances.cumsum(axis=1) < rng.random((400, 1))).sum(axis=1)
    logits = (5 * honest).astype(np.float32)
    batch = Batch(inputs={}, targets=labels, digests=[""] * 400)
    found = []
    for temperature in (None, 5.0):
        details = ClassificationDetails(["a", "b", "c"], temperature=temperature)
        details.add({"logits": logits}, logits.argmax(axis=1), batch)
        found.append(details.finish())
    before, after = found
    assert after["temperature"] == 5.0
    assert not {"temperature", "calibration_unscaled"} & set(before)
    assert after["calibration_unscaled"] == before["calibration"]
    right = logits.argmax(axis=1) == labels
    assert after["calibration"] == pytest.approx(asdict(calibration_error(chances.max(axis=1), right)), abs=1e-5)
    # Made five times too sure of itself: far off before, and within chance afterwards.
    assert before["calibration"]["low"] > 0.1
    assert after["calibration"]["low"] == 0.0
    assert after["confusion"] == before["confusion"]
