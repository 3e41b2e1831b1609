"""The arithmetic of a time box, against references that try every plan."""

import itertools
import random
from dataclasses import replace

import pytest

from components.core.time_box import (
    FIRST_SHARE,
    LAST_RESERVE,
    MOST_EPOCHS,
    PACES,
    RESERVE,
    SECOND_SHARE,
    TEACHER_SHARE,
    TRAINING_SHARE,
    Contender,
    Costs,
    TooShortError,
    bounded_pace,
    explained,
    makespan,
    plan_first_rung,
    plan_second_rung,
    plan_time,
)

COSTS = Costs(head=5, epoch=20, teacher=6, handling=30, evaluation=8, release=15, lanes=2, single=1.6)


def drawn(seed):
    """Costs and candidates of some machine."""
    draw = random.Random(seed)
    costs = Costs(
        head=draw.uniform(0, 20), epoch=draw.uniform(1, 60), teacher=draw.uniform(0.2, 15),
        handling=draw.uniform(5, 60), evaluation=draw.uniform(3, 20), release=draw.uniform(5, 40),
        lanes=(lanes := draw.randint(1, 4)), single=draw.uniform(1, lanes),
    )  # fmt: skip
    works = [draw.uniform(0.1, 1) for _ in range(draw.randint(1, 6))]
    control = draw.choice([None, 1])
    return (
        costs,
        [Contender(work=one, stock=place == control) for place, one in enumerate(works)],
        draw.uniform(60, 4000),
    )


def works(*shares):
    return [Contender(work=one) for one in shares]


def lessons(costs, contenders):
    return [costs.lesson(one.work) for one in contenders]


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
    assert COSTS.lesson(1.0) == pytest.approx(1.6 * (6 + 20))
    assert COSTS.lesson(0.5) == pytest.approx(1.6 * (6 + 0.625 * 20))
    # Two side by side, the third after the first; then each is measured alone.
    assert COSTS.rung([52.0, 52.0, 52.0], 2) == pytest.approx(2 * (30 + 2 * 52) + 3 * 8)


def test_a_stock_network_trains_in_the_first_rung_for_an_epoch_more_than_fine_tuning():
    contenders = [Contender(work=1.0), Contender(work=0.5, stock=True)]
    assert [one.epochs(2, 3) for one in contenders] == [2, 4]
    assert [one.epochs(7, 3) for one in contenders] == [7, 7]
    # Side by side: the longer one counts.
    expected = max(30 + 2 * 1.6 * 26, 30 + 4 * 1.6 * 18.5) + 2 * 8
    assert COSTS.first_rung(contenders, 2, tuned=3) == pytest.approx(expected)


@pytest.mark.parametrize("left", [1200, 2700, 5400])
def test_what_is_trained_beside_a_stock_network_has_its_time(left):
    students = [Contender(work=1.0), Contender(work=0.5, stock=True), *works(0.5, 0.6)]
    plan = plan_time(left, COSTS, students)
    assert plan.students == 4
    alone = COSTS.first_rung(students[1:2], plan.first_epochs, tuned=plan.epochs)
    others = COSTS.first_rung([students[0], *students[2:]], plan.first_epochs + 1, tuned=plan.epochs)
    # An epoch more and the others would end after it, on the core that it leaves free.
    assert others - 3 * COSTS.evaluation > 0.5 * (alone - COSTS.evaluation)
    training = (1 - RESERVE) * left - COSTS.release - COSTS.head
    assert plan.epochs == 1 or plan.second > SECOND_SHARE * training * TRAINING_SHARE


@pytest.mark.parametrize("seed", range(60))
def test_a_plan_keeps_the_time_box_and_each_step_its_share(seed):
    costs, works, left = drawn(seed)
    fewest = works[:2]
    still = costs.handling + costs.evaluation
    least = costs.head + 2 * costs.epoch + costs.first_rung(fewest, 1, tuned=1) + still + costs.release
    if least > (1 - RESERVE) * left:
        with pytest.raises(TooShortError):
            plan_time(left, costs, works)
        return
    plan = plan_time(left, costs, works)
    usable = (1 - RESERVE) * left - costs.release
    assert plan.teacher == pytest.approx(costs.head + (plan.epochs + plan.further_epochs) * costs.epoch)
    tried = works[: plan.students]
    assert plan.first == pytest.approx(costs.first_rung(tried, plan.first_epochs, tuned=plan.epochs))
    assert plan.teacher + plan.first + plan.second == pytest.approx(usable)
    assert plan.second >= still
    assert min(len(works), 2) <= plan.students <= len(works)
    for epochs, share, of in (
        (plan.epochs, TEACHER_SHARE, lambda n: (n - 0.5) * costs.epoch),
        (plan.first_epochs, FIRST_SHARE, lambda n: plan_rung(costs, works, plan, n)),
    ):
        assert 1 <= epochs <= MOST_EPOCHS
        assert epochs == 1 or of(epochs) <= share * usable


def plan_rung(costs, works, plan, epochs):
    """Seconds of training in the first rung; 0 where no more than the control's own time is taken."""
    tried = works[: plan.students]
    took = costs.first_rung(tried, epochs, tuned=plan.epochs) - costs.rung([0.0] * len(tried), 0)
    control = [one for one in tried if one.stock]
    return 0.0 if control and took <= costs.first_rung(control, 1, tuned=plan.epochs) else took


@pytest.mark.parametrize("seed", range(20))
def test_what_is_said_to_be_the_least_time_is_enough_and_a_second_less_is_not(seed):
    costs, works, _ = drawn(seed)
    with pytest.raises(TooShortError) as refused:
        plan_time(1.0, costs, works)
    assert plan_time(refused.value.least + 1, costs, works).students >= min(2, len(works))
    with pytest.raises(TooShortError):
        plan_time(refused.value.least - 1, costs, works)


def test_with_more_time_never_fewer_students_and_never_fewer_epochs_of_as_many():
    plans = [plan_time(left, COSTS, works(1.0, 0.56, 0.39, 0.7, 0.4, 0.27)) for left in range(240, 4000, 40)]
    assert [one.students for one in plans] == sorted(one.students for one in plans)
    assert (plans[0].students, plans[-1].students) == (2, 6)
    for one, next_one in itertools.pairwise(plans):
        if one.students == next_one.students:
            assert (one.epochs, one.first_epochs) <= (next_one.epochs, next_one.first_epochs)


def every_second_rung(left, costs, lessons):
    """All pairs of students and epochs that end in time, by walking through them."""
    usable = (1 - LAST_RESERVE) * left - costs.release
    most = min(len(lessons), max((len(lessons) + 1) // 2, costs.lanes))
    return {
        (count, epochs)
        for count in range(1, most + 1)
        for epochs in range(1, MOST_EPOCHS + 1)
        if costs.rung(lessons[:count], epochs) <= usable
    }


@pytest.mark.parametrize("seed", range(60))
def test_the_second_rung_is_the_largest_that_doubles_the_epochs_else_the_longest(seed):
    costs, works, left = drawn(seed)
    left = left / 2 - 100
    took = [random.Random(seed).uniform(0.5, 2) * one for one in lessons(costs, works)]
    found = plan_second_rung(left, costs, took, students=len(works), first_epochs=2)
    possible = every_second_rung(left, costs, took)
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
    students, epochs = plan_first_rung(left, costs, works, tuned=2)
    fewest, tried = min(2, len(works)), works[:students]
    assert fewest <= students <= len(works)
    usable = (1 - RESERVE) * left - costs.release
    still = costs.rung([0.0] * students, 0)
    training = usable - still - costs.rung([0.0] * min(students, costs.lanes), 0)
    share = FIRST_SHARE / (FIRST_SHARE + 0.29) * training
    # What is trained beside the control costs no time.
    share = max([share, *(costs.first_rung([one], 1, tuned=2) for one in tried if one.stock)])
    more = [costs.first_rung(tried, one, tuned=2) - still for one in (epochs, epochs + 1)]
    assert students == fewest or training >= TRAINING_SHARE * usable
    if (students, epochs) != (fewest, 1):
        assert more[0] <= share + 1e-9
    if epochs < MOST_EPOCHS:
        assert more[1] > share


def raced(seed):
    """A whole race on a clock that runs as the steps do, on a machine that is not as it was measured: another pace, and
    other ones for training on one core, which differ from student to student, and for what is not training.

    Gives the limit, when the race was over, epochs of the second rung, and seconds that one more would have taken.
    """
    costs, works, limit = drawn(seed)
    draw = random.Random(seed)
    try:
        plan = plan_time(limit, costs, works)
    except TooShortError:
        return None
    real = costs.at(draw.uniform(0.7, 1.33))
    slow = draw.uniform(0.6, 1.3)
    real = replace(real, handling=slow * real.handling, evaluation=slow * real.evaluation, release=slow * real.release)
    clock = real.head + (plan.epochs + plan.further_epochs) * real.epoch
    known = costs.at(bounded_pace(clock, plan.teacher))
    students, first = plan_first_rung(limit - clock, known, works[: plan.students], tuned=plan.epochs)
    tried = works[:students]
    took = [draw.uniform(0.6, 1.4) * real.lesson(one.work) for one in tried]
    epochs = [one.epochs(first, plan.epochs) for one in tried]
    clock += (rung := real.rung(took, epochs))
    known = explained(known, took, epochs, spent=rung)
    count, more = plan_second_rung(limit - clock, known, took, students=students, first_epochs=first)
    clock += real.rung(took[:count], more) + real.release
    another = real.rung(took[:count], more + 1) - real.rung(took[:count], more)
    return limit, clock, more, another


@pytest.mark.parametrize("seed", range(200))
def test_the_time_box_is_kept_and_used_on_a_machine_that_differs_from_what_was_measured(seed):
    ended = raced(seed)
    if ended is None:
        return
    limit, clock, more, another = ended
    assert clock <= 1.1 * limit or more == 0
    assert more == 0 or clock <= 1.02 * limit
    # What is left is less than an epoch and the two reserves.
    assert more in (0, MOST_EPOCHS) or clock + another >= (1 - LAST_RESERVE) * limit - 0.02 * limit


@pytest.mark.parametrize("seed", range(40))
def test_what_is_not_training_explains_the_seconds_that_training_does_not(seed):
    costs, works, _ = drawn(seed)
    draw = random.Random(seed)
    took = [draw.uniform(0.6, 1.4) * one for one in lessons(costs, works)]
    epochs = [draw.randint(1, 5) for _ in works]
    pace = draw.uniform(0.6, 3.5)
    real = replace(costs, handling=pace * costs.handling, evaluation=pace * costs.evaluation)
    found = explained(costs, took, epochs, spent=real.rung(took, epochs))
    for name in ("handling", "evaluation"):
        assert getattr(found, name) == pytest.approx(getattr(real, name), rel=1e-3)
    assert found.release == pytest.approx(pace * costs.release, rel=1e-3)


def test_a_first_rung_that_came_from_a_cache_says_little_of_what_is_not_training():
    found = explained(COSTS, [30.0, 20.0], [2, 2], spent=1.0)
    assert found.handling == pytest.approx(PACES[0] * 30, rel=1e-3)
    assert explained(COSTS, [30.0, 20.0], [2, 2], spent=1e6).handling == pytest.approx(PACES[1] * 30, rel=1e-3)


def test_a_machine_that_became_slow_gets_fewer_students_and_a_fast_one_more_epochs():
    tried = works(1.0, 0.56, 0.7, 0.4)
    assert plan_first_rung(450, COSTS, tried, tuned=2) > plan_first_rung(450, COSTS.at(2), tried, tuned=2)
    assert plan_first_rung(900, COSTS, tried, tuned=2)[1] > plan_first_rung(450, COSTS, tried, tuned=2)[1]
    assert [bounded_pace(spent, 10) for spent in (0, 10, 15, 1000)] == [0.5, 1.0, 1.5, 4.0]
