"""How far a recipe is from the user's limits, in words and as a number."""

from dataclasses import dataclass

from components.core.budget import Budget, Check
from components.core.choice.measured import Measured


@dataclass(frozen=True, kw_only=True)
class Miss:
    """One limit that a recipe does not keep; `excess` is how far beyond it, relative to the limit."""

    text: str
    excess: float


def misses(budget: Budget, measured: Measured) -> list[Miss]:
    """The limits that `measured` exceeds; empty when it keeps them all."""
    checks = budget.checks(
        latency_ms=measured.latency_ms, size_bytes=measured.size_bytes, drop_points=measured.drop_points
    )
    return [Miss(text=_text(check), excess=check.excess) for check in checks if not check.met]


def _text(check: Check) -> str:
    if check.limit == "max_latency_ms":
        return f"latency {check.measured:.2f} ms, allowed {check.allowed:g} ms"
    if check.limit == "max_size_mb":
        return f"size {check.measured:.2f} MB, allowed {check.allowed:g} MB"
    return f"loses {check.measured:.2f} points, allowed {check.allowed:g}"
