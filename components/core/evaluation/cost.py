"""Cost per million predictions: measured throughput times the price of a core."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

MILLION = 1_000_000
_SECONDS_PER_HOUR = 3600


class Throughput(Protocol):
    """Throughput and cost of a model at one batch size."""

    @property
    def batch(self) -> int: ...

    @property
    def threads(self) -> int: ...

    @property
    def rows_per_second(self) -> float: ...


@dataclass(frozen=True, kw_only=True)
class ModelCost:
    """One model's cost per million rows, in the currency of the price, and at which batch size and threads."""

    batch: int
    threads: int
    rows_per_second: float
    per_million: float


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Cost of both models at a price per core and hour; of computing alone, without energy, memory and idle cores."""

    price_per_core_hour: float
    candidate: ModelCost
    baseline: ModelCost

    @property
    def ratio(self) -> float:
        """How many times cheaper the candidate is."""
        return self.baseline.per_million / self.candidate.per_million


def cost_per_million(rows_per_second: float, *, threads: int, price_per_core_hour: float) -> float:
    """`10⁶ / (3600 · rows per second) · threads · price`: core-hours for a million rows, times their price.

    Args:
        rows_per_second: above 0.
        threads: cores that are busy meanwhile.
        price_per_core_hour: in any currency.
    """
    return MILLION / (_SECONDS_PER_HOUR * rows_per_second) * threads * price_per_core_hour


def cheapest(latency: Iterable[Throughput], price_per_core_hour: float) -> ModelCost:
    """The cost at the batch size with the best throughput; `latency` is not empty, all with the same threads."""
    best = max(latency, key=lambda timing: timing.rows_per_second)
    return ModelCost(
        batch=best.batch,
        threads=best.threads,
        rows_per_second=best.rows_per_second,
        per_million=cost_per_million(
            best.rows_per_second, threads=best.threads, price_per_core_hour=price_per_core_hour
        ),
    )
