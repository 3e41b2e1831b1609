"""What the choice looks at, read from the evaluations of all recipes."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from components.core.errors import UserError

_Z95 = 1.959964
"""Half-width of a 95 % interval of the normal distribution, in standard errors."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One recipe, compared with the baseline on the same images and in the same interleaved timing run.

    `drop_points` is positive when accuracy was lost, in percentage points; `drop_error` is its standard error;
    `relative_latency` is the candidate's median latency at batch 1 divided by the baseline's.
    """

    top1: float
    drop_points: float
    drop_error: float
    relative_latency: float
    latency_ms: float
    size_bytes: int
    macs: int

    @property
    def costs(self) -> tuple[float, float, float]:
        """The coordinates of the Pareto front: lost points, latency, size; smaller is better."""
        return (self.drop_points, self.relative_latency, float(self.size_bytes))


def read_evaluations(evaluations: Sequence[Mapping[str, Any]]) -> list[Measured]:
    """The facts of each evaluation.json, with latencies brought to one scale.

    Evaluations may run at the same time or on different machines, so their milliseconds cannot be compared. Within
    each, candidate and baseline were timed in turn; that ratio can. `latency_ms` is the ratio times the median of all
    baselines.

    Raises:
        UserError: An evaluation was made on test data, or on another split than the others.
    """
    splits = [str(evaluation["split"]) for evaluation in evaluations]
    if "test" in splits:
        raise UserError(
            f"evaluation {splits.index('test') + 1} of {len(splits)} was made on the test split; "
            "a choice is made on validation data"
        )
    if len(set(splits)) > 1:
        raise UserError(f"evaluations of different splits cannot be compared: {', '.join(sorted(set(splits)))}")
    common = statistics.median(baseline_latency(evaluation) for evaluation in evaluations)
    return [_read(evaluation, common) for evaluation in evaluations]


def baseline_latency(evaluation: Mapping[str, Any]) -> float:
    """Median latency of the baseline at batch 1 in this evaluation, in ms."""
    return float(evaluation["baseline"]["latency_batch1"]["p50_ms"])


def _read(evaluation: Mapping[str, Any], common_baseline_ms: float) -> Measured:
    candidate, baseline = evaluation["candidate"], evaluation["baseline"]
    relative = float(candidate["latency_batch1"]["p50_ms"]) / baseline_latency(evaluation)
    difference = evaluation["difference"]
    return Measured(
        top1=float(candidate["top1"]),
        # Rounded, so that the last bit of a subtraction does not decide between equal accuracies.
        drop_points=round(100 * (float(baseline["top1"]) - float(candidate["top1"])), 6),
        drop_error=(float(difference["high"]) - float(difference["low"])) / (2 * _Z95),
        relative_latency=relative,
        latency_ms=relative * common_baseline_ms,
        size_bytes=int(candidate["size_bytes"]),
        macs=int(candidate["macs"]),
    )
