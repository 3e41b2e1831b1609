"""The page of the stage."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.core.evaluation.blocks import (
    cost_cells,
    cost_note,
    cost_title,
    difference_cell,
    slice_table,
    speedup_cell,
    timing_note,
    value_cell,
    verdict_callout,
    warnings_callout,
)
from components.core.evaluation.document import Evaluation, ModelFigures
from components.core.evaluation.robustness_blocks import robustness_blocks
from components.core.evaluation.runtime_blocks import runtime_blocks
from components.core.numbers import compact, megabytes, milliseconds, times
from components.core.report.page import Cell, Section, facts, table, write_page
from components.core.tasks import get_task


def write_evaluation_page(path: str | Path, evaluation: Evaluation, *, recipe: str = "") -> None:
    """Verdict, both models side by side, slices, what the task shows, and how it was measured."""
    slices, robust, runtimes = slice_table(evaluation), robustness_blocks(evaluation), runtime_blocks(evaluation)
    shown = table(("", "baseline", "candidate", "change"), _rows(evaluation), caption=cost_note(evaluation))
    sections = [
        Section("", [verdict_callout(evaluation), *warnings_callout(evaluation)]),
        Section("Candidate and baseline", shown),
        *([Section("Runtimes", runtimes)] if runtimes else []),
        *([Section("Robustness", robust)] if robust else []),
        *([Section("Slices", slices)] if slices else []),
        *get_task(evaluation.task).pages.evaluation_sections(evaluation, candidate="candidate"),
        Section("How it was measured", [facts({"method": evaluation.method}), facts(_flat(evaluation.host))]),
    ]
    lead = f"{evaluation.rows:,} {evaluation.row_noun} of the {evaluation.split} split{evaluation.aside}."
    write_page(path, f"Evaluation: {recipe}" if recipe else "Evaluation", sections, eyebrow="evaluate", lead=lead)


def _rows(evaluation: Evaluation) -> list[list[Any]]:
    ours, theirs, noun = evaluation.candidate, evaluation.baseline, evaluation.row_noun
    rows: list[list[Any]] = [["scheme", theirs.scheme, ours.scheme, ""]]
    for title in dict.fromkeys([*theirs.inputs, *ours.inputs]):
        rows.append([title, theirs.inputs.get(title), ours.inputs.get(title), ""])
    for metric in evaluation.metrics:
        rows.append(
            [
                metric.label,
                value_cell(metric, metric.baseline),
                value_cell(metric, metric.candidate),
                difference_cell(metric.difference),
            ]
        )
    for speedup in evaluation.speedups:
        batch = speedup.batch
        rows.append([f"latency, batch {batch}", _latency(theirs, batch), _latency(ours, batch), speedup_cell(speedup)])
    largest = evaluation.batches[-1]
    rates = [f"{side.at(largest).rows_per_second:,.0f} {noun}/s" for side in (theirs, ours)]
    rows.append([f"throughput, batch {largest}", *rates, ""])
    if evaluation.timed_units:
        for batch in evaluation.batches:
            made = [
                f"{side.at(batch).units_per_second or 0:,.0f} {evaluation.timed_units}/s" for side in (theirs, ours)
            ]
            rows.append([f"{evaluation.timed_units}, batch {batch}", *made, ""])
    if evaluation.cost:
        cells = [Cell(*one) for one in cost_cells(evaluation)]
        rows.append([cost_title(evaluation), *cells, times(evaluation.cost.ratio)])
    rows += _sizes(evaluation)
    for title, before, after in (
        ("parameters", theirs.parameters, ours.parameters),
        ("MACs", theirs.macs, ours.macs),
    ):
        rows.append([title, compact(before), compact(after), times(before / max(1, after))])
    return rows


def _sizes(evaluation: Evaluation) -> list[list[Any]]:
    """The whole, and each file where there are several, and what they need beside them."""
    ours, theirs = evaluation.candidate, evaluation.baseline
    rows: list[list[Any]] = [
        ["size", megabytes(theirs.size_bytes), megabytes(ours.size_bytes), times(evaluation.size_ratio)]
    ]
    if len(ours.graphs) > 1 or len(theirs.graphs) > 1:
        for name in dict.fromkeys([*theirs.graphs, *ours.graphs]):
            rows.append([f"size of {name}", megabytes(theirs.graphs.get(name)), megabytes(ours.graphs.get(name)), ""])
    if ours.beside_bytes or theirs.beside_bytes:
        sizes = [megabytes(side.beside_bytes) for side in (theirs, ours)]
        rows.append(["size of the files that these need (vocabulary)", *sizes, ""])
    return rows


def _latency(side: ModelFigures, batch: int) -> Cell:
    timing = side.at(batch)
    return Cell(milliseconds(timing.p50_ms), sub=timing_note(timing))


def _flat(host: Mapping[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for name, value in host.items():
        if isinstance(value, Mapping):
            shown |= {f"{name}: {key}": inner for key, inner in value.items()}
        else:
            shown[name.replace("_", " ")] = ", ".join(value) if isinstance(value, list) else value
    return shown
