"""Golden numerics: each figure against its definition or scikit-learn's."""

import math

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix as reference_confusion
from sklearn.metrics import precision_recall_fscore_support

from components.evaluate.intervals import (
    class_scores,
    confusion_matrix,
    expected_calibration_error,
    paired_bootstrap,
    wilson_interval,
)

Z95 = 1.959963984540054


@pytest.mark.parametrize(("mean", "samples"), [(0.9, 2000), (0.5, 10), (0.013, 77)])
def test_wilson_bounds_are_the_proportions_from_which_the_mean_is_z_errors_away(mean, samples):
    for bound in wilson_interval(mean, samples):
        assert abs(mean - bound) == pytest.approx(Z95 * math.sqrt(bound * (1 - bound) / samples))


def test_wilson_interval_stays_inside_zero_and_one():
    assert wilson_interval(1.0, 20) == (pytest.approx(20 / (20 + Z95**2)), 1.0)
    assert wilson_interval(0.0, 20)[0] == pytest.approx(0.0, abs=1e-15)
    with pytest.raises(ValueError, match="at least one sample"):
        wilson_interval(0.5, 0)


def test_bootstrap_interval_has_the_width_of_the_paired_standard_error():
    rng = np.random.default_rng(0)
    baseline = (rng.random(4000) < 0.9).astype(float)
    candidate = np.where(rng.random(4000) < 0.02, 1 - baseline, baseline)
    low, high = paired_bootstrap(candidate, baseline, resamples=4000, seed=1)
    difference = candidate - baseline
    error = difference.std() / math.sqrt(4000)
    assert (low + high) / 2 == pytest.approx(difference.mean(), abs=0.2 * error)
    assert high - low == pytest.approx(2 * Z95 * error, rel=0.05)
    unpaired = math.sqrt(baseline.var() / 4000 + candidate.var() / 4000)
    assert error < unpaired / 2


def test_bootstrap_equals_resampling_rows_one_by_one():
    rng = np.random.default_rng(3)
    candidate, baseline = rng.random(50), rng.random(50)
    means = (candidate - baseline)[rng.integers(0, 50, (20_000, 50))].mean(axis=1)
    low, high = paired_bootstrap(candidate, baseline, resamples=20_000, seed=5)
    assert [low, high] == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.006)


def test_bootstrap_is_seeded_and_refuses_other_rows():
    values = np.array([1.0, 0.0, 1.0, 1.0]), np.array([0.0, 0.0, 1.0, 0.0])
    assert paired_bootstrap(*values, seed=4) == paired_bootstrap(*values, seed=4)
    assert paired_bootstrap(values[0], values[0]) == (0.0, 0.0)
    with pytest.raises(ValueError, match="same rows"):
        paired_bootstrap(values[0], values[1][:3])


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
    assert expected_calibration_error(probabilities, labels) == pytest.approx(by_hand)
    sure = np.eye(3)[[0, 1, 2]]
    assert expected_calibration_error(sure, np.array([0, 1, 2])) == 0.0
    assert expected_calibration_error(sure, np.array([1, 2, 0])) == 1.0


def test_a_confidence_on_a_border_belongs_to_the_lower_bin():
    # With 2 bins, 0.5 and 0.4 share the first: their gaps cancel.
    probabilities = np.array([[0.5, 0.3, 0.2], [0.4, 0.3, 0.3]])
    assert expected_calibration_error(probabilities, np.array([0, 1]), bins=2) == pytest.approx(abs(1 - 0.9) / 2)
