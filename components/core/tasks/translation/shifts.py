"""Lines of two files that stop belonging together: found by how the lengths of sentences and translations correlate."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SHIFTED = "shifted lines"
REASONS = {SHIFTED: "by their lengths, the lines around belong to each other some lines earlier or later"}

_WINDOW, _REACH, _FEWEST = 200, 3, 50
_CLEAR, _LIKELY = 0.3, 0.6
"""How much better a shifted window must correlate, and how well at least. On 57,000 pairs of LibreOffice the best place
beside was always worse than in place, where the correlation was 0.68 to 0.99; on 31,000 verses 0.95 against 0.25."""


@dataclass(frozen=True, kw_only=True)
class Shift:
    """Lines `start` to `stop` (from 0, `stop` excluded): a source's translation stands `lines` later."""

    start: int
    stop: int
    lines: int

    def __str__(self) -> str:
        where = "later" if self.lines > 0 else "earlier"
        count = abs(self.lines)
        return f"lines {self.start + 1} to {self.stop} fit {count} line{'s' * (count > 1)} {where}"


def shifts_found(source_lengths: Sequence[int], target_lengths: Sequence[int]) -> list[Shift]:
    """Where lines do not belong together, in order and apart; empty for fewer than 50 lines.

    The logarithms of the lengths are correlated in overlapping windows of 200 lines, in place and shifted by up to 3
    lines. Half a window before and after one that is shifted counts as shifted too: it may begin anywhere in there.
    """
    ours, theirs = (np.log1p(np.asarray(lengths, dtype=np.float64)) for lengths in (source_lengths, target_lengths))
    half = _WINDOW // 2
    found: list[Shift] = []
    for start in range(0, max(len(ours) - half, 1), half) if len(ours) >= _FEWEST else ():
        window = slice(start, start + _WINDOW)
        correlations = {
            shift: _correlation(ours[window], theirs[window], shift) for shift in range(-_REACH, _REACH + 1)
        }
        best = max(correlations, key=correlations.__getitem__)
        if correlations[best] <= max(_LIKELY, correlations[0] + _CLEAR):
            continue
        first, stop = max(0, start - half), min(len(ours), start + _WINDOW + half)
        if found and found[-1].stop >= first:
            first = found.pop().start
        found.append(Shift(start=first, stop=stop, lines=best))
    return found


def _correlation(ours: np.ndarray, theirs: np.ndarray, shift: int) -> float:
    count = len(ours) - abs(shift)
    first, second = ours[max(-shift, 0) :][:count], theirs[max(shift, 0) :][:count]
    deviation = float(first.std() * second.std())
    return float(((first - first.mean()) * (second - second.mean())).mean()) / deviation if deviation > 0 else 0.0
