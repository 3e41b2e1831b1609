"""Tango's interval: against published figures, the likelihood itself, and its coverage by simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.core.evaluation.paired_proportions import FEWEST_ROWS, loss_p_value, score_interval, score_statistic

Z95 = 1.959963984540054


def test_the_interval_is_the_published_one_of_bentur_and_others():
    # Fagerland, Lydersen, Laake 2014, Statistics in Medicine 33:2850–2875: 1, 1, 7 and 12 of 21 children; Tango's
    # interval of the difference is −0.517 to −0.026.
    low, high = score_interval(1, 7, 21, 0.95)
    assert (low, high) == (pytest.approx(-0.517, abs=5e-4), pytest.approx(-0.026, abs=5e-4))


def test_without_a_disagreement_the_interval_has_the_width_of_the_score_equation():
    # With b = c = 0 the equation is n·Δ = z²·(1 − Δ).
    for rows in (6, 20, 2000):
        end = Z95**2 / (rows + Z95**2)
        assert score_interval(0, 0, rows, 0.95) == (pytest.approx(-end), pytest.approx(end))


@pytest.mark.parametrize(
    ("gained", "lost", "rows", "difference"),
    [(1, 7, 21, -0.5), (1, 7, 21, 0.2), (0, 3, 50, -0.1), (5, 2, 100, 0.02), (0, 4, 4, -0.3), (0, 0, 30, -0.05)],
)
def test_the_statistic_uses_the_most_likely_share_under_the_hypothesis(gained, lost, rows, difference):
    share = np.linspace(max(0.0, -difference), (1 - difference) / 2, 400_001)
    with np.errstate(divide="ignore", invalid="ignore"):
        cells = ((gained, share + difference), (lost, share), (rows - gained - lost, 1 - 2 * share - difference))
        likelihood = sum(count * np.log(chance) for count, chance in cells if count)
    likely = share[np.nanargmax(likelihood)]
    error = math.sqrt(rows * (2 * likely + difference - difference**2))
    expected = (gained - lost - rows * difference) / error
    assert score_statistic(gained, lost, rows, difference) == pytest.approx(expected, abs=1e-4)


@given(st.integers(0, 60), st.integers(0, 60), st.integers(1, 300))
def test_the_ends_are_where_the_score_reaches_z_and_mirror_each_other(gained, lost, same):
    rows = gained + lost + same
    low, high = score_interval(gained, lost, rows, 0.95)
    assert -1 <= low <= (gained - lost) / rows <= high <= 1
    for end, sign in ((low, 1), (high, -1)):
        if abs(end) < 1 - 1e-9:
            assert score_statistic(gained, lost, rows, end) == pytest.approx(sign * Z95, abs=1e-5)
    assert score_interval(lost, gained, rows, 0.95) == (pytest.approx(-high, abs=1e-9), pytest.approx(-low, abs=1e-9))


@pytest.mark.parametrize(("rows", "discordant"), [(20, 0.05), (50, 0.05), (200, 0.01), (200, 0.05), (2000, 0.01)])
def test_a_loss_beyond_the_margin_is_excluded_by_chance_no_more_often_than_the_level_says(rows, discordant):
    """The audit's case: 1.01 points worse at a margin of 1. The percentile bootstrap excluded it in 4 to 54 %."""
    loss = min(0.0101, discordant)
    chances = [(discordant - loss) / 2, (discordant + loss) / 2, 1 - discordant]
    counts, times = np.unique(np.random.default_rng(0).multinomial(rows, chances, 4000), axis=0, return_counts=True)
    passed = sum(n for (b, c, _), n in zip(counts, times, strict=True) if score_interval(b, c, rows, 0.95)[0] >= -0.01)
    assert passed / 4000 <= 0.032  # 2.5 % and three standard errors


@pytest.mark.parametrize(("rows", "discordant"), [(20, 0.2), (50, 0.1), (200, 0.05), (2000, 0.01), (2000, 0.2)])
def test_the_interval_covers_the_truth(rows, discordant):
    chances = [discordant * 0.4, discordant * 0.6, 1 - discordant]
    counts, times = np.unique(np.random.default_rng(1).multinomial(rows, chances, 4000), axis=0, return_counts=True)
    covered = 0
    for (gained, lost, _), number in zip(counts, times, strict=True):
        low, high = score_interval(gained, lost, rows, 0.95)
        covered += number * (low <= -0.2 * discordant <= high)
    assert covered / 4000 >= 0.94


def test_below_the_fewest_rows_not_even_the_loss_of_all_differs_from_none():
    assert score_interval(0, FEWEST_ROWS - 1, FEWEST_ROWS - 1, 0.95)[1] > 0
    assert score_interval(0, FEWEST_ROWS, FEWEST_ROWS, 0.95)[1] < 0


def test_the_p_value_of_a_margin_is_below_the_level_exactly_where_the_interval_lies_beyond_it():
    for lost in range(41):
        beyond = score_interval(2, lost, 60, 0.95)[1] < -0.05
        assert (loss_p_value(2, lost, 60, 0.05) < 0.025) is beyond


@pytest.mark.parametrize(
    ("counts", "difference"), [((-1, 0, 5), 0.0), ((3, 3, 5), 0.0), ((0, 0, 0), 0.0), ((1, 1, 5), 1.1)]
)
def test_counts_that_do_not_fit_are_refused(counts, difference):
    with pytest.raises(ValueError, match=r"need gained|must be in"):
        score_statistic(*counts, difference)
