"""The user's limits, and how far a recipe is from them."""

from dataclasses import dataclass

from components.choose.measured import Measured
from components.core.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Miss:
    """One limit that a recipe does not keep; `excess` is how far beyond it, relative to the limit."""

    text: str
    excess: float


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Limits on latency (ms, median, batch 1), size (MB of 10⁶ bytes) and lost accuracy (points); None is no limit.

    Raises:
        UserError: A limit that nothing can keep.
    """

    max_latency_ms: float | None = None
    max_size_mb: float | None = None
    max_drop: float | None = None

    def __post_init__(self) -> None:
        for name in ("max_latency_ms", "max_size_mb"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UserError(f"{name} must be greater than 0, got {value:g}; leave it out for no limit")
        if self.max_drop is not None and not self.max_drop >= 0:
            raise UserError(f"max_drop must be at least 0 points, got {self.max_drop:g}; leave it out for no limit")

    @property
    def given(self) -> bool:
        """Whether there is any limit at all."""
        return (self.max_latency_ms, self.max_size_mb, self.max_drop) != (None, None, None)

    def misses(self, measured: Measured) -> list[Miss]:
        """The limits that `measured` exceeds; empty when it keeps them all."""
        found = []
        if self.max_latency_ms is not None and measured.latency_ms > self.max_latency_ms:
            text = f"latency {measured.latency_ms:.2f} ms, allowed {self.max_latency_ms:g} ms"
            found.append(Miss(text=text, excess=measured.latency_ms / self.max_latency_ms - 1))
        size_mb = measured.size_bytes / 1e6
        if self.max_size_mb is not None and size_mb > self.max_size_mb:
            text = f"size {size_mb:.2f} MB, allowed {self.max_size_mb:g} MB"
            found.append(Miss(text=text, excess=size_mb / self.max_size_mb - 1))
        if self.max_drop is not None and measured.drop_points > self.max_drop:
            text = f"loses {measured.drop_points:.2f} points, allowed {self.max_drop:g}"
            # A limit near zero would turn a tenth of a point into a hundredfold excess: at least one point divides.
            found.append(Miss(text=text, excess=(measured.drop_points - self.max_drop) / max(self.max_drop, 1.0)))
        return found
