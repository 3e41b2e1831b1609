"""Whether a candidate meets the budget, as it stands in evaluation.json."""

from dataclasses import asdict
from typing import Any

from components.core.budget import Budget


def judge(budget: Budget, *, latency_ms: float, size_bytes: int, difference_points: float) -> dict[str, Any]:
    """The verdict: `{"meets": all limits met, "checks": one a limit that is given}`.

    Args:
        budget: the limits.
        latency_ms: median at batch 1.
        size_bytes: of the file.
        difference_points: candidate minus baseline, percentage points (negative = worse).
    """
    checks = budget.checks(latency_ms=latency_ms, size_bytes=size_bytes, drop_points=-difference_points)
    return {"meets": all(check.met for check in checks), "checks": [asdict(check) for check in checks]}
