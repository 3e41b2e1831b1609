"""How an evaluation is shown, whatever its task: in the stage's page and in the run report."""

from collections.abc import Sequence

from components.core.evaluation.document import (
    Comparison,
    Difference,
    Estimate,
    Evaluation,
    MetricResult,
    Speedup,
    Timing,
)
from components.core.numbers import (
    MISSING,
    cost,
    figure_of_merit,
    merit_interval,
    milliseconds,
    points,
    spread,
    times,
)
from components.core.report.page import Block, Callout, Cell, Details, table

_UNFOLDED = 20
_LIMITS = {
    "max_latency_ms": ("latency", " ms"),
    "max_size_mb": ("size", " MB"),
    "max_drop": ("lost", " points"),
}


def value_cell(metric: MetricResult, estimate: Estimate) -> Cell:
    """A metric's value with its interval below."""
    return Cell(
        figure_of_merit(estimate.value, percent=metric.percent),
        sub=merit_interval(estimate.low, estimate.high, percent=metric.percent),
    )


def difference_cell(difference: Difference) -> Cell:
    """A difference in points with its interval below."""
    return Cell(points(difference.points), sub=spread(difference.low, difference.high))


def verdict_callout(evaluation: Evaluation, *, candidate: str = "candidate", unlimited: str = "") -> Callout:
    """Whether the limits are met, each with what was measured; `unlimited` is said where none was given."""
    verdict, primary = evaluation.verdict, evaluation.primary
    if not verdict.checks:
        difference = primary.difference
        span = f"{points(difference.points)} ({spread(difference.low, difference.high)})"
        return Callout("No limits were given", unlimited or f"Difference in {primary.label}: {span}.", "info")
    written = []
    for check in verdict.checks:
        name, unit = _LIMITS[check.limit]
        missed = "" if check.met else " (missed)"
        written.append(f"{name} {check.measured:.4g}{unit}, allowed {check.allowed:g}{unit}{missed}")
    title = f"The {candidate} keeps the budget" if verdict.meets else f"The {candidate} misses the budget"
    return Callout(title, " · ".join(written) + ".", "good" if verdict.meets else "bad")


def warnings_callout(evaluation: Evaluation) -> list[Callout]:
    """Warnings about the measurement; empty if there are none."""
    return (
        [Callout("Not measured as it should be", " ".join(evaluation.warnings), "bad")] if evaluation.warnings else []
    )


def timing_note(timing: Timing) -> str:
    """The quieter figures of a latency: `p90 0.47 ms, cold 0.92 ms, CPU 0.44 ms`."""
    known = (("p90", timing.p90_ms), ("cold", timing.cold_ms), ("CPU", timing.cpu_ms))
    return ", ".join(f"{name} {milliseconds(value)}" for name, value in known if value is not None)


def speedup_cell(speedup: Speedup) -> Cell:
    """A speed-up with its interval below."""
    return Cell(times(speedup.ratio), sub=f"{times(speedup.low)} to {times(speedup.high)}")


def slice_table(evaluation: Evaluation, *, candidate: str = "candidate") -> Block | None:
    """Both models and the paired difference on each slice; None where the data set has none."""
    if not evaluation.slices:
        return None
    metric, row = evaluation.primary.label, evaluation.row_noun
    caption = (
        f"{metric[:1].upper()}{metric[1:]} and difference in points, with the {evaluation.confidence:.0%} interval of "
        f"the paired difference. Slices of different columns share {row}; some {row} are in none."
    )
    return comparison_table(
        evaluation.slices, title="slice", row_noun=row, candidate=candidate, caption=caption, plural="slices"
    )


def cost_title(evaluation: Evaluation) -> str:
    """The heading of the cost, `cost per million images`."""
    return f"cost per million {evaluation.row_noun}"


def cost_note(evaluation: Evaluation) -> str:
    """A sentence on the cost: its price, and that it covers computing alone; empty if no price was given."""
    if evaluation.cost is None:
        return ""
    ours = evaluation.cost.candidate
    cores = "1 core" if ours.threads == 1 else f"{ours.threads} cores"
    return (
        f"Cost: {cores} at {evaluation.cost.price_per_core_hour:g} per core and hour, in the price's currency, at the "
        f"best measured throughput; inference alone, without energy, and as if the core were never idle."
    )


def cost_cells(evaluation: Evaluation) -> list[tuple[str, str]]:
    """Of baseline and candidate the cost per million rows, and the throughput that it follows from; empty without."""
    if evaluation.cost is None:
        return []
    return [
        (cost(one.per_million), f"{one.rows_per_second:,.0f} {evaluation.row_noun}/s at batch {one.batch}")
        for one in (evaluation.cost.baseline, evaluation.cost.candidate)
    ]


def comparison_table(
    comparisons: Sequence[Comparison], *, title: str, row_noun: str, candidate: str, caption: str, plural: str
) -> Block:
    """Both models on parts of the rows; folded where there are many.

    Args:
        comparisons: one per line.
        title: heading of their names.
        row_noun: heading of their support.
        candidate: heading of the candidate.
        caption: below the table.
        plural: what they are, for the folded table's title.
    """
    shown: Block = table(
        [title, row_noun, "baseline", candidate, "difference", ""],
        [_line(comparison, row_noun) for comparison in comparisons],
        caption=caption,
    )
    return shown if len(comparisons) <= _UNFOLDED else Details(f"All {len(comparisons)} {plural}", (shown,))


def _line(comparison: Comparison, row_noun: str) -> list[object]:
    if comparison.points is None:
        said = f"no {row_noun}" if not comparison.support else "not defined here"
        return [comparison.name, comparison.support, MISSING, MISSING, MISSING, said]
    told = comparison.high is not None
    lost = comparison.high is not None and comparison.high < 0
    return [
        comparison.name,
        comparison.support,
        figure_of_merit(comparison.baseline, percent=comparison.percent, digits=1),
        figure_of_merit(comparison.candidate, percent=comparison.percent, digits=1),
        Cell(
            points(comparison.points, digits=1),
            sub=spread(comparison.low, comparison.high, digits=1),
            tone="bad" if lost else "",
        ),
        "" if told else f"too few {row_noun} to tell",
    ]
