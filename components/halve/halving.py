"""Which students continue: what can still win, in the order of the choice rule, as many as there is time for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from components.core.budget import Budget
from components.core.choice.measured import Measured
from components.core.choice.rule import LATENCY_TOLERANCE, choose_recipe


@dataclass(frozen=True, kw_only=True)
class Halved:
    """Numbers of the students that continue, the best first, their epochs, and of every other the reason."""

    going_on: list[int]
    epochs: int
    stopped: dict[int, str]


def halve_students(
    measured: Sequence[Measured],
    budget: Budget,
    names: Sequence[str],
    fits: Callable[[Sequence[int]], tuple[int, int]],
) -> Halved:
    """Successive halving (Jamieson and Talwalkar 2016, arXiv:1502.07943) by the rule of the choice.

    Args:
        measured: the students, at least one.
        budget: the limits.
        names: of the students.
        fits: of the students that can still win, the best first, how many continue and for how many epochs.
    """
    stopped = hopeless(measured, budget, names)
    ranked = ranked_by_choice(measured, budget, names)
    # Where all are hopeless, the one that comes nearest still gets the time: it will be released.
    able = [one for one in ranked if one not in stopped] or ranked[:1]
    count, epochs = fits(able)
    going_on = able[:count]
    best = names[going_on[0]]
    reasons = {
        one: stopped.get(one, f"{best} ranks above it, and {len(going_on)} of {len(measured)} continue")
        for one in range(len(measured))
        if one not in going_on
    }
    return Halved(going_on=going_on, epochs=epochs, stopped=reasons)


def ranked_by_choice(measured: Sequence[Measured], budget: Budget, names: Sequence[str]) -> list[int]:
    """All students in the order in which the choice rule would take them, if the ones before were not there."""
    left, order = list(range(len(measured))), []
    while left:
        choice = choose_recipe([measured[one] for one in left], budget, [names[one] for one in left])
        order.append(left.pop(choice.index))
    return order


def hopeless(measured: Sequence[Measured], budget: Budget, names: Sequence[str]) -> dict[int, str]:
    """Students that no training can bring back, with the reason: a limit that does not depend on training, or another
    student that is at least as fast and as small and so much more accurate that chance does not explain it."""
    reasons: dict[int, str] = {}
    for number, one in enumerate(measured):
        if budget.max_size_mb is not None and one.size_bytes > budget.max_size_mb * 1e6:
            reasons[number] = f"{one.size_bytes / 1e6:.2f} MB, allowed {budget.max_size_mb:g}: training changes no size"
        elif budget.max_latency_ms is not None and one.latency_ms > (1 + LATENCY_TOLERANCE) * budget.max_latency_ms:
            reasons[number] = f"{one.latency_ms:.2f} ms, allowed {budget.max_latency_ms:g}: training changes no latency"
        else:
            better = next((other for other, rival in enumerate(measured) if _clearly_beats(rival, one)), None)
            if better is not None:
                reasons[number] = (
                    f"{names[better]} is no slower, no larger, and more accurate by more than both standard errors"
                )
    return reasons


def _clearly_beats(rival: Measured, one: Measured) -> bool:
    if rival.drop_error is None or one.drop_error is None:
        return False
    cheaper = rival.relative_latency <= one.relative_latency and rival.size_bytes <= one.size_bytes
    return cheaper and one.drop_points - rival.drop_points > rival.drop_error + one.drop_error
