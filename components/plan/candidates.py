"""The students that are tried: sizes of the input times fractions of the multiply-accumulates, within the limits."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from components.core.errors import UserError
from components.core.pruning.students import LEAST, Student
from components.core.recipe import CONTROL, Recipe
from components.core.time_box import Contender

SIDES = (1.0, 0.75, 0.625)
"""Of the teacher's input. A smaller input is the cheapest way to be fast: 0.75 costs about 60 % of the time."""

SIDE_STEP = 8
LEAST_SIDE = 32

FRACTIONS = (1.0, 0.7, 0.5, 0.35, 0.25)
"""Of the multiply-accumulates, which is what pruning takes."""

WITHOUT_LIMIT = (0.7, 0.5)
"""Of the multiply-accumulates, where there is no limit of latency or size. The whole network is not among them: in a
box of eight minutes it was then all that was tried on the demo, and pruned to 58 % it loses 0.2 points."""

EACH = 2
"""Candidates of one size."""

MARGIN = 0.93
"""Part of a limit that an untrained student may take: pruning by importance leaves up to a tenth slower ones."""

SLACK = 1.25
"""By how much the fastest untrained student must miss a latency before it is refused; see budget_check."""

Measure = Callable[[int, Sequence[float]], list[Student]]
"""Side of the input (0 is the teacher's) and fractions → untrained students."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A recipe, and its share of the teacher's multiply-accumulates, input size and pruning together."""

    recipe: Recipe
    work: float

    @property
    def contender(self) -> Contender:
        """The facts that its time is planned from."""
        return Contender(work=self.work, stock=CONTROL in self.recipe.more)


def smaller_sides(side: int) -> list[int]:
    """Sides of the inputs that students may have: 0 for the teacher's, then smaller multiples of `SIDE_STEP`."""
    rounded = (round(part * side / SIDE_STEP) * SIDE_STEP for part in SIDES[1:])
    return [0, *sorted({one for one in rounded if LEAST_SIDE <= one < side}, reverse=True)]


def candidates(
    base: Recipe,
    side: int,
    sides: Sequence[int],
    measured: Measure,
    *,
    backbone: str,
    max_latency_ms: float | None,
    max_size_mb: float | None,
) -> list[Candidate]:
    """The largest `EACH` students of each size that are within the limits, the largest of every size first.

    Args:
        base: what holds for each of them.
        side: of the teacher's input.
        sides: as `smaller_sides` gives them.
        measured: makes untrained students; called only where there is a limit.
        backbone: the network's name, for messages.
        max_latency_ms, max_size_mb: the limits; None is none.

    Raises:
        UserError: not even the smallest student is within a limit.
    """
    limited = max_latency_ms is not None or max_size_mb is not None
    found: dict[int, list[float]] = {}
    known: dict[int, Mapping[float, Student]] = {}
    for one in sides:
        fitting = list(WITHOUT_LIMIT)
        if limited:
            tried = (*FRACTIONS, LEAST)
            known[one] = dict(zip(tried, measured(one, tried), strict=True))
            fitting = [part for part in FRACTIONS if _fits(known[one][part], max_latency_ms, max_size_mb)]
        found[one] = fitting[:EACH]
    if not any(found.values()):
        _refuse_what_is_out_of_reach(known, backbone, max_latency_ms, max_size_mb)
        found[sides[-1]] = [FRACTIONS[-1]]
    ranks = range(EACH)
    chosen = [(one, found[one][rank]) for rank in ranks for one in sides if rank < len(found[one])]
    return [
        Candidate(
            recipe=replace(
                base, name=f"{part:.0%} MACs{f', {one} px' if one else ''}", macs_fraction=part, student_size=one
            ),
            work=part * ((one or side) / side) ** 2,
        )
        for one, part in chosen
    ]


def _fits(student: Student, max_latency_ms: float | None, max_size_mb: float | None) -> bool:
    fast = max_latency_ms is None or student.latency_ms <= MARGIN * max_latency_ms
    return fast and (max_size_mb is None or student.size_bytes <= MARGIN * max_size_mb * 1e6)


def _refuse_what_is_out_of_reach(
    known: Mapping[int, Mapping[float, Student]],
    backbone: str,
    max_latency_ms: float | None,
    max_size_mb: float | None,
) -> None:
    least = [students[LEAST] for students in known.values()]
    latency, size = min(one.latency_ms for one in least), min(one.size_bytes for one in least)
    said = f"the smallest student of {backbone} that could be made"
    if max_latency_ms is not None and latency > SLACK * max_latency_ms:
        raise UserError(
            f"max_latency_ms {max_latency_ms:g} cannot be met: {said} takes {latency:.3g} ms at batch 1 on this "
            "machine. Raise the limit, or give another backbone"
        )
    if max_size_mb is not None and size > max_size_mb * 1e6:
        raise UserError(
            f"max_size_mb {max_size_mb:g} cannot be met: {said} has {size / 1e6:.3g} MB. Raise the limit, or give "
            "another backbone"
        )
