"""The deployment budget: the user's limits, and how a model stands to each of them."""

from dataclasses import asdict, dataclass

from components.core.parameters import check_declared, limit


@dataclass(frozen=True, kw_only=True)
class Check:
    """One limit: what is allowed, what was measured, and whether it is met."""

    limit: str
    allowed: float
    measured: float
    met: bool

    @property
    def excess(self) -> float:
        """How far beyond the limit, relative to it; 0 when it is met.

        Points are divided by at least one: a limit near zero would turn a tenth of a point into a hundredfold excess.
        """
        divisor = max(self.allowed, 1.0) if self.limit == "max_drop" else self.allowed
        return max(0.0, self.measured - self.allowed) / divisor


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Limits of the deployment; None is no limit, and -1, as a form says it, becomes None.

    Attributes:
        max_latency_ms: median latency of one image (batch 1), milliseconds, on the machine that measures.
        max_size_mb: size of the ONNX files and of what they need beside them, megabytes (10⁶ bytes).
        max_drop: how many percentage points of the metric the model may lie below the baseline; 0 allows no loss.

    Raises:
        UserError: a limit that nothing could meet, or that is not a number.
    """

    max_latency_ms: float | None = None
    max_size_mb: float | None = None
    max_drop: float | None = None

    def __post_init__(self) -> None:
        given = {name: value for name, value in asdict(self).items() if value is not None}
        check_declared(given)
        for name, value in given.items():
            object.__setattr__(self, name, limit(value))

    @property
    def given(self) -> bool:
        """Whether there is any limit at all."""
        return any(limit is not None for limit in asdict(self).values())

    def checks(self, *, latency_ms: float, size_bytes: int, drop_points: float) -> list[Check]:
        """One check for each limit that is given.

        Args:
            latency_ms: median at batch 1.
            size_bytes: of the file.
            drop_points: baseline minus model, percentage points; below 0 (better than the baseline) counts as 0.
        """
        measured = {
            "max_latency_ms": latency_ms,
            "max_size_mb": size_bytes / 1e6,
            "max_drop": max(0.0, drop_points),
        }
        return [
            Check(limit=name, allowed=allowed, measured=measured[name], met=measured[name] <= allowed)
            for name, allowed in asdict(self).items()
            if allowed is not None
        ]
