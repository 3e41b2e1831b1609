"""Many parts of the rows at once: which of them lose more than a margin, and how large a loss this could have found.

One test per class and slice at 2.5 % would refuse an equal challenger in nine of ten contests of 100 classes. Holm's
procedure keeps the chance of any false refusal at 2.5 %, however the parts depend on each other.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist

from components.core.evaluation.document import Comparison
from components.core.evaluation.paired_proportions import loss_p_value

POWER = 0.8
"""Probability with which `detectable_loss` is found."""

_NORMAL = NormalDist()
_HALVINGS = 20


def p_value(part: Comparison, margin: float, confidence: float) -> float | None:
    """One-sided p-value of "this part loses at most `margin` points"; None where its rows are too few for a test.

    Of a proportion that of Tango's score test, from the rows gained and lost. Of any other metric
    `Φ((points + margin) / error)`, with the standard error that the paired interval has below the normal distribution.
    """
    if part.points is None or part.low is None or part.high is None:
        return None
    if part.proportion:
        return loss_p_value(part.gained, part.lost, part.support, margin / 100)
    return _NORMAL.cdf((part.points + margin) / _error(part.low, part.high, confidence))


def rejected(p_values: Sequence[float], level: float) -> list[bool]:
    """Holm 1979: the smallest p-value is held against level/m, the next against level/(m − 1), until one is larger."""
    order = sorted(range(len(p_values)), key=lambda number: p_values[number])
    found = [False] * len(p_values)
    for rank, number in enumerate(order):
        if p_values[number] > level / (len(p_values) - rank):
            break
        found[number] = True
    return found


def detectable_loss(part: Comparison, margin: float, level: float, confidence: float, changed: float) -> float | None:
    """The true loss in points that the test of this part finds in `POWER` of the contests; None if not even 100 points.

    Of a proportion the loss with which the rows lost reach what the score test needs, by the normal distribution of
    lost − gained. Of other metrics `margin + (z + z')·error`, z of the level and z' of the power.

    Args:
        part: the rows.
        margin: points that may be lost.
        level: of this one test, as small as Holm's first step.
        confidence: of the interval.
        changed: share of rows that models of this kind change, from all rows; a part's own share is too uncertain.
    """
    if part.low is None or part.high is None:
        return None
    strict, power = -_NORMAL.inv_cdf(level), _NORMAL.inv_cdf(POWER)
    if not part.proportion:
        return margin + (strict + power) * _error(part.low, part.high, confidence)

    def found(loss: float) -> bool:
        share = max(changed, loss)
        gained = round(part.support * (share - loss) / 2)
        needed = _fewest_lost(gained, part.support, margin / 100, level)
        spread = math.sqrt(part.support * (share - loss * loss)) or 1e-9
        # Half a row more, for the counts are whole numbers.
        return needed is not None and part.support * loss - (needed - gained) + 0.5 >= power * spread

    low, high = margin / 100, 1.0
    if not found(high):
        return None
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if found(middle) else (middle, high)
    return 100 * high


def _fewest_lost(gained: int, rows: int, margin: float, level: float) -> int | None:
    """The fewest lost rows that prove a loss above the margin at this level; None if not even all of the others do."""
    low, high = -1, rows - gained
    if loss_p_value(gained, high, rows, margin) > level:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if loss_p_value(gained, middle, rows, margin) <= level else (middle, high)
    return high


def _error(low: float, high: float, confidence: float) -> float:
    return max(1e-9, (high - low) / (2 * _NORMAL.inv_cdf(0.5 + confidence / 2)))
