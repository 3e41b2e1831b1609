"""Candidate minus baseline on the images of each class and of each slice: the same paired interval as over all."""

from typing import TYPE_CHECKING, Any

import numpy as np

from components.core.data.slices import shard_column, slice_name
from components.evaluate.inference import Outcome
from components.evaluate.intervals import paired_bootstrap

if TYPE_CHECKING:
    from components.core.data.dataset import Dataset

CONFIDENCE = 0.95
RESAMPLES = 10_000
SEED = 0


def class_differences(ours: Outcome, theirs: Outcome, classes: list[str]) -> list[dict[str, Any]]:
    """`class`, `support`, and in points `points`, `low`, `high`: None without an image."""
    found = []
    for number, name in enumerate(classes):
        rows = ours.labels == number
        found.append({"class": name, "support": int(rows.sum()), **_difference(ours, theirs, rows)})
    return found


def slice_differences(dataset: "Dataset", split: str, ours: Outcome, theirs: Outcome) -> list[dict[str, Any]]:
    """One entry for each slice that the data set knows, also for one without an image in this split.

    `slice` (`camera=night`), `column`, `value`, `support`, top-1 of both in 0..1, the difference as for a class, and of
    the paired outcomes what the test rests on: `gained`, images that only the candidate got right, and `lost`, those
    that only the baseline got right. Top-1 and difference are None without an image.
    """
    values = _values(dataset, split, ours.digests)
    found = []
    for column, known in dataset.slices.items():
        for place, value in enumerate(known):
            rows = values[column] == place
            mine, other = ours.correct[rows], theirs.correct[rows]
            found.append(
                {
                    "slice": slice_name(column, value),
                    "column": column,
                    "value": value,
                    "support": int(rows.sum()),
                    "candidate_top1": float(mine.mean()) if rows.any() else None,
                    "baseline_top1": float(other.mean()) if rows.any() else None,
                    "gained": int((mine > other).sum()),
                    "lost": int((mine < other).sum()),
                    **_difference(ours, theirs, rows),
                }
            )
    return found


def _values(dataset: "Dataset", split: str, digests: list[str]) -> dict[str, np.ndarray]:
    """The place of each row's value among the known ones, by column, in stored order; −1 where it has none."""
    places = {column: {value: place for place, value in enumerate(known)} for column, known in dataset.slices.items()}
    found = {column: np.full(len(digests), -1, dtype=np.int16) for column in places}
    columns = {column: shard_column(column) for column in places}
    rows = dataset.iterate(split, columns=("digest", *columns.values())) if columns else ()
    for number, row in enumerate(rows):
        assert row["digest"] == digests[number], "slices must be those of the rows that were run"
        for column, name in columns.items():
            found[column][number] = places[column].get(row[name], -1)
    return found


def _difference(ours: Outcome, theirs: Outcome, rows: np.ndarray) -> dict[str, float | None]:
    if not rows.any():
        return {"points": None, "low": None, "high": None}
    mine, other = ours.correct[rows], theirs.correct[rows]
    low, high = paired_bootstrap(mine, other, resamples=RESAMPLES, seed=SEED, confidence=CONFIDENCE)
    return {"points": 100 * float(mine.mean() - other.mean()), "low": 100 * low, "high": 100 * high}
