"""The budget, and whether a candidate meets it."""

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

from components.core.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Limits of the deployment; None is no limit.

    Attributes:
        max_latency_ms: median latency of one image (batch 1), milliseconds, on this machine.
        max_size_mb: size of the ONNX file, megabytes (10⁶ bytes).
        max_drop: how many percentage points of the metric the candidate may lie below the baseline.

    Raises:
        UserError: a limit that nothing could meet, or that is not a number.
    """

    max_latency_ms: float | None = None
    max_size_mb: float | None = None
    max_drop: float | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None:
                continue
            least = 0.0 if field.name == "max_drop" else math.ulp(0.0)
            if not math.isfinite(value) or value < least:
                floor = "0 or more" if field.name == "max_drop" else "greater than 0"
                raise UserError(f"{field.name} must be {floor}, got {value}; leave it out for no limit")


@dataclass(frozen=True, kw_only=True)
class Check:
    """One limit: what is allowed, what was measured, and whether it is met."""

    limit: str
    allowed: float
    measured: float
    met: bool


def judge(budget: Budget, *, latency_ms: float, size_bytes: int, difference_points: float) -> dict[str, Any]:
    """The verdict: `{"meets": all limits met, "checks": one a limit that is given}`.

    Args:
        budget: the limits.
        latency_ms: median at batch 1.
        size_bytes: of the file.
        difference_points: candidate minus baseline, percentage points (negative = worse).
    """
    measured = {
        "max_latency_ms": latency_ms,
        "max_size_mb": size_bytes / 1e6,
        # A candidate that is better than the baseline has dropped by nothing.
        "max_drop": max(0.0, -difference_points),
    }
    checks = [
        Check(limit=name, allowed=allowed, measured=measured[name], met=measured[name] <= allowed)
        for name, allowed in asdict(budget).items()
        if allowed is not None
    ]
    return {"meets": all(check.met for check in checks), "checks": [asdict(check) for check in checks]}
