"""Before and after: the release against the fp32 baseline, as rows that the page and the command line share."""

from dataclasses import dataclass

from components.core.evaluation.blocks import cost_cells, cost_title, timing_note
from components.core.evaluation.document import Estimate, Evaluation, MetricResult, ModelFigures, Speedup, Timing
from components.core.numbers import (
    MISSING,
    compact,
    figure_of_merit,
    megabytes,
    merit_interval,
    milliseconds,
    points,
    spread,
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


def before_and_after(evaluation: Evaluation) -> list[Row]:
    """Rows of every metric, size, latency, throughput, cost, MACs and parameters."""
    before, after = evaluation.baseline, evaluation.candidate
    rows = [_metric(metric) for metric in evaluation.metrics]
    rows.append(
        Row(
            name="size",
            before=megabytes(before.size_bytes),
            after=megabytes(after.size_bytes),
            change=_change(before.size_bytes, after.size_bytes, "smaller", "larger"),
            before_note=_beside(before),
            after_note=_beside(after),
        )
    )
    rows.append(
        Row(
            name="latency, batch 1",
            before=milliseconds(before.at(1).p50_ms),
            after=milliseconds(after.at(1).p50_ms),
            change=_change(evaluation.speedup, 1, "faster", "slower"),
            before_note=timing_note(before.at(1)),
            after_note=timing_note(after.at(1)),
            change_note=_speedup_interval(evaluation.speedups[0]),
        )
    )
    for speedup in evaluation.speedups[1:]:
        first, second = before.at(speedup.batch), after.at(speedup.batch)
        rows.append(
            Row(
                name=f"throughput, batch {speedup.batch}",
                before=rate(first, evaluation.row_noun),
                after=rate(second, evaluation.row_noun),
                change=_change(speedup.ratio, 1, "faster", "slower"),
                before_note=timing_note(first),
                after_note=timing_note(second),
                change_note=_speedup_interval(speedup),
            )
        )
    if evaluation.cost:
        (was_cost, was_at), (now_cost, now_at) = cost_cells(evaluation)
        rows.append(
            Row(
                name=cost_title(evaluation),
                before=was_cost,
                after=now_cost,
                change=_change(evaluation.cost.ratio, 1, "cheaper", "more expensive"),
                before_note=was_at,
                after_note=now_at,
            )
        )
    for name, was, now in (("MACs", before.macs, after.macs), ("parameters", before.parameters, after.parameters)):
        rows.append(Row(name=name, before=compact(was), after=compact(now), change=_change(was, now, "fewer", "more")))
    return rows


def rate(timing: Timing, row_noun: str) -> str:
    """Throughput at the median, `1,234 images/s`."""
    return f"{timing.rows_per_second:,.0f} {row_noun}/s"


def _metric(metric: MetricResult) -> Row:
    def note(estimate: Estimate) -> str:
        return merit_interval(estimate.low, estimate.high, percent=metric.percent)

    return Row(
        name=metric.label,
        before=figure_of_merit(metric.baseline.value, percent=metric.percent),
        after=figure_of_merit(metric.candidate.value, percent=metric.percent),
        change=points(metric.difference.points),
        before_note=note(metric.baseline),
        after_note=note(metric.candidate),
        change_note=spread(metric.difference.low, metric.difference.high),
    )


def fold(before: float | None, after: float | None, less: str, more: str) -> tuple[str, str]:
    """How many times `less` (or else `more`) `after` is than `before`: `("1.97×", "smaller")`."""
    if not before or not after:
        return MISSING, ""
    return (times(before / after), less) if before >= after else (times(after / before), more)


def _change(before: float | None, after: float | None, less: str, more: str) -> str:
    return " ".join(fold(before, after, less, more)).strip()


def _beside(side: ModelFigures) -> str:
    """The part of the size that is no graph: a vocabulary."""
    return f"of it {megabytes(side.beside_bytes)} that the graphs need beside them" if side.beside_bytes else ""


def _speedup_interval(speedup: Speedup) -> str:
    """The interval as `fold` says the change: of the slow-down where the release is slower."""
    if speedup.ratio >= 1:
        return f"{times(speedup.low)} to {times(speedup.high)}"
    return f"{times(1 / speedup.high)} to {times(1 / speedup.low)}"
