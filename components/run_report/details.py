"""The release in detail: per class, confusions, slices, samples."""

from collections.abc import Mapping
from typing import Any

from components.core.report.figures import confusion_matrix
from components.core.report.numbers import percent, points
from components.core.report.page import Block, Cell, Columns, Details, Section, figure, sample_grid, table
from components.core.report.slices import slice_table
from components.run_report.evidence import Evidence

_FOLD_CLASSES = 20


def class_section(evidence: Evidence) -> Section | None:
    """Precision and recall of each class beside the baseline's, and the confusion matrix."""
    final = evidence.final
    if final is None or not final["candidate"].get("per_class"):
        return None
    after = final["candidate"]["per_class"]
    before = {str(row["class"]): row for row in final["baseline"].get("per_class") or []}
    rows = [_class_row(row, before.get(str(row["class"]))) for row in after]
    per_class: Block = table(["class", "images", "precision", "recall", "F1", "recall, change"], rows)
    if len(rows) > _FOLD_CLASSES:
        per_class = Details(f"All {len(rows)} classes", (per_class,))
    blocks: list[Block] = [per_class]
    matrix = final["candidate"].get("confusion")
    if matrix:
        labels = [str(row["class"]) for row in after]
        svg = confusion_matrix(matrix, labels, title="Confusion matrix of the release")
        shown = figure(svg, "Images by true and predicted class; the shade is the root of the row's share.")
        blocks = [Columns((per_class, shown))] if len(rows) <= _FOLD_CLASSES else [shown, per_class]
    error = final["candidate"].get("expected_calibration_error")
    note = "On the test split."
    if error is not None:
        was = final["baseline"].get("expected_calibration_error")
        note += f" Expected calibration error {percent(error)}" + (f" (baseline {percent(was)})." if was else ".")
    return Section("Classes", blocks, note=note)


def _class_row(row: Mapping[str, Any], before: Mapping[str, Any] | None) -> list[Any]:
    change = None if before is None else 100 * (row["recall"] - before["recall"])
    written = points(change, digits=1).removesuffix(" points")
    return [
        row["class"],
        row.get("support"),
        percent(row.get("precision"), digits=1),
        percent(row.get("recall"), digits=1),
        percent(row.get("f1"), digits=1),
        Cell(written, tone="bad" if change is not None and change <= -3 else ""),
    ]


def slice_section(evidence: Evidence) -> Section | None:
    """Both models on each slice of the test images."""
    final = evidence.final
    shown = None if final is None else slice_table(final, candidate="release")
    return None if shown is None else Section("Slices", shown, note="On the test split.")


def sample_section(evidence: Evidence) -> Section | None:
    """Some test images with both models' predictions."""
    final = evidence.final
    samples = (final or {}).get("samples") or []
    if final is None or not samples:
        return None
    names = [str(row["class"]) for row in final["candidate"].get("per_class") or []]

    def name(value: Any) -> Any:
        known = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(names)
        return names[value] if known else value

    shown = [
        {
            **sample,
            "label": name(sample.get("label")),
            "candidate": name(sample.get("candidate")),
            "baseline": name(sample.get("baseline")),
        }
        for sample in samples
    ]
    readable = [{**sample} for sample in shown if sample.get("image_base64")]
    grid = sample_grid(
        readable,
        caption="Bold: the true class; below it what a model took it for instead. Outlined: the release was wrong.",
    )
    return Section("Samples", grid, note="Test images; candidate is the release.")
