from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.core.budget import Budget
from components.core.choice.measured import Measured
from components.core.choice.misses import misses
from components.core.choice.pareto import on_front
from components.core.choice.rule import choose_recipe
from components.core.errors import UserError


def measured(drop, latency, size_mb=2.0, macs=100, error=0.3):
    """A recipe against a baseline of 90 % and 10 ms."""
    return Measured(
        value=0.9 - drop / 100,
        drop_points=drop,
        drop_error=error,
        relative_latency=latency / 10,
        latency_ms=latency,
        size_bytes=int(size_mb * 1e6),
        macs=macs,
    )


def choose(recipes, **limits):
    return choose_recipe(recipes, Budget(**limits), [f"r{number}" for number in range(len(recipes))])


LADDER = [
    measured(0.2, 6.0, 3.0, macs=300),
    measured(0.4, 5.0, 2.5, macs=200),
    measured(1.4, 4.0, 2.0, macs=150),
    measured(4.0, 3.0, 1.5, macs=100),
]


def test_without_limits_speed_is_taken_while_it_costs_no_accuracy_that_could_be_told():
    choice = choose(LADDER)
    assert (choice.index, choice.meets_budget) == (1, True)  # 0.4 is within 0.2 + 0.3; 1.4 is not
    assert "within one standard error (0.30 points) of the most accurate one (r0)" in choice.reason


def test_with_a_latency_limit_alone_the_most_accurate_recipe_that_keeps_it_sets_the_bar():
    assert choose(LADDER, max_latency_ms=4.5).index == 2


def test_with_max_drop_the_fastest_recipe_that_keeps_it_with_a_margin_is_taken():
    choice = choose(LADDER, max_drop=2.0)
    assert choice.index == 2
    assert "4.00" not in choice.reason
    assert "2.50× as fast" in choice.reason


def test_a_recipe_that_keeps_max_drop_only_by_luck_yields_to_a_safer_one():
    assert choose(LADDER, max_drop=1.5).index == 1  # r2 loses 1.4 ± 0.3


def test_if_no_recipe_has_the_margin_the_most_accurate_one_is_taken():
    choice = choose(LADDER[2:], max_drop=1.5)
    assert (choice.index, choice.meets_budget) == (0, True)
    assert "none keeps max_drop with one standard error to spare" in choice.reason


def test_if_none_keeps_the_budget_the_nearest_is_delivered_and_the_reason_says_what_it_misses():
    choice = choose(LADDER, max_latency_ms=3.5, max_drop=1.0)
    # Excess of r1: 5/3.5-1 = 43 %; of r2: 4/3.5-1 + 0.4 = 54 %; of r3: 3.0/1 = 300 %; of r0: 71 %.
    assert (choice.index, choice.meets_budget) == (1, False)
    assert "latency 5.00 ms, allowed 3.5 ms" in choice.reason


def test_timing_noise_does_not_change_the_choice_between_recipes_of_different_macs():
    noisy = [measured(0.2, 5.0, 2.5, macs=200), measured(0.3, 5.3, 2.4, macs=180)]
    assert choose(noisy).index == 1


def test_a_recipe_with_fewer_macs_that_is_clearly_slower_is_not_taken_for_faster():
    assert choose([measured(0.2, 5.0, macs=200), measured(0.3, 6.0, size_mb=1.0, macs=100)]).index == 0


def test_fewer_macs_do_not_save_a_recipe_that_is_worse_in_every_measured_respect():
    assert choose([measured(0.2, 5.0, 2.4, macs=200), measured(0.3, 5.1, 2.5, macs=100)]).index == 0


def test_a_limit_of_no_loss_at_all_is_a_limit():
    assert choose([measured(0.2, 5.0), measured(-0.1, 9.0, error=0.0)], max_drop=0.0).index == 1


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ({"max_latency_ms": 0.0}, "max_latency_ms must be greater than 0, or -1 for no limit; got 0"),
        ({"max_size_mb": -2.0}, "max_size_mb must be greater than 0, or -1 for no limit; got -2"),
        ({"max_drop": -0.5}, "max_drop must be at least 0, or -1 for no limit; got -0.5"),
        ({"max_drop": float("nan")}, "max_drop must be at least 0, or -1 for no limit; got nan"),
    ],
)
def test_impossible_limits_are_refused_by_name(limit, message):
    with pytest.raises(UserError, match=message):
        Budget(**limit)


def test_the_forms_word_for_no_limit_becomes_none():
    assert Budget(max_latency_ms=-1, max_size_mb=-1.0, max_drop=-1) == Budget()
    assert not Budget(max_drop=-1).given
    assert Budget(max_drop=0).given


recipes = st.lists(
    st.builds(
        measured,
        # Few distinct values, so that recipes dominate each other and limits are hit exactly.
        drop=st.sampled_from([-0.5, 0.0, 0.2, 0.4, 1.0, 3.0]),
        latency=st.sampled_from([4.8, 5.0, 5.2, 7.0, 9.0]),
        size_mb=st.sampled_from([1.0, 2.0, 3.0]),
        macs=st.sampled_from([100, 200, 300]),
        error=st.sampled_from([0.0, 0.3, 1.0]),
    ),
    min_size=1,
    max_size=8,
)
limits = st.fixed_dictionaries(
    {
        "max_latency_ms": st.sampled_from([None, 4.5, 5.0, 8.0]),
        "max_size_mb": st.sampled_from([None, 0.5, 2.0]),
        "max_drop": st.sampled_from([None, 0.0, 0.4, 2.0]),
    }
)


@given(recipes, limits)
def test_the_chosen_recipe_is_on_the_front_and_keeps_the_budget_if_any_does(models, allowed):
    budget = Budget(**allowed)
    choice = choose(models, **allowed)
    assert on_front([model.costs for model in models])[choice.index]
    assert choice.meets_budget == any(not misses(budget, model) for model in models)
    assert choice.meets_budget == (not misses(budget, models[choice.index]))
    assert f"r{choice.index}" in choice.reason


@given(recipes, limits, st.randoms())
def test_the_order_of_the_recipes_does_not_matter(models, allowed, random):
    shuffled = list(models)
    random.shuffle(shuffled)
    chosen, again = models[choose(models, **allowed).index], shuffled[choose(shuffled, **allowed).index]
    assert (chosen.costs, chosen.macs) == (again.costs, again.macs)


def test_an_error_that_is_not_known_is_not_taken_for_none():
    """So few rows that there is no interval: the fastest recipe is no sure one, and its error is not said to be 0."""
    unsure = replace(LADDER[2], drop_error=None)
    choice = choose([LADDER[0], LADDER[1], unsure], max_drop=2.0)
    assert choice.index == 1
    alone = choose([unsure], max_drop=2.0)
    assert alone.meets_budget
    assert "none keeps max_drop with one standard error to spare" in alone.reason
    assert "one standard error (unknown on so few rows)" in choose([unsure, LADDER[3]]).reason
