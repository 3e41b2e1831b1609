"""The page of the stage."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.core.report.figures import bars, confusion_matrix
from components.core.report.numbers import compact, interval, megabytes, milliseconds, percent, points, times
from components.core.report.page import (
    Callout,
    Cell,
    Details,
    Section,
    facts,
    figure,
    sample_grid,
    table,
    write_page,
)
from components.core.report.slices import slice_table

_LIMITS = {"max_latency_ms": "latency", "max_size_mb": "size", "max_drop": "lost accuracy"}
_UNITS = {"max_latency_ms": " ms", "max_size_mb": " MB", "max_drop": " points"}
_MOST_BARS = 40


def write_evaluation_page(path: str | Path, document: Mapping[str, Any]) -> None:
    """Verdict, both models side by side, per class and slice, confusions, samples, and how it was measured."""
    candidate, slices = document["candidate"], slice_table(document)
    sections = [
        Section("", verdict_callout(document)),
        Section("Candidate and baseline", table(("", "baseline", "candidate", "change"), _rows(document))),
        Section("Per class", _per_class(document)),
        *([Section("Per slice", slices)] if slices else []),
        Section(
            "Confusions of the candidate",
            figure(
                confusion_matrix(candidate["confusion"], [row["class"] for row in candidate["per_class"]]),
                f"Expected calibration error {percent(candidate['expected_calibration_error'])} (15 bins).",
            ),
        ),
        Section("Samples", sample_grid(document["samples"], caption="Outlined: the candidate is wrong.")),
        Section("How it was measured", [facts({"method": document["method"]}), facts(_flat(document["host"]))]),
    ]
    lead = f"{document['rows']:,} images of the {document['split']} split."
    write_page(path, "Evaluation", sections, eyebrow="evaluate", lead=lead)


def verdict_callout(document: Mapping[str, Any]) -> Callout:
    """Whether the limits are met, each with what was measured."""
    verdict, difference = document["verdict"], document["difference"]
    span = f"{points(difference['top1_points'])} ({difference['low']:+.2f} to {difference['high']:+.2f})"
    if not verdict["checks"]:
        return Callout("No limits were given", f"Difference in top-1: {span.replace('-', '−')}.", "info")
    written = "; ".join(
        f"{_LIMITS[check['limit']]} {check['measured']:.3g}{_UNITS[check['limit']]}, "
        f"allowed {check['allowed']:g}{_UNITS[check['limit']]}{'' if check['met'] else ' (missed)'}"
        for check in verdict["checks"]
    )
    title = "The candidate keeps the budget" if verdict["meets"] else "The candidate misses the budget"
    return Callout(title, written + ".", "good" if verdict["meets"] else "bad")


def _rows(document: Mapping[str, Any]) -> list[list[Any]]:
    ours, theirs, difference = document["candidate"], document["baseline"], document["difference"]
    spread = f"{difference['low']:+.2f} to {difference['high']:+.2f}".replace("-", "−")

    def both(write: Any, key: str) -> list[str]:
        return [write(theirs[key]), write(ours[key])]

    def latency(side: Mapping[str, Any], batch: int) -> Cell:
        found = side[f"latency_batch{batch}"]
        return Cell(
            milliseconds(found["p50_ms"]),
            sub=", ".join(f"{name} {milliseconds(found[f'{name.lower()}_ms'])}" for name in ("p90", "p99", "CPU")),
        )

    return [
        ["scheme", theirs["scheme"], ours["scheme"], ""],
        ["image size", f"{theirs['image_size']} px", f"{ours['image_size']} px", ""],
        [
            "top-1",
            Cell(percent(theirs["top1"]), sub=interval(theirs["top1_low"], theirs["top1_high"])),
            Cell(percent(ours["top1"]), sub=interval(ours["top1_low"], ours["top1_high"])),
            Cell(points(difference["top1_points"]), sub=spread),
        ],
        ["latency, batch 1", latency(theirs, 1), latency(ours, 1), times(document["speedup"]["batch1"])],
        ["latency, batch 32", latency(theirs, 32), latency(ours, 32), times(document["speedup"]["batch32"])],
        [
            "throughput, batch 32",
            f"{theirs['images_per_second_batch32']:,.0f} img/s",
            f"{ours['images_per_second_batch32']:,.0f} img/s",
            "",
        ],
        ["file", *both(megabytes, "size_bytes"), times(document["size_ratio"])],
        ["parameters", *both(compact, "parameters"), times(theirs["parameters"] / max(1, ours["parameters"]))],
        ["MACs", *both(compact, "macs"), times(theirs["macs"] / max(1, ours["macs"]))],
    ]


def _per_class(document: Mapping[str, Any]) -> list[Any]:
    ours, theirs = document["candidate"]["per_class"], document["baseline"]["per_class"]
    rows = [
        [
            row["class"],
            row["support"],
            percent(row["precision"], digits=1),
            percent(row["recall"], digits=1),
            percent(row["f1"], digits=1),
            points(100 * (row["f1"] - before["f1"]), digits=1),
        ]
        for row, before in zip(ours, theirs, strict=True)
    ]
    columns = ("class", "images", "precision", "recall", "F1", "F1 against baseline")
    if len(ours) > _MOST_BARS:
        return [Details(f"{len(ours)} classes", (table(columns, rows),))]
    recall = {row["class"]: row["recall"] for row in ours}
    return [figure(bars(recall, title="Recall of the candidate", percent=True)), table(columns, rows)]


def _flat(host: Mapping[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for name, value in host.items():
        if isinstance(value, Mapping):
            shown |= {f"{name}: {key}": inner for key, inner in value.items()}
        else:
            shown[name.replace("_", " ")] = ", ".join(value) if isinstance(value, list) else value
    return shown
