"""The arithmetic of a time box, against references that try every plan."""

import itertools
import random

import pytest

from components.core.time_box import (
    FIRST_SHARE,
    MOST_EPOCHS,
    RESERVE,
    TEACHER_SHARE,
    Costs,
    TooShortError,
    bounded_pace,
    makespan,
    plan_first_rung,
    plan_second_rung,
    plan_time,
)

COSTS = Costs(head=5, epoch=20, teacher=6, handling=30, evaluation=8, release=15, lanes=2)


def drawn(seed):
    """Costs and candidates of some machine."""
    draw = random.Random(seed)
    costs = Costs(
        head=draw.uniform(0, 20), epoch=draw.uniform(1, 60), teacher=draw.uniform(0.2, 15),
        handling=draw.uniform(5, 60), evaluation=draw.uniform(3, 20), release=draw.uniform(5, 40),
        lanes=draw.randint(1, 4),
    )  # fmt: skip
    return costs, [draw.uniform(0.1, 1) for _ in range(draw.randint(1, 6))], draw.uniform(60, 4000)


def simulated(durations, lanes):
    """Second by second: who is free takes the next."""
    waiting, busy, clock = list(durations), [], 0
    while waiting or busy:
        busy = [end for end in busy if end > clock]
        while waiting and len(busy) < lanes:
            busy.append(clock + waiting.pop(0))
        if busy:
            clock = min(busy)
    return clock


@pytest.mark.parametrize("seed", range(20))
def test_students_share_the_cores_in_their_order(seed):
    draw = random.Random(seed)
    durations = [draw.randint(1, 30) for _ in range(draw.randint(1, 7))]
    assert makespan(durations, 1 + seed % 3) == simulated(durations, 1 + seed % 3)


def test_an_epoch_of_distillation_is_the_teachers_answers_and_a_part_of_a_training_epoch_on_one_core():
    assert COSTS.lesson(1.0) == pytest.approx(2 * (6 + 20))
    assert COSTS.lesson(0.5) == pytest.approx(2 * (6 + 0.625 * 20))
    # Two side by side, the third after the first; then each is measured alone.
    assert COSTS.rung([1.0, 1.0, 1.0], 2) == pytest.approx(2 * (30 + 2 * 52) + 3 * 8)


@pytest.mark.parametrize("seed", range(60))
def test_a_plan_keeps_the_time_box_and_each_step_its_share(seed):
    costs, works, left = drawn(seed)
    fewest = works[:2]
    least = costs.head + 2 * costs.epoch + costs.rung(fewest, 1) + costs.rung([max(fewest)], 0) + costs.release
    if least > (1 - RESERVE) * left:
        with pytest.raises(TooShortError):
            plan_time(left, costs, works)
        return
    plan = plan_time(left, costs, works)
    usable = (1 - RESERVE) * left - costs.release
    assert plan.teacher == pytest.approx(costs.head + (plan.epochs + plan.further_epochs) * costs.epoch)
    assert plan.first == pytest.approx(costs.rung(works[: plan.students], plan.first_epochs))
    assert plan.teacher + plan.first + plan.second == pytest.approx(usable)
    assert plan.second >= costs.rung([max(works[: plan.students])], 0)
    assert min(len(works), 2) <= plan.students <= len(works)
    for epochs, share, of in (
        (plan.epochs, TEACHER_SHARE, lambda n: n * costs.epoch),
        (plan.first_epochs, FIRST_SHARE, lambda n: plan_rung(costs, works, plan, n)),
    ):
        assert 1 <= epochs <= MOST_EPOCHS
        assert epochs == 1 or of(epochs) <= share * usable


def plan_rung(costs, works, plan, epochs):
    return costs.rung(works[: plan.students], epochs) - costs.rung(works[: plan.students], 0)


@pytest.mark.parametrize("seed", range(20))
def test_what_is_said_to_be_the_least_time_is_enough_and_a_second_less_is_not(seed):
    costs, works, _ = drawn(seed)
    with pytest.raises(TooShortError) as refused:
        plan_time(1.0, costs, works)
    assert plan_time(refused.value.least + 1, costs, works).students >= min(2, len(works))
    with pytest.raises(TooShortError):
        plan_time(refused.value.least - 1, costs, works)


def test_with_more_time_never_fewer_students_and_never_fewer_epochs_of_as_many():
    plans = [plan_time(left, COSTS, [1.0, 0.56, 0.39, 0.7, 0.4, 0.27]) for left in range(240, 4000, 40)]
    assert [one.students for one in plans] == sorted(one.students for one in plans)
    assert (plans[0].students, plans[-1].students) == (2, 6)
    for one, next_one in itertools.pairwise(plans):
        if one.students == next_one.students:
            assert (one.epochs, one.first_epochs) <= (next_one.epochs, next_one.first_epochs)


def every_second_rung(left, costs, works):
    """All pairs of students and epochs that end in time, by walking through them."""
    usable = (1 - RESERVE) * left - costs.release
    return {
        (count, epochs)
        for count in range(1, (len(works) + 1) // 2 + 1)
        for epochs in range(1, MOST_EPOCHS + 1)
        if costs.rung(works[:count], epochs) <= usable
    }


@pytest.mark.parametrize("seed", range(60))
def test_the_second_rung_is_the_largest_that_doubles_the_epochs_else_the_longest(seed):
    costs, works, left = drawn(seed)
    left = left / 2 - 100
    found = plan_second_rung(left, costs, works, students=len(works), first_epochs=2)
    possible = every_second_rung(left, costs, works)
    if not possible:
        assert found == (1, 0)
    elif doubled := [one for one in possible if one[1] >= 4]:
        assert found == max(doubled)
    else:
        assert found == max(possible, key=lambda one: (one[1], one[0]))


def test_after_the_deadline_nothing_is_trained():
    assert plan_second_rung(-5, COSTS, [0.5, 0.4, 0.3], students=3, first_epochs=1) == (1, 0)


def test_costs_survive_a_pipeline_that_knows_no_integers():
    assert Costs.from_json({**COSTS.to_json(), "lanes": 2.0}) == COSTS


@pytest.mark.parametrize("seed", range(60))
def test_the_first_rung_planned_again_has_its_share_of_what_is_left(seed):
    costs, works, left = drawn(seed)
    students, epochs = plan_first_rung(left, costs, works)
    fewest, tried = min(2, len(works)), works[:students]
    assert fewest <= students <= len(works)
    usable = (1 - RESERVE) * left - costs.release
    training = usable - costs.rung(tried, 0) - costs.rung(sorted(works)[-costs.lanes :], 0)
    share = FIRST_SHARE / (FIRST_SHARE + 0.35) * training
    more = [costs.rung(tried, one) - costs.rung(tried, 0) for one in (epochs, epochs + 1)]
    if (students, epochs) != (fewest, 1):
        assert more[0] <= share + 1e-9
    if epochs < MOST_EPOCHS:
        assert more[1] > share


@pytest.mark.parametrize("seed", range(100))
def test_the_time_box_is_kept_on_a_machine_that_is_up_to_a_third_slower_than_it_was_measured(seed):
    """A clock that runs as the steps do: what they were measured to take, times how busy the machine is then."""
    costs, works, limit = drawn(seed)
    busy = random.Random(seed).uniform(0.7, 1.33)
    try:
        plan = plan_time(limit, costs, works)
    except TooShortError:
        return
    real = costs.at(busy)
    clock = busy * plan.teacher
    known = costs.at(bounded_pace(clock, plan.teacher))
    students, first = plan_first_rung(limit - clock, known, works[: plan.students])
    tried = works[:students]
    clock += real.rung(tried, first)
    known = known.at(bounded_pace(real.rung(tried, first), known.rung(tried, first)))
    count, more = plan_second_rung(limit - clock, known, tried, students=students, first_epochs=first)
    clock += real.rung(tried[:count], more) + real.release
    assert clock <= 1.1 * limit or (first, more) == (1, 0)
    assert more == 0 or clock <= limit


def test_a_machine_that_became_slow_gets_fewer_students_and_a_fast_one_more_epochs():
    works = [1.0, 0.56, 0.7, 0.4]
    assert plan_first_rung(450, COSTS, works) > plan_first_rung(450, COSTS.at(2), works)
    assert plan_first_rung(900, COSTS, works)[1] > plan_first_rung(450, COSTS, works)[1]
    assert [bounded_pace(spent, 10) for spent in (0, 10, 15, 1000)] == [0.8, 1.0, 1.5, 4.0]
