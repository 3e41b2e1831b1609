"""Golden numerics: each interval against its definition, or against resampling row by row."""

import math

import numpy as np
import pytest

from components.core.tasks.metric import Metric
from components.evaluate.intervals import (
    DENSE_RESAMPLES,
    RESAMPLES,
    PairedRows,
    paired_mean_bootstrap,
    resampled_sums,
    wilson_interval,
)

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


def test_bootstrap_of_a_mean_has_the_width_of_the_paired_standard_error():
    rng = np.random.default_rng(0)
    baseline = (rng.random(4000) < 0.9).astype(float)
    candidate = np.where(rng.random(4000) < 0.02, 1 - baseline, baseline)
    low, high = paired_mean_bootstrap(candidate, baseline, resamples=4000, seed=1)
    difference = candidate - baseline
    error = difference.std() / math.sqrt(4000)
    assert (low + high) / 2 == pytest.approx(difference.mean(), abs=0.2 * error)
    assert high - low == pytest.approx(2 * Z95 * error, rel=0.05)
    unpaired = math.sqrt(baseline.var() / 4000 + candidate.var() / 4000)
    assert error < unpaired / 2


def test_bootstrap_of_a_mean_equals_resampling_rows_one_by_one():
    rng = np.random.default_rng(3)
    candidate, baseline = rng.random(50), rng.random(50)
    means = (candidate - baseline)[rng.integers(0, 50, (20_000, 50))].mean(axis=1)
    low, high = paired_mean_bootstrap(candidate, baseline, resamples=20_000, seed=5)
    assert [low, high] == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.006)


def test_bootstrap_is_seeded_and_refuses_other_rows():
    values = np.array([1.0, 0.0, 1.0, 1.0]), np.array([0.0, 0.0, 1.0, 0.0])
    assert paired_mean_bootstrap(*values, seed=4) == paired_mean_bootstrap(*values, seed=4)
    assert paired_mean_bootstrap(values[0], values[0]) == (0.0, 0.0)
    with pytest.raises(ValueError, match="same rows"):
        paired_mean_bootstrap(values[0], values[1][:3])
    with pytest.raises(ValueError, match="same rows"):
        PairedRows(right(values[0]), right(values[1])[:3])


def test_the_interval_of_any_metric_is_that_of_a_loop_over_resampled_rows():
    ours, theirs = overlaps(60, 1), overlaps(60, 2)
    rng, found = np.random.default_rng(7), []
    for _ in range(20_000):
        rows = rng.integers(0, 60, 60)
        mine, other = ours[rows].sum(axis=0), theirs[rows].sum(axis=0)
        found.append(100 * (mine[0] / mine[1] - other[0] / other[1]))
    difference = PairedRows(ours, theirs).difference(OVERLAP)
    low, high = np.quantile(found, [0.025, 0.975])
    assert difference.points == pytest.approx(100 * (ratio(ours.sum(0)) - ratio(theirs.sum(0))))
    assert [difference.low, difference.high] == pytest.approx([low, high], abs=0.03 * (high - low))


def test_the_same_rows_are_drawn_of_both_models():
    rows = overlaps(40, 3)
    ours, theirs = resampled_sums(rows, rows + 1.0)
    np.testing.assert_allclose(theirs - ours, 40.0)
    # Rows that are wrong in both cancel out: equal models have no uncertainty at all.
    same = PairedRows(rows, rows).difference(OVERLAP)
    assert (same.points, same.low, same.high) == (0.0, 0.0, 0.0)


def test_equal_rows_are_drawn_together_and_still_sum_up_to_the_number_of_rows():
    rows = right(np.arange(1000) % 10 > 0)
    (sums,) = resampled_sums(rows, seed=2)
    assert sums.shape == (RESAMPLES, 2)
    assert (sums[:, 1] == 1000).all()
    # Binomial: mean n·p, variance n·p·(1 − p).
    assert sums[:, 0].mean() == pytest.approx(900, abs=0.5)
    assert sums[:, 0].var() == pytest.approx(90, rel=0.05)


def test_where_many_rows_differ_fewer_resamples_are_drawn():
    (sums,) = resampled_sums(overlaps(1500, 4))
    assert len(sums) == DENSE_RESAMPLES


def test_the_intervals_of_one_model_are_wilsons_for_a_proportion_and_resampled_for_others():
    correct = np.arange(200) % 8 > 0
    ours, _ = PairedRows(right(correct), right(correct)).estimates(SHARE)
    assert (ours.value, ours.low, ours.high) == (0.875, *wilson_interval(0.875, 200))
    first, second = PairedRows(overlaps(80, 5), overlaps(80, 6)).estimates(OVERLAP)
    for estimate, seed in ((first, 5), (second, 6)):
        rows = overlaps(80, seed)
        drawn = rows[np.random.default_rng(1).integers(0, 80, (20_000, 80))].sum(axis=1)
        expected = np.quantile(ratio(drawn), [0.025, 0.975])
        assert [estimate.low, estimate.high] == pytest.approx(expected, abs=0.02)
        assert estimate.low < estimate.value < estimate.high


def test_of_a_metric_of_which_less_is_better_a_gain_is_positive_and_counted_as_one():
    ours, theirs = np.array([[1.0, 2], [0, 2], [2, 2]]), np.array([[2.0, 2], [1, 2], [1, 2]])
    pairs = PairedRows(ours, theirs)
    difference = pairs.difference(ERRORS)
    assert difference.points == pytest.approx((4 - 3) / 6)
    assert difference.low <= difference.points <= difference.high
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


def test_resamples_in_which_the_metric_is_undefined_are_left_out():
    # Most rows hold nothing of the class: some resamples hold none at all.
    ours = np.zeros((10, 2))
    ours[0] = 3, 4
    estimate, _ = PairedRows(ours, ours).estimates(OVERLAP)
    assert (estimate.value, estimate.low, estimate.high) == (0.75, 0.75, 0.75)
