"""How robustness is shown, in the evaluation's page, the run report and the card."""

from collections.abc import Sequence

from components.core.evaluation.document import Evaluation
from components.core.evaluation.robustness import CorruptedResult, Robustness, mean
from components.core.numbers import MISSING, capitalized, figure_of_merit, points, spread
from components.core.report.figures import line_chart
from components.core.report.page import Block, Callout, Cell, Tone, figure, table


def robustness_blocks(evaluation: Evaluation, *, candidate: str = "candidate") -> list[Block]:
    """How much both models lose on corrupted inputs: a sentence, a table and a figure; empty if not measured."""
    found, primary = evaluation.robustness, evaluation.primary
    if found is None:
        return []

    def merit(value: float | None) -> str:
        return figure_of_merit(value, percent=primary.percent, digits=1)

    rows: list[list[object]] = [
        [
            name,
            *(Cell(merit(one.candidate), sub=merit(one.baseline)) for one in results),
            Cell(mean_drop(results, "candidate"), sub=mean_drop(results, "baseline")),
        ]
        for name, results in found.by_corruption().items()
    ]
    whole = Cell(mean_drop(found.corrupted, "candidate"), sub=mean_drop(found.corrupted, "baseline"))
    rows.append(["mean", *("" for _ in found.severities), whole])
    columns = ["corruption", *(f"severity {severity}" for severity in found.severities), "mean drop"]
    caption = (
        f"{capitalized(primary.label)} of the {candidate}, below it the baseline's, on {found.rows:,} "
        f"{evaluation.row_noun} of the {evaluation.split} split; undamaged {merit(found.candidate)} and "
        f"{merit(found.baseline)}. Severity 1 is the mildest. A drop is against the undamaged {evaluation.row_noun}. "
        f"{found.method}"
    )
    chart = line_chart(
        {"baseline": _curve(found, "baseline"), candidate: _curve(found, "candidate")},
        title=f"{capitalized(primary.label)} by severity",
        x="severity (0: undamaged)",
        y=primary.label,
        percent=primary.percent,
    )
    return [
        robustness_callout(evaluation, found, candidate=candidate),
        table(columns, rows, caption=caption),
        figure(chart, "Mean over all corruptions."),
    ]


def robustness_callout(evaluation: Evaluation, found: Robustness, *, candidate: str = "candidate") -> Callout:
    """Whether compression cost robustness, by the interval of the difference between both mean drops."""
    tone: Tone = "info"
    if found.low is None or found.high is None:
        title = f"Too few {evaluation.row_noun} to tell whether compression cost robustness"
    elif found.high < 0:
        title, tone = "Compression cost robustness", "warn"
    elif found.low > 0:
        title, tone = f"The {candidate} is more robust than the baseline", "good"
    else:
        title = "No difference in robustness can be told"
    return Callout(title, robustness_sentence(evaluation, found, candidate=candidate), tone)


def robustness_sentence(evaluation: Evaluation, found: Robustness, *, candidate: str = "candidate") -> str:
    """Both mean drops, and their difference with its interval."""
    between = spread(found.low, found.high)
    interval = f" ({evaluation.confidence:.0%} interval {between})" if between else ""
    ours, theirs = (mean_drop(found.corrupted, side) for side in ("candidate", "baseline"))
    return (
        f"Corrupted {evaluation.row_noun} cost the {candidate} {ours} on average and the baseline {theirs}: "
        f"{points(found.points)}{interval} for the {candidate}."
    )


def mean_drop(results: Sequence[CorruptedResult], side: str) -> str:
    """The mean drop of "candidate" or "baseline" over some results, `3.20 points`; negative where it gained."""
    drop = mean([getattr(one, f"{side}_drop") for one in results])
    return MISSING if drop is None else points(drop).lstrip("+")


def _curve(found: Robustness, side: str) -> list[tuple[float, float]]:
    """The mean over all corruptions by severity, from the undamaged rows at 0."""
    values = {0: [getattr(found, side)]}
    for one in found.corrupted:
        values.setdefault(one.severity, []).append(getattr(one, side))
    means = ((float(severity), mean(some)) for severity, some in sorted(values.items()))
    return [(severity, value) for severity, value in means if value is not None]
