"""Golden numerics: each interval against its definition, written out here."""

import math

import numpy as np
import pytest
from scipy import stats

from components.core.evaluation.document import Difference
from components.core.evaluation.paired_proportions import score_interval
from components.core.tasks.metric import Metric
from components.evaluate.intervals import FEWEST_DIFFERING, PairedRows, jackknife_interval, t_quantile, wilson_interval

Z95 = 1.959963984540054


def ratio(sums: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return sums[..., 0] / sums[..., 1]


SHARE = Metric(name="share", label="share", reduce=ratio, proportion=True)
OVERLAP = Metric(name="overlap", label="overlap", reduce=ratio)
ERRORS = Metric(name="errors", label="errors", reduce=ratio, higher_is_better=False, points_per_unit=1.0, percent=False)


def right(correct: np.ndarray) -> np.ndarray:
    """Statistics (right, 1) of each row."""
    return np.stack([correct.astype(float), np.ones(len(correct))], axis=1)


def overlaps(rows: int, seed: int) -> np.ndarray:
    """Statistics (common, total) of each row, every row another."""
    rng = np.random.default_rng(seed)
    total = rng.integers(50, 200, rows).astype(float)
    return np.stack([np.floor(total * rng.random(rows)), total], axis=1)


@pytest.mark.parametrize(("mean", "samples"), [(0.9, 2000), (0.5, 10), (0.013, 77)])
def test_wilson_bounds_are_the_proportions_from_which_the_mean_is_z_errors_away(mean, samples):
    for bound in wilson_interval(mean, samples):
        assert abs(mean - bound) == pytest.approx(Z95 * math.sqrt(bound * (1 - bound) / samples))


def test_wilson_interval_stays_inside_zero_and_one():
    assert wilson_interval(1.0, 20) == (pytest.approx(20 / (20 + Z95**2)), 1.0)
    assert wilson_interval(0.0, 20)[0] == pytest.approx(0.0, abs=1e-15)
    with pytest.raises(ValueError, match="at least one sample"):
        wilson_interval(0.5, 0)


def test_of_a_mean_the_jackknife_is_students_interval():
    values = np.random.default_rng(3).normal(5.0, 2.0, 40)
    rows = np.stack([values, np.ones(40)], axis=1)
    low, high = jackknife_interval(ratio, rows)
    error = values.std(ddof=1) / math.sqrt(40)
    moments = [((values - values.mean()) ** power).mean() for power in (2, 4)]
    degrees = min(39, 2 * 40 * moments[0] ** 2 / (moments[1] - moments[0] ** 2))
    half = stats.t.ppf(0.975, degrees) * error
    assert (low, high) == (pytest.approx(values.mean() - half), pytest.approx(values.mean() + half))


@pytest.mark.parametrize("degrees", [3, 5, 7.5, 30, 1000])
def test_students_quantile_is_that_of_scipy(degrees):
    assert t_quantile(0.975, degrees) == pytest.approx(stats.t.ppf(0.975, degrees), rel=5e-3)


def test_the_interval_of_a_ratio_is_that_of_leaving_each_row_out():
    ours, theirs = overlaps(60, 1), overlaps(60, 2)
    without = []
    for row in range(60):
        mine, other = (np.delete(side, row, axis=0).sum(axis=0) for side in (ours, theirs))
        without.append(100 * (mine[0] / mine[1] - other[0] / other[1]))
    influence = 59 * (np.mean(without) - np.array(without))
    error = influence.std() / math.sqrt(59)
    difference = PairedRows(ours, theirs).difference(OVERLAP)
    assert difference.points == pytest.approx(100 * (ratio(ours.sum(0)) - ratio(theirs.sum(0))))
    assert (difference.low + difference.high) / 2 == pytest.approx(difference.points)
    assert Z95 * error <= difference.high - difference.points <= 1.15 * Z95 * error


def test_the_interval_of_a_proportion_is_tangos_of_the_rows_that_disagree():
    ours, theirs = np.array([1] * 40 + [0] * 9 + [1] * 3), np.array([1] * 40 + [0] * 2 + [1] * 7 + [0] * 3)
    difference = PairedRows(right(ours), right(theirs)).difference(SHARE)
    low, high = score_interval(3, 7, 52, 0.95)
    assert (difference.points, difference.low, difference.high) == pytest.approx((-400 / 52, 100 * low, 100 * high))


@pytest.mark.parametrize("rows", [6, 20, 50])
def test_two_models_that_agree_on_every_row_are_not_proven_equal(rows):
    correct = right(np.arange(rows) % 3 > 0)
    difference = PairedRows(correct, correct).difference(SHARE)
    assert difference.low < -1 < 1 < difference.high


def test_of_any_other_metric_rows_that_all_agree_or_are_too_few_give_no_interval():
    same = overlaps(400, 3)
    assert PairedRows(same, same).difference(OVERLAP) == Difference(points=0.0, low=None, high=None)
    for differing in (FEWEST_DIFFERING - 1, FEWEST_DIFFERING):
        ours = same.copy()
        ours[:differing, 0] += 30
        difference = PairedRows(ours, same).difference(OVERLAP)
        assert difference.points > 0
        assert (difference.low is None) is (difference.high is None) is (differing < FEWEST_DIFFERING)


def test_rows_of_both_models_must_be_the_same():
    with pytest.raises(ValueError, match="same rows"):
        PairedRows(right(np.ones(4)), right(np.ones(3)))


def test_a_few_rows_that_make_the_difference_do_not_make_it_certain():
    """Few rows differ, and those by skewed amounts: of the percentile bootstrap 11 % of the lower ends lie too high."""
    rng = np.random.default_rng(0)
    missed = told = 0
    for _ in range(400):
        union = rng.lognormal(7, 1, 200)
        hit = rng.random(200) < 0.1
        change = np.where(hit, rng.exponential(0.05, 200) * np.where(rng.random(200) < 0.7, -1, 1), 0.0)
        theirs = np.stack([0.7 * union, union], axis=1)
        ours = np.stack([(0.7 + change) * union, union], axis=1)
        difference = PairedRows(ours, theirs).difference(OVERLAP)
        if difference.low is not None:
            told += 1
            missed += difference.low > 100 * 0.1 * 0.05 * -0.4
    assert told > 150
    assert missed / told < 0.07


def test_the_intervals_of_one_model_are_wilsons_for_a_proportion_and_the_jackknifes_for_others():
    correct = np.arange(200) % 8 > 0
    ours, _ = PairedRows(right(correct), right(correct)).estimates(SHARE)
    assert (ours.value, ours.low, ours.high) == (0.875, *wilson_interval(0.875, 200))
    first, second = PairedRows(overlaps(80, 5), overlaps(80, 6)).estimates(OVERLAP)
    for estimate, seed in ((first, 5), (second, 6)):
        assert (estimate.low, estimate.high) == jackknife_interval(ratio, overlaps(80, seed))
        assert estimate.low < estimate.value < estimate.high


def test_of_a_metric_of_which_less_is_better_a_gain_is_positive_and_counted_as_one():
    ours, theirs = np.array([[1.0, 2], [0, 2], [2, 2]]), np.array([[2.0, 2], [1, 2], [1, 2]])
    pairs = PairedRows(ours, theirs)
    difference = pairs.difference(ERRORS)
    assert difference.points == pytest.approx((4 - 3) / 6)
    many = PairedRows(np.tile(ours, (20, 1)), np.tile(theirs, (20, 1))).difference(ERRORS)
    assert many.low < many.points < many.high
    assert many.points == pytest.approx(difference.points)
    assert pairs.changed(ERRORS) == (2, 1)
    assert pairs.changed(OVERLAP) == (1, 2)


def test_what_the_rows_say_nothing_of_has_no_figures():
    empty, undefined = np.zeros((0, 2)), np.zeros((3, 2))
    for rows in (empty, undefined):
        pairs = PairedRows(rows, rows)
        for metric in (SHARE, OVERLAP):
            difference, (ours, _) = pairs.difference(metric), pairs.estimates(metric)
            assert (difference.points, difference.low, difference.high) == (None, None, None)
            assert (ours.value, ours.low, ours.high) == (None, None, None)
        assert pairs.changed(OVERLAP) == (0, 0)


def test_a_metric_that_rests_on_one_row_has_no_interval():
    # Most rows hold nothing of the class: without the one that does, the metric is undefined.
    ours = np.zeros((10, 2))
    ours[0] = 3, 4
    estimate, _ = PairedRows(ours, ours).estimates(OVERLAP)
    assert (estimate.value, estimate.low, estimate.high) == (0.75, None, None)
