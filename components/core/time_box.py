"""The plan of a time box: how many epochs teacher and students get, from seconds that were measured.

Arithmetic alone: no clock, no machine. Planned numbers are epochs, so that stages stay functions of their inputs.
"""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

RESERVE = 0.08
"""Part of the time that is planned for nothing: a step that takes longer than measured must not cost the deadline."""

LAST_RESERVE = 0.05
"""The same for the second rung, whose epochs were timed in the first."""

TEACHER_SHARE = 0.23
"""Part of the time for training that fine-tuning gets, and again the baseline that trains on, which is the teacher."""

FIRST_SHARE = 0.25
"""Part of the time for training that the first rung gets; the second one gets what is left."""

SECOND_SHARE = 0.2
"""Part of it that must be left for the second rung: a stock network can take its lane for longer than `FIRST_SHARE`,
and then the teacher gets fewer epochs."""

TRAINING_SHARE = 0.65
"""Part of the usable time that is for training at least, or fewer students run: each costs seconds before it learns."""

PACES = (0.5, 4.0)
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
    """Not even the shortest plan fits; `least` is how long it takes, in seconds."""

    def __init__(self, least: float) -> None:
        super().__init__(f"the shortest plan takes {least:.0f} s")
        self.least = least


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A student before the race: its share of the teacher's multiply-accumulates, and whether it is a stock network.

    A stock network starts from its published weights, the others from the teacher's. It therefore trains at least one
    epoch more in the first rung than fine-tuning had.
    """

    work: float
    stock: bool = False

    def epochs(self, first: int, tuned: int) -> int:
        """Of the first rung: `first`, and for a stock network at least one more than the `tuned` of fine-tuning."""
        return max(first, tuned + 1) if self.stock else first


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Seconds of each step on this machine.

    Attributes:
        head: training the fresh head on frozen features, and the start of both trainings of the teacher.
        epoch: an epoch of the whole network with its validation, on all cores.
        teacher: the teacher's part of an epoch of distillation, on all cores.
        handling: pruning, quantizing and starting a student's tasks, on one core.
        evaluation: comparing a student with the baseline, alone on the machine.
        release: all that follows the last choice.
        lanes: students that are trained side by side, one core each.
        single: how many times as long training takes on one core, beside others, as on all.
    """

    head: float
    epoch: float
    teacher: float
    handling: float
    evaluation: float
    release: float
    lanes: int
    single: float

    def lesson(self, work: float) -> float:
        """An epoch of distillation on one core, of a student with this share of the teacher's multiply-accumulates."""
        return self.single * (self.teacher + (_FIXED_WORK + (1 - _FIXED_WORK) * work) * self.epoch)

    def rung(self, lessons: Sequence[float], epochs: int | Sequence[int]) -> float:
        """A rung of students that are trained, quantized and measured.

        Args:
            lessons: seconds of an epoch of each, on one core.
            epochs: of all, or of each.
        """
        each = [epochs] * len(lessons) if isinstance(epochs, int) else epochs
        durations = [self.handling + count * lesson for count, lesson in zip(each, lessons, strict=True)]
        return makespan(durations, self.lanes) + len(lessons) * self.evaluation

    def first_rung(self, contenders: Sequence[Contender], epochs: int, *, tuned: int) -> float:
        """The first rung; `tuned` is how many epochs fine-tuning had."""
        return self.rung(
            [self.lesson(one.work) for one in contenders], [one.epochs(epochs, tuned) for one in contenders]
        )

    def at(self, pace: float) -> "Costs":
        """The same on a machine where everything takes so many times as long."""
        kept = ("lanes", "single")
        seconds = {name: pace * value for name, value in asdict(self).items() if name not in kept}
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


def plan_time(left: float, costs: Costs, contenders: Sequence[Contender]) -> TimePlan:
    """The plan for the seconds that are left.

    As many candidates as leave at least `TRAINING_SHARE` of the time to training. Of the time for training,
    `TEACHER_SHARE` goes into fine-tuning and as much into the baseline, `FIRST_SHARE` into the first rung, at least an
    epoch each; the teacher gets fewer where less than `SECOND_SHARE` would be left, and a second rung of an epoch must
    fit. Where nothing of that fits, the shortest plan: an epoch each for the first two candidates, and no more training
    after the first rung.

    Args:
        left: seconds until the deadline.
        costs: of each step.
        contenders: the candidates, the ones to be tried first first.

    Raises:
        TooShortError: the shortest plan does not fit.
    """
    usable = (1 - RESERVE) * left - costs.release
    fewest = min(LEAST_STUDENTS, len(contenders))
    for students in range(len(contenders), fewest - 1, -1):
        tried = contenders[:students]
        training = usable - costs.head - _idle(costs, tried)
        if training < TRAINING_SHARE * usable and students > fewest:
            continue
        an_epoch = costs.rung([costs.lesson(max(one.work for one in tried))], 1)
        for tuned in range(_nearest(TEACHER_SHARE * training, costs.epoch), 0, -1):
            first = _first_epochs(FIRST_SHARE * training, costs, tried, tuned) or 1
            plan = _plan(costs, tried, epochs=tuned, first_epochs=first, usable=usable)
            if plan.second >= (an_epoch if tuned == 1 else max(an_epoch, SECOND_SHARE * training)):
                return plan
    tried = contenders[:fewest]
    plan = _plan(costs, tried, epochs=1, first_epochs=1, usable=usable)
    still = costs.rung([0.0], 0)
    if plan.second < still:
        raise TooShortError((plan.teacher + plan.first + still + costs.release) / (1 - RESERVE))
    return plan


def bounded_pace(spent: float, planned: float) -> float:
    """How many times as long as planned the steps took, within `PACES`."""
    return min(max(spent / planned, PACES[0]), PACES[1])


def plan_first_rung(left: float, costs: Costs, contenders: Sequence[Contender], *, tuned: int) -> tuple[int, int]:
    """How many of the candidates run, and for how many epochs each, when the teacher is trained.

    As `plan_time` has it, with the time that is really left: as many as leave `TRAINING_SHARE` of it to training, of
    which this rung has its share against the second one. At least `LEAST_STUDENTS`, and an epoch each, whatever is
    left.

    Args:
        left: seconds until the deadline.
        costs: as the machine is now.
        contenders: the candidates that were planned.
        tuned: epochs that fine-tuning had.
    """
    usable = (1 - RESERVE) * left - costs.release
    fewest = min(LEAST_STUDENTS, len(contenders))
    for students in range(len(contenders), fewest - 1, -1):
        tried = contenders[:students]
        training = usable - _idle(costs, tried)
        epochs = _first_epochs(FIRST_SHARE / (1 - 2 * TEACHER_SHARE) * training, costs, tried, tuned)
        if training >= TRAINING_SHARE * usable and epochs:
            return students, epochs
    return fewest, max(epochs, 1)


def explained(costs: Costs, lessons: Sequence[float], epochs: Sequence[int], *, spent: float) -> Costs:
    """Costs at the pace at which these lessons and what was done besides make the rung as long as it was.

    Args:
        costs: as they were planned.
        lessons: seconds that an epoch of each student really took.
        epochs: that each had.
        spent: seconds of the whole rung.
    """
    low, high = PACES
    # `rung` grows with the pace; twenty halvings leave a millionth of the range.
    for _ in range(20):
        middle = (low + high) / 2
        if costs.at(middle).rung(lessons, epochs) < spent:
            low = middle
        else:
            high = middle
    return costs.at(high)


def plan_second_rung(
    left: float, costs: Costs, lessons: Sequence[float], *, students: int, first_epochs: int
) -> tuple[int, int]:
    """How many of the ranked students continue, and for how many epochs: (1, 0) where no epoch fits.

    Half of the first rung at most, or as many as are trained side by side, in the order given: the largest number for
    which each gets twice the epochs that it has had; where none does, the number for which each gets the most.

    Args:
        left: seconds until the deadline.
        lessons: seconds of an epoch of those that can still win, the best first.
        students: of the first rung, with those that cannot.
        first_epochs: what each has had.
    """
    usable = (1 - LAST_RESERVE) * left - costs.release
    most = min(len(lessons), max(-(-students // 2), costs.lanes))
    tried = [(count, _rung_epochs(usable, costs, lessons[:count])) for count in range(most, 0, -1)]
    for count, epochs in tried:
        if epochs >= 2 * first_epochs:
            return count, epochs
    count, epochs = max(tried, key=lambda one: (one[1], one[0]))
    return (count, epochs) if epochs else (1, 0)


def _plan(costs: Costs, contenders: Sequence[Contender], *, epochs: int, first_epochs: int, usable: float) -> TimePlan:
    teacher = costs.head + 2 * epochs * costs.epoch
    first = costs.first_rung(contenders, first_epochs, tuned=epochs)
    return TimePlan(
        epochs=epochs, further_epochs=epochs, first_epochs=first_epochs, students=len(contenders), teacher=teacher,
        first=first, second=usable - teacher - first, release=costs.release,
    )  # fmt: skip


def _idle(costs: Costs, contenders: Sequence[Contender]) -> float:
    """Seconds of both rungs besides training, if as many students continue as are trained side by side."""
    return costs.rung([0.0] * len(contenders), 0) + costs.rung([0.0] * min(len(contenders), costs.lanes), 0)


def _nearest(seconds: float, epoch: float) -> int:
    return min(max(round(seconds / epoch), 1), MOST_EPOCHS)


def _first_epochs(seconds: float, costs: Costs, contenders: Sequence[Contender], tuned: int) -> int:
    """The most epochs for which training in the first rung ends in time; 0 where none does.

    Where a stock network alone takes longer than `seconds`, as many as are trained beside it in its time.
    """
    still, epochs = costs.rung([0.0] * len(contenders), 0), 0
    stock = [one for one in contenders if one.stock]
    allowed = max(seconds, costs.first_rung(stock, 1, tuned=tuned) if stock else 0.0)
    while epochs < MOST_EPOCHS and costs.first_rung(contenders, epochs + 1, tuned=tuned) - still <= allowed:
        epochs += 1
    return epochs


def _rung_epochs(seconds: float, costs: Costs, lessons: Sequence[float]) -> int:
    """The most epochs with which the rung ends in time; 0 where none does."""
    epochs = 0
    while epochs < MOST_EPOCHS and costs.rung(lessons, epochs + 1) <= seconds:
        epochs += 1
    return epochs
