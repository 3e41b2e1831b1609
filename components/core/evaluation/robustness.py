"""Robustness in an evaluation: the primary metric of both models on corrupted rows."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class CorruptedResult:
    """Both models on the same rows, damaged by one corruption at one severity; None where the rows say nothing.

    Attributes:
        corruption: its name.
        severity: from 1, the mildest, upwards.
        candidate, baseline: the primary metric of each.
        candidate_drop, baseline_drop: points that each has lost to the undamaged rows; negative where it gained.
    """

    corruption: str
    severity: int
    candidate: float | None
    baseline: float | None
    candidate_drop: float | None
    baseline_drop: float | None


@dataclass(frozen=True, kw_only=True)
class Robustness:
    """Points of the primary metric that each model loses on corrupted inputs.

    Attributes:
        rows: how many rows were damaged, the same ones for every corruption and both models.
        candidate, baseline: the primary metric of each on these rows undamaged.
        corrupted: every corruption at every severity, the mildest first.
        candidate_drop, baseline_drop: mean drop over all of `corrupted`, in points.
        points, low, high: the baseline's mean drop minus the candidate's (negative = compression cost robustness), with
            the paired interval; None where the rows say nothing, or (low and high alone) are too few for an interval.
        method: how rows were damaged and the interval was made, in sentences.
    """

    rows: int
    candidate: float | None
    baseline: float | None
    corrupted: tuple[CorruptedResult, ...]
    candidate_drop: float | None
    baseline_drop: float | None
    points: float | None
    low: float | None
    high: float | None
    method: str

    @property
    def severities(self) -> list[int]:
        """The severities, ascending."""
        return sorted({one.severity for one in self.corrupted})

    def by_corruption(self) -> dict[str, list[CorruptedResult]]:
        """The results of each corruption, the mildest severity first."""
        found: dict[str, list[CorruptedResult]] = {}
        for one in sorted(self.corrupted, key=lambda one: one.severity):
            found.setdefault(one.corruption, []).append(one)
        return {name: found[name] for name in dict.fromkeys(one.corruption for one in self.corrupted)}


def mean(values: list[float | None]) -> float | None:
    """The mean; None if one of the values is not known, or there is none."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None
