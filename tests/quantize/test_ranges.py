"""From histograms to ranges, each method against its definition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.core.errors import UserError
from components.quantize.ranges import (
    BINS,
    METHODS,
    Histogram,
    choose_range,
    count_values,
    entropy_range,
    percentile_range,
)


def histogram(values: np.ndarray, bins: int = BINS) -> Histogram:
    low, high = float(values.min()), float(values.max())
    return Histogram(low, high, count_values(values, low, high, bins))


def test_counting_equals_numpys_histogram():
    values = np.random.default_rng(0).normal(size=50_000).astype(np.float32)
    found = histogram(values, 64)
    expected, _ = np.histogram(values, bins=64, range=(found.low, found.high))
    # A value on a border may fall on either side in float32.
    assert np.abs(found.counts - expected).max() <= 2
    assert found.counts.sum() == values.size


def test_a_constant_tensor_has_one_bin():
    counts = count_values(np.full(7, 3.0, np.float32), 3.0, 3.0)
    assert counts[0] == counts.sum() == 7
    assert choose_range(Histogram(3.0, 3.0, counts), "entropy") == (0.0, 3.0)


def test_percentile_leaves_the_asked_share_outside():
    values = np.random.default_rng(1).normal(size=200_000).astype(np.float32)
    low, high = percentile_range(histogram(values), 99.0)
    assert low == pytest.approx(np.quantile(values, 0.005), abs=0.01)
    assert high == pytest.approx(np.quantile(values, 0.995), abs=0.01)
    assert percentile_range(histogram(values), 100) == (pytest.approx(values.min()), pytest.approx(values.max()))


def test_one_outlier_widens_minmax_and_not_the_others():
    values = np.append(np.abs(np.random.default_rng(2).normal(size=100_000)), 60.0).astype(np.float32)
    found = histogram(values)
    assert choose_range(found, "minmax")[1] == pytest.approx(60)
    assert choose_range(found, "percentile")[1] < 6
    assert choose_range(found, "entropy")[1] < 12


def test_entropy_keeps_what_eight_bits_hold_and_ignores_a_relus_zeros():
    uniform = np.random.default_rng(3).uniform(0, 6, 400_000).astype(np.float32)
    assert entropy_range(histogram(uniform))[1] > 5.9
    mostly_zero = np.concatenate([np.zeros(4_000_000, np.float32), uniform])
    assert entropy_range(histogram(mostly_zero))[1] > 5.5


@given(
    st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=60),
    st.sampled_from(METHODS),
)
def test_every_range_contains_zero_and_lies_within_what_was_seen(values, method):
    array = np.array(values, np.float32)
    low, high = choose_range(histogram(array), method)
    assert min(0.0, float(array.min())) - 1e-2 <= low <= 0.0 <= high <= max(0.0, float(array.max())) + 1e-2


def test_an_unknown_method_is_named_with_what_works():
    with pytest.raises(UserError, match="unknown calibration_method 'mse'; available: minmax, percentile, entropy"):
        choose_range(Histogram(0.0, 1.0, np.ones(4)), "mse")
