"""The page of the stage."""

from pathlib import Path

from components.backbone_selection.ranking import Candidate
from components.backbone_selection.selection import Selection
from components.core.numbers import compact, megabytes, milliseconds, percent
from components.core.report.figures import Point, scatter
from components.core.report.page import Block, Callout, Cell, Section, figure, table, write_page

COLUMNS = (
    "backbone",
    "k-NN accuracy",
    "LogME",
    "by transfer",
    "by size",
    "parameters",
    "float32",
    "MACs",
    "latency",
    "ImageNet top-1",
)


def write_ranking_page(path: str | Path, selection: Selection) -> None:
    """The reason, the ranking as a table, and accuracy against cost."""
    ranking = selection.ranking
    blocks: list[Block] = [
        table(
            COLUMNS,
            [_row(candidate) for candidate in ranking.candidates],
            marked=[i for i, candidate in enumerate(ranking.candidates) if candidate.name == ranking.chosen],
            faint=[i for i, candidate in enumerate(ranking.candidates) if candidate.rejected],
            caption="By transfer: rank by k-NN accuracy, then LogME. By size: rank by parameters, blind to the data.",
        )
    ]
    scored = [candidate for candidate in ranking.candidates if candidate.knn_accuracy is not None]
    if len(scored) > 1:
        points = [
            Point(
                name=candidate.name,
                x=candidate.macs / 1e6,
                y=candidate.knn_accuracy or 0.0,
                kind="chosen" if candidate.name == ranking.chosen else "candidate",
            )
            for candidate in scored
        ]
        svg = scatter(points, title="Transfer against cost", x="million MACs", y="k-NN accuracy", percent=True)
        blocks.append(figure(svg, "Up and to the left is better; ringed: chosen."))
    note = (
        f"k-NN and LogME on frozen features of {selection.rows_used:,} training rows; latency: onnxruntime, "
        "float32, batch 1, one thread, median, on the machine of this run."
    )
    sections = [
        Section("", Callout(f"{ranking.chosen} is chosen", ranking.reason, "info")),
        Section("Candidates", blocks, note=note),
    ]
    write_page(path, "Backbone selection", sections, eyebrow="backbone_selection")


def _row(candidate: Candidate) -> tuple[object, ...]:
    knn = None if candidate.knn_accuracy is None else percent(candidate.knn_accuracy, digits=1)
    error = candidate.knn_standard_error
    return (
        Cell(candidate.name, sub=candidate.rejected or _start(candidate)),
        None if knn is None else Cell(knn, sub=f"± {100 * (error or 0.0):.1f} points"),
        None if candidate.logme is None else f"{candidate.logme:.3f}".replace("-", "−"),
        candidate.transfer_rank,
        candidate.static_rank,
        compact(candidate.parameters),
        megabytes(candidate.size_mb * 1e6),
        compact(candidate.macs),
        milliseconds(candidate.latency_ms),
        None if candidate.top1_published is None else percent(candidate.top1_published, digits=1),
    )


def _start(candidate: Candidate) -> str:
    return f"{candidate.input}; pretrained: {candidate.pretrained or 'nothing'}"
