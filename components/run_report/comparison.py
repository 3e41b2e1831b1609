"""Before and after: the release against the fp32 baseline, as rows that the page and the command line share."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from components.core.report.numbers import (
    MISSING,
    compact,
    interval,
    megabytes,
    milliseconds,
    percent,
    points,
    times,
)

COLUMNS = ("", "baseline", "release", "change")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One quantity, written; the notes are the quieter second line (interval, percentile)."""

    name: str
    before: str
    after: str
    change: str
    before_note: str = ""
    after_note: str = ""
    change_note: str = ""

    @property
    def cells(self) -> list[str]:
        """The row for a plain table."""
        return [self.name, self.before, self.after, self.change]


def compare(evaluation: Mapping[str, Any]) -> list[Row]:
    """Rows of accuracy, size, latency, throughput, MACs and parameters from an evaluation.json."""
    before, after = evaluation.get("baseline") or {}, evaluation.get("candidate") or {}
    difference, speedup = evaluation.get("difference") or {}, evaluation.get("speedup") or {}
    low, high = difference.get("low"), difference.get("high")
    rows = [
        Row(
            name="top-1",
            before=percent(before.get("top1")),
            after=percent(after.get("top1")),
            change=points(difference.get("top1_points")),
            before_note=interval(before.get("top1_low"), before.get("top1_high")),
            after_note=interval(after.get("top1_low"), after.get("top1_high")),
            change_note="" if low is None or high is None else f"{low:+.2f} to {high:+.2f}".replace("-", "−"),
        ),
        Row(
            name="size",
            before=megabytes(before.get("size_bytes")),
            after=megabytes(after.get("size_bytes")),
            change=_change(before.get("size_bytes"), after.get("size_bytes"), "smaller", "larger"),
        ),
    ]
    one, many = "latency_batch1", "latency_batch32"
    rows.append(
        Row(
            name="latency, batch 1",
            before=milliseconds(_get(before, one, "p50_ms")),
            after=milliseconds(_get(after, one, "p50_ms")),
            change=_change(speedup.get("batch1"), 1, "faster", "slower"),
            before_note=_tail(before, one),
            after_note=_tail(after, one),
        )
    )
    rows.append(
        Row(
            name="throughput, batch 32",
            before=_rate(before),
            after=_rate(after),
            change=_change(speedup.get("batch32"), 1, "faster", "slower"),
            before_note=_tail(before, many),
            after_note=_tail(after, many),
        )
    )
    for name, key in (("MACs", "macs"), ("parameters", "parameters")):
        first, second = before.get(key), after.get(key)
        rows.append(
            Row(name=name, before=compact(first), after=compact(second), change=_change(first, second, "fewer", "more"))
        )
    return rows


def fold(before: float | None, after: float | None, less: str, more: str) -> tuple[str, str]:
    """How many times `less` (or else `more`) `after` is than `before`: `("1.97×", "smaller")`."""
    if not before or not after:
        return MISSING, ""
    return (times(before / after), less) if before >= after else (times(after / before), more)


def _change(before: float | None, after: float | None, less: str, more: str) -> str:
    return " ".join(fold(before, after, less, more)).strip()


def _get(side: Mapping[str, Any], group: str, key: str) -> float | None:
    return (side.get(group) or {}).get(key)


def _tail(side: Mapping[str, Any], group: str) -> str:
    value = _get(side, group, "p90_ms")
    return "" if value is None else f"p90 {milliseconds(value)}"


def _rate(side: Mapping[str, Any]) -> str:
    rate = side.get("images_per_second_batch32")
    return MISSING if rate is None else f"{rate:,.0f} img/s"
