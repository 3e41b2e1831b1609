"""The ratio of paired times: its value, its interval, and how often that covers."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.core.runtime.ratio import paired_ratio

times = st.floats(1e-3, 1e3)


def test_the_interval_is_that_of_the_signed_rank_test():
    # Of 8 pairs, P(T ≤ 3) = 5/256 and P(T ≤ 4) = 7/256 > 2.5 %: the 4th smallest and 4th largest of 36 Walsh averages.
    logs = [0.1, 0.9, 0.3, 0.2, 0.7, 0.25, 0.4, 0.6]
    walsh = sorted((logs[i] + logs[j]) / 2 for i in range(8) for j in range(i, 8))
    found = paired_ratio([math.exp(value) for value in logs], [1.0] * 8)
    assert found.value == pytest.approx(math.exp((walsh[17] + walsh[18]) / 2))
    assert (found.low, found.high) == (pytest.approx(math.exp(walsh[3])), pytest.approx(math.exp(walsh[32])))


@given(st.lists(st.tuples(times, times), min_size=6, max_size=20))
def test_the_ratio_the_other_way_round_is_its_inverse(pairs):
    first, second = [one for one, _ in pairs], [other for _, other in pairs]
    there, back = paired_ratio(first, second), paired_ratio(second, first)
    assert there.value == pytest.approx(1 / back.value)
    assert (there.low, there.high) == (pytest.approx(1 / back.high), pytest.approx(1 / back.low))
    assert there.precision == pytest.approx(back.precision)
    assert there.low <= there.value <= there.high


def test_one_disturbed_pair_does_not_decide():
    quiet = [2.0, 2.01, 1.99, 2.02, 1.98, 2.0, 2.01, 2.0]
    found = paired_ratio([*quiet[:-1], 20.0], [1.0] * 8)
    assert found.value == pytest.approx(2.0, rel=0.01)


@pytest.mark.parametrize("pairs", [8, 24])
def test_intervals_cover_at_least_as_often_as_they_say(pairs):
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(1000):
        noise = np.exp(0.03 * rng.standard_t(2, size=(2, pairs)))  # heavy tails, as a shared machine has them
        found = paired_ratio(list(2.0 * noise[0]), list(noise[1]))
        covered += found.low <= 2.0 <= found.high
    assert covered >= 935  # 95 % less two standard errors


def test_too_few_pairs_and_impossible_times_are_refused():
    with pytest.raises(ValueError, match="need at least 6 pairs, got 5 and 5"):
        paired_ratio([1.0] * 5, [1.0] * 5)
    with pytest.raises(ValueError, match="need at least 6 pairs, got 7 and 6"):
        paired_ratio([1.0] * 7, [1.0] * 6)
    with pytest.raises(ValueError, match="positive"):
        paired_ratio([1.0] * 6, [1.0] * 5 + [0.0])
