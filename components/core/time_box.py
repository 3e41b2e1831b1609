"""The plan of a time box: how many epochs teacher and students get, from seconds that were measured.

Arithmetic alone: no clock, no machine. Planned numbers are epochs, so that stages stay functions of their inputs.
"""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

RESERVE = 0.08
"""Part of the time that is planned for nothing: a step that takes longer than measured must not cost the deadline."""

TEACHER_SHARE = 0.2
"""Part of the time for training that fine-tuning gets, and again the baseline that trains on, which is the teacher."""

FIRST_SHARE = 0.25
"""Part of the time for training that the first rung gets; the second one gets what is left."""

PACES = (0.8, 4.0)
"""Bounds of how many times as long as planned steps may have taken: results from a cache take no time and say nothing
of what comes, and a run that was resumed has stood still in between."""

LEAST_STUDENTS = 2
"""A race of one is none."""

MOST_EPOCHS = 60
"""Of any step; more passes over the same rows bring little, and the time is left unused."""

_FIXED_WORK = 0.25
"""Part of a training step that does not shrink with the student's multiply-accumulates: memory traffic of activations,
optimizer, and calls. Of EfficientNet-Lite0 at 64 px the whole step falls to 0.6 at half of the multiply-accumulates."""


class TooShortError(Exception):
    """Not even the least plan fits; `least` is what it takes, in seconds."""

    def __init__(self, least: float) -> None:
        super().__init__(f"the least plan takes {least:.0f} s")
        self.least = least


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Seconds of each step on this machine.

    Attributes:
        head: training the fresh head on frozen features.
        epoch: an epoch of the whole network with its validation, on all cores.
        teacher: the teacher's part of an epoch of distillation, on all cores.
        handling: pruning, quantizing and starting a student's tasks, on one core.
        evaluation: comparing a student with the baseline, alone on the machine.
        release: all that follows the last choice.
        lanes: students that are trained side by side, one core each.
    """

    head: float
    epoch: float
    teacher: float
    handling: float
    evaluation: float
    release: float
    lanes: int

    def lesson(self, work: float) -> float:
        """An epoch of distillation on one core, of a student with this share of the teacher's multiply-accumulates."""
        return self.lanes * (self.teacher + (_FIXED_WORK + (1 - _FIXED_WORK) * work) * self.epoch)

    def rung(self, works: Sequence[float], epochs: int) -> float:
        """A rung in which students of these shares are trained for so many epochs, quantized and measured."""
        durations = [self.handling + epochs * self.lesson(work) for work in works]
        return makespan(durations, self.lanes) + len(works) * self.evaluation

    def at(self, pace: float) -> "Costs":
        """The same on a machine where everything takes so many times as long."""
        seconds = {name: pace * value for name, value in asdict(self).items() if name != "lanes"}
        return replace(self, **seconds)

    def to_json(self) -> dict[str, Any]:
        """One flat object."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Costs":
        """The inverse of `to_json`; KFP hands 2 on as 2.0."""
        return cls(**{**content, "lanes": int(content["lanes"])})


@dataclass(frozen=True, kw_only=True)
class TimePlan:
    """Epochs until the first rung has been measured, and the seconds that each step is planned to take.

    `students` is how many of the candidates run; `second` is the time that the second rung has, with its reserve.
    """

    epochs: int
    further_epochs: int
    first_epochs: int
    students: int
    teacher: float
    first: float
    second: float
    release: float


def makespan(durations: Sequence[float], lanes: int) -> float:
    """When the last of these is over if each begins, in their order, as soon as one of `lanes` is free."""
    free = [0.0] * lanes
    for duration in durations:
        heapq.heapreplace(free, free[0] + duration)
    return max(free)


def plan_time(left: float, costs: Costs, works: Sequence[float]) -> TimePlan:
    """The plan for the seconds that are left.

    As many candidates as leave at least half of the time to training. Of the time for training, `TEACHER_SHARE` goes
    into fine-tuning and as much into the baseline, `FIRST_SHARE` into the first rung, at least an epoch each; a second
    rung of an epoch must fit behind it. Where nothing of that fits, the least plan: an epoch each for the first two
    candidates, and no more training after the first rung.

    Args:
        left: seconds until the deadline.
        costs: of each step.
        works: of each candidate its share of the teacher's multiply-accumulates, the ones to be tried first first.

    Raises:
        TooShortError: the least plan does not fit.
    """
    usable = (1 - RESERVE) * left - costs.release
    fewest = min(LEAST_STUDENTS, len(works))
    for students in range(len(works), fewest - 1, -1):
        tried = works[:students]
        idle = costs.head + costs.rung(tried, 0) + costs.rung(sorted(works)[-costs.lanes :], 0)
        training = usable - idle
        if training < usable / 2 and students > fewest:
            continue
        tuned = _within(TEACHER_SHARE * training, costs.epoch)
        first = _rung_epochs(costs.rung(tried, 0) + FIRST_SHARE * training, costs, tried) or 1
        plan = _plan(costs, tried, epochs=tuned, first_epochs=first, usable=usable)
        if plan.second >= costs.rung([max(tried)], 1):
            return plan
    tried = works[:fewest]
    plan = _plan(costs, tried, epochs=1, first_epochs=1, usable=usable)
    still = costs.rung([max(tried)], 0)
    if plan.second < still:
        raise TooShortError((plan.teacher + plan.first + still + costs.release) / (1 - RESERVE))
    return plan


def bounded_pace(spent: float, planned: float) -> float:
    """How many times as long as planned the steps took, within `PACES`."""
    return min(max(spent / planned, PACES[0]), PACES[1])


def plan_first_rung(left: float, costs: Costs, works: Sequence[float]) -> tuple[int, int]:
    """How many of the candidates run, and for how many epochs each, when the teacher is trained.

    As `plan_time` has it, with the time that is really left: as many as leave half of it to training, of which this
    rung has its share against the second one. At least `LEAST_STUDENTS`, and an epoch each, whatever is left.

    Args:
        left: seconds until the deadline.
        costs: as the machine is now.
        works: of the candidates that were planned.
    """
    usable = (1 - RESERVE) * left - costs.release
    fewest = min(LEAST_STUDENTS, len(works))
    for students in range(len(works), fewest - 1, -1):
        tried = works[:students]
        still = costs.rung(tried, 0)
        training = usable - still - costs.rung(sorted(works)[-costs.lanes :], 0)
        epochs = _rung_epochs(still + FIRST_SHARE / (1 - 2 * TEACHER_SHARE) * training, costs, tried)
        if training >= usable / 2 and epochs:
            return students, epochs
    return fewest, max(epochs, 1)


def plan_second_rung(
    left: float, costs: Costs, works: Sequence[float], *, students: int, first_epochs: int
) -> tuple[int, int]:
    """How many of the ranked students continue, and for how many epochs: (1, 0) where no epoch fits.

    Half of the first rung at most, in the order given: the largest number for which each gets twice the epochs that it
    has had; where none does, the number for which each gets the most.

    Args:
        left: seconds until the deadline.
        works: as in `plan_time`, of those that can still win, the best first.
        students: of the first rung, with those that cannot.
        first_epochs: what each has had.
    """
    usable = (1 - RESERVE) * left - costs.release
    most = min(len(works), -(-students // 2))
    tried = [(count, _rung_epochs(usable, costs, works[:count])) for count in range(most, 0, -1)]
    for count, epochs in tried:
        if epochs >= 2 * first_epochs:
            return count, epochs
    count, epochs = max(tried, key=lambda one: (one[1], one[0]))
    return (count, epochs) if epochs else (1, 0)


def _plan(costs: Costs, works: Sequence[float], *, epochs: int, first_epochs: int, usable: float) -> TimePlan:
    teacher = costs.head + 2 * epochs * costs.epoch
    first = costs.rung(works, first_epochs)
    return TimePlan(
        epochs=epochs, further_epochs=epochs, first_epochs=first_epochs, students=len(works), teacher=teacher,
        first=first, second=usable - teacher - first, release=costs.release,
    )  # fmt: skip


def _within(seconds: float, epoch: float) -> int:
    return min(max(int(seconds / epoch), 1), MOST_EPOCHS)


def _rung_epochs(seconds: float, costs: Costs, works: Sequence[float]) -> int:
    """The most epochs with which the rung ends in time; 0 where none does."""
    epochs = 0
    while epochs < MOST_EPOCHS and costs.rung(works, epochs + 1) <= seconds:
        epochs += 1
    return epochs
