"""The figures that the choice compares, read from the evaluations of all recipes."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from components.core.errors import UserError
from components.core.evaluation.document import Evaluation

_Z95 = 1.959964
"""Half-width of a 95 % interval of the normal distribution, in standard errors."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One recipe, compared with the baseline on the same rows and in the same timing run.

    `value` is the primary metric; `drop_points` is positive when something of it was lost, in points; `drop_error` is
    its standard error, None where the rows were too few to tell; `relative_latency` is the candidate's warm latency at
    batch 1 divided by the baseline's.
    """

    value: float | None
    drop_points: float
    drop_error: float | None
    relative_latency: float
    latency_ms: float
    size_bytes: int
    macs: int

    @property
    def costs(self) -> tuple[float, float, float]:
        """The coordinates of the Pareto front: lost points, latency, size; smaller is better."""
        return (self.drop_points, self.relative_latency, float(self.size_bytes))


def measure_recipes(evaluations: Sequence[Evaluation]) -> list[Measured]:
    """The facts of each evaluation, with latencies brought to one scale.

    Evaluations may run at the same time or on different machines, so their milliseconds cannot be compared. Within
    each, candidate and baseline were timed in alternating blocks; that ratio can. `latency_ms` is the ratio times the
    median of all baselines.

    Raises:
        UserError: An evaluation was made on test data, or on another split or by another metric than the others.
    """
    splits = [evaluation.split for evaluation in evaluations]
    if "test" in splits:
        raise UserError(
            f"evaluation {splits.index('test') + 1} of {len(splits)} was made on the test split; recipes are "
            "chosen on validation data"
        )
    for what, found in (
        ("splits", set(splits)),
        ("metrics", {evaluation.primary.name for evaluation in evaluations}),
    ):
        if len(found) > 1:
            raise UserError(f"evaluations of different {what} cannot be compared: {', '.join(sorted(found))}")
    common = statistics.median(evaluation.baseline.at(1).p50_ms for evaluation in evaluations)
    return [_measured(evaluation, common) for evaluation in evaluations]


def _measured(evaluation: Evaluation, common_baseline_ms: float) -> Measured:
    primary, difference = evaluation.primary, evaluation.primary.difference
    relative = 1 / evaluation.speedup
    low, high = difference.low, difference.high
    return Measured(
        value=primary.candidate.value,
        # Rounded, so that the last bit of a subtraction does not decide between equal qualities.
        drop_points=round(-primary.points, 6),
        drop_error=None if low is None or high is None else (high - low) / (2 * _Z95),
        relative_latency=relative,
        latency_ms=relative * common_baseline_ms,
        size_bytes=evaluation.candidate.size_bytes,
        macs=evaluation.candidate.macs,
    )
