"""Who goes on in a race, against brute force."""

import itertools
import random
from dataclasses import replace

import pytest

from components.core.budget import Budget
from components.core.choice.measured import Measured
from components.core.choice.rule import choose_recipe
from components.halve.halving import halve_students, hopeless, ranked_by_choice

STUDENT = Measured(
    value=0.9, drop_points=1.0, drop_error=0.3, relative_latency=0.5, latency_ms=0.5, size_bytes=3_000_000, macs=300
)
BUDGETS = [Budget(), Budget(max_drop=1.0), Budget(max_size_mb=2.5), Budget(max_latency_ms=0.4, max_drop=2.0)]


def drawn(seed):
    draw = random.Random(seed)
    students = [
        replace(
            STUDENT, drop_points=round(draw.uniform(-1, 6), 2), drop_error=draw.choice([0.2, 0.5, None]),
            relative_latency=(latency := round(draw.uniform(0.2, 0.8), 2)), latency_ms=latency,
            size_bytes=draw.randint(1_000_000, 4_000_000), macs=draw.randint(50, 500),
        )
        for _ in range(draw.randint(1, 6))
    ]  # fmt: skip
    return students, [f"student {number}" for number in range(len(students))]


def out_by_hand(one, others, budget):
    if budget.max_size_mb is not None and one.size_bytes / 1e6 > budget.max_size_mb:
        return True
    if budget.max_latency_ms is not None and one.latency_ms > 1.1 * budget.max_latency_ms:
        return True
    return any(
        None not in (other.drop_error, one.drop_error)
        and other.relative_latency <= one.relative_latency
        and other.size_bytes <= one.size_bytes
        and one.drop_points > other.drop_points + other.drop_error + one.drop_error
        for other in others
    )


@pytest.mark.parametrize(("seed", "budget"), itertools.product(range(12), BUDGETS), ids=str)
def test_the_first_of_all_that_can_win_go_on_and_every_other_has_a_reason(seed, budget):
    students, names = drawn(seed)
    out = {number for number, one in enumerate(students) if out_by_hand(one, students, budget)}
    # The order: the permutation in which each is what the rule would choose of itself and those behind it.
    (order,) = [
        order
        for order in itertools.permutations(range(len(students)))
        if all(
            choose_recipe([students[one] for one in sorted(order[place:])], budget, names[place:]).index
            == sorted(order[place:]).index(order[place])
            for place in range(len(order))
        )
    ]
    able = [one for one in order if one not in out] or [order[0]]
    asked = []

    def two(ranked):
        asked.extend(ranked)
        return min(2, len(ranked)), 3

    halved = halve_students(students, budget, names, two)
    assert asked == able
    assert halved.going_on == able[:2]
    assert halved.epochs == 3
    assert set(halved.stopped) == set(range(len(students))) - set(able[:2])
    assert all(halved.stopped.values())
    assert ranked_by_choice(students, budget, names)[0] == choose_recipe(students, budget, names).index


def test_the_reason_says_what_no_training_changes():
    slow = replace(STUDENT, latency_ms=0.9, relative_latency=0.9)
    large = replace(STUDENT, size_bytes=5_000_000)
    bad = replace(STUDENT, drop_points=4.0)
    reasons = hopeless([STUDENT, slow, large, bad], Budget(max_latency_ms=0.6, max_size_mb=4), ["a", "b", "c", "d"])
    assert reasons == {
        1: "0.90 ms, allowed 0.6: training changes no latency",
        2: "5.00 MB, allowed 4: training changes no size",
        3: "a is no slower, no larger, and more accurate by more than both standard errors",
    }


def test_a_loss_beyond_its_limit_stops_nobody_since_training_may_win_it_back():
    assert not hopeless([replace(STUDENT, drop_points=9.0)], Budget(max_drop=1.0), ["a"])
