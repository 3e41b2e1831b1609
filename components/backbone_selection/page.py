"""The page of the stage."""

from pathlib import Path

from components.backbone_selection.ranking import KNN, Candidate, figure_name
from components.backbone_selection.selection import Selection
from components.core.numbers import compact, megabytes, milliseconds, percent
from components.core.report.figures import Point, scatter
from components.core.report.page import Block, Callout, Cell, Section, figure, table, write_page
from components.core.tasks.metric import Metric

COLUMNS = ("by transfer", "by size", "parameters", "float32", "MACs", "latency")


def write_ranking_page(path: str | Path, selection: Selection, *, data: str = "") -> None:
    """The reason, the ranking as a table, and accuracy against cost; `data`: `Dataset.description`."""
    ranking, metric = selection.ranking, selection.ranking.metric
    name, of_classes = figure_name(metric), metric is KNN
    second, last = ("LogME", ("ImageNet top-1",)) if of_classes else ("loss before training", ())
    blocks: list[Block] = [
        table(
            ("backbone", name, second, *COLUMNS, *last),
            [_row(candidate, metric) for candidate in ranking.candidates],
            marked=[i for i, candidate in enumerate(ranking.candidates) if candidate.name == ranking.chosen],
            faint=[i for i, candidate in enumerate(ranking.candidates) if candidate.rejected],
            caption=f"By transfer: rank by {name}, then {second}. By size: rank by parameters, blind to the data.",
        )
    ]
    scored = [candidate for candidate in ranking.candidates if candidate.transfer is not None]
    if len(scored) > 1:
        points = [
            Point(
                name=candidate.name,
                x=candidate.macs / 1e6,
                y=candidate.transfer or 0.0,
                kind="chosen" if candidate.name == ranking.chosen else "candidate",
            )
            for candidate in scored
        ]
        svg = scatter(points, title="Transfer against cost", x="million MACs", y=name, percent=metric.percent)
        blocks.append(figure(svg, "Up and to the left is better; ringed: chosen."))
    looked_at = f"{selection.rows_used:,} training rows"
    compared = f"k-NN and LogME on frozen features of {looked_at}" if of_classes else f"{metric.label} of {looked_at}"
    note = f"{compared}; latency: onnxruntime, float32, batch 1, one thread, median, on the machine of this run."
    sections = [
        Section("", Callout(f"{ranking.chosen} is chosen", ranking.reason, "info")),
        Section("Candidates", blocks, note=note),
    ]
    write_page(path, "Backbone selection", sections, eyebrow="backbone_selection", data=data)


def _row(candidate: Candidate, metric: Metric) -> tuple[object, ...]:
    found, second = candidate.transfer, candidate.logme if metric is KNN else candidate.untrained_loss
    written = None if found is None else percent(found, digits=1) if metric.percent else f"{found:.1f}"
    published = candidate.top1_published
    return (
        Cell(candidate.name, sub=candidate.rejected or _start(candidate)),
        None
        if written is None
        else Cell(written, sub=f"± {metric.points_per_unit * candidate.transfer_error:.1f} points"),
        None if second is None else f"{second:.3f}".replace("-", "−"),
        candidate.transfer_rank,
        candidate.static_rank,
        compact(candidate.parameters),
        megabytes(candidate.size_mb * 1e6),
        compact(candidate.macs),
        milliseconds(candidate.latency_ms),
        *((None if published is None else percent(published, digits=1),) if metric is KNN else ()),
    )


def _start(candidate: Candidate) -> str:
    return f"{candidate.input}; pretrained: {candidate.pretrained or 'nothing'}"
