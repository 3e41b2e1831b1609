"""Warnings about data that can be used: for the page, and one line each for the log."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from components.core.data.dataset import SPLITS
from components.core.data.ingestion.labels import joined, twins
from components.core.data.rows import RowFormat
from components.core.numbers import percent
from components.data_prep.plan import Plan
from components.data_prep.quarantine import Quarantine

_LISTED = 10


class DataWarning(NamedTuple):
    """A `title`, and one or two sentences."""

    title: str
    text: str


def warnings_of(
    classes: Sequence[str], declared: Sequence[str], plan: Plan, quarantine: Quarantine, rows: RowFormat
) -> list[DataWarning]:
    """Of class names, of classes without rows, and of a given split.

    Args:
        classes: in the order of their numbers.
        declared: as the source declares them.
        plan: how the rows were split.
        quarantine: what was left out.
        rows: of the task.
    """
    found = []
    for names in twins(classes):
        shown = ", ".join(repr(name) for name in names)
        found.append(
            DataWarning("Classes that look the same", f"{shown} count as different classes; rename one if not.")
        )
    if several := joined(classes):
        text = (
            f"{len(several)} of {len(classes)} classes look like several labels in one: {_listed(several)}. "
            "Each counts as a class of its own; give one label a row if that is not meant."
        )
        found.append(DataWarning("Several labels in one", text))
    if plan.left_out:
        counted = ", ".join(f"{rows.stratum_title(name)} ({count})" for name, count in plan.left_out.items())
        found.append(DataWarning("Classes left out", f"Too few usable {rows.noun}: {counted}."))
    labels = Counter(label for _, label, _ in quarantine.files if label is not None)
    if lost := {name: count for name, count in labels.items() if name not in classes and name not in plan.left_out}:
        counted = _listed([f"{name!r} ({count})" for name, count in sorted(lost.items())])
        text = f"None of the files of {counted} can be used, so they are no classes."
        found.append(DataWarning(f"Folders without {rows.noun}", text))
    if unseen := [name for name in declared if name not in classes and name not in plan.left_out]:
        found.append(DataWarning("Declared classes without rows", f"The model will not know: {_listed(unseen)}."))
    for split, names in plan.absent.items():
        titles = _listed([rows.stratum_title(name) for name in names])
        found.append(DataWarning(f"The {split} split lacks classes", f"It has no {rows.noun} of {titles}."))
    if quarantine.num_across_splits:
        count = quarantine.num_across_splits
        text = f"{count:,} {rows.noun} of the given split lie in two splits; the copy nearer to training was left out."
        found.append(DataWarning("Copies across the given split", text))
    return found


def near_warnings(plan: Plan, rows: RowFormat) -> list[DataWarning]:
    """Of test rows with a near copy in training."""
    if plan.near is None or rows.near is None or not plan.near.leaked["test"]:
        return []
    count = plan.near.leaked["test"]
    total = sum(int((splits == SPLITS.index("test")).sum()) for splits in plan.splits.values())
    text = (
        f"{count:,} of {total:,} test {rows.noun} ({percent(count / total, digits=1)}) have a near copy in training "
        f"({rows.near.meaning}), so the test figures flatter. near_duplicates=group keeps all copies in one split."
    )
    return [DataWarning("Near copies of test rows in training", text)]


def missing_warnings(count: int, instead: str) -> list[DataWarning]:
    """Of `count` rows, most of the table, whose file is not there; `instead` is what to write, or empty."""
    text = f"{count:,} rows name a file that is not there, and are left out."
    return [
        DataWarning("Most rows lack their file", f"{text} {instead[:1].upper()}{instead[1:]}." if instead else text)
    ]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
