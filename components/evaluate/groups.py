"""Candidate against baseline on the rows of each of the task's groups, and of each slice of the data set."""

import math
from typing import TYPE_CHECKING

import numpy as np

from components.core.data.slices import shard_column, slice_name
from components.core.evaluation.document import Comparison
from components.core.tasks.metric import Metric
from components.evaluate.intervals import PairedRows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from components.core.data.dataset import Dataset
    from components.core.tasks.base import Group

SLICE = "slice"


def group_comparisons(groups: "Sequence[Group]", members: np.ndarray, pairs: PairedRows) -> list[Comparison]:
    """One comparison per group by the group's own metric; `members` bool `(N, groups)`."""
    return [
        compare_rows(pairs.part(members[:, number]), group.metric, kind=group.kind, name=group.name)
        for number, group in enumerate(groups)
    ]


def slice_comparisons(
    dataset: "Dataset", split: str, digests: list[str], metric: Metric, pairs: PairedRows
) -> list[Comparison]:
    """One comparison per slice that the data set knows, also for one without a row in this split."""
    places = _slice_places(dataset, split, digests)
    return [
        compare_rows(pairs.part(places[column] == place), metric, kind=SLICE, name=slice_name(column, value))
        for column, known in dataset.slices.items()
        for place, value in enumerate(known)
    ]


def compare_rows(pairs: PairedRows, metric: Metric, *, kind: str, name: str) -> Comparison:
    """Both models on some rows, with the same paired interval as over all of them."""
    rows = len(pairs.candidate)
    difference = pairs.difference(metric)
    gained, lost = pairs.changed(metric)
    ours, theirs = (metric.value(side) if rows else math.nan for side in (pairs.candidate, pairs.baseline))
    return Comparison(
        kind=kind,
        name=name,
        metric=metric.label,
        percent=metric.percent,
        proportion=metric.proportion,
        support=rows,
        candidate=ours if math.isfinite(ours) else None,
        baseline=theirs if math.isfinite(theirs) else None,
        points=difference.points,
        low=difference.low,
        high=difference.high,
        gained=gained,
        lost=lost,
    )


def _slice_places(dataset: "Dataset", split: str, digests: list[str]) -> dict[str, np.ndarray]:
    """The place of each row's value among the known ones, by column, in stored order; −1 where it has none."""
    places = {column: {value: place for place, value in enumerate(known)} for column, known in dataset.slices.items()}
    found = {column: np.full(len(digests), -1, dtype=np.int16) for column in places}
    columns = {column: shard_column(column) for column in places}
    wanted = set(digests)
    stored = dataset.iterate(split, columns=("digest", *columns.values())) if columns else ()
    for number, row in enumerate(row for row in stored if row["digest"] in wanted):
        assert row["digest"] == digests[number], "slices must be those of the rows that were run"
        for column, name in columns.items():
            found[column][number] = places[column].get(row[name], -1)
    return found
