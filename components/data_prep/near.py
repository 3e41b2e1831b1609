"""Near copies among the rows that are kept: found once, kept in one split if asked for, and counted at the end."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from components.core.data.dataset import SPLITS
from components.core.data.near_copies import NearCopies, group_near
from components.core.data.rows import RowFormat
from components.core.data.spill import Spill

Kept = Mapping[str, np.ndarray]
"""By bucket of the spill the numbers of the rows that are kept, or something of each of them, in that order."""

MOST_EXAMPLES = 50


class NearRow(NamedTuple):
    """A row that has near copies: the number of its group, and the key that would decide its split alone."""

    group: int
    key: str


@dataclass(frozen=True, kw_only=True)
class NearReport:
    """Near copies among the rows that are kept.

    Attributes:
        joined: whether each group was kept in one split.
        rows, groups: rows that have a near copy, and how many groups they are.
        leaked: of test and validation, the rows with a near copy in training.
        examples: a source outside of training and one of its copies in training.
    """

    joined: bool
    rows: int
    groups: int
    leaked: dict[str, int]
    examples: list[tuple[str, str]]


def find_near(kept: Kept, spill: Spill, buckets: Sequence[str], rows: RowFormat) -> dict[str, NearRow]:
    """The rows that have a near copy, by digest; of a row as many bytes are held as its vector has, and a few more."""
    if rows.near is None:
        return {}
    groups = group_near(_vectors(kept, spill, buckets, rows.near), rows.near.distance)
    shared = np.bincount(groups, minlength=len(groups))[groups] > 1
    columns = list(dict.fromkeys(["digest", *rows.index_columns]))
    found: dict[str, NearRow] = {}
    for bucket, part in _parts(kept, buckets):
        table = spill.table(bucket).select(columns).take(kept[bucket][shared[part]])
        for raw, group in zip(table.to_pylist(), groups[part][shared[part]].tolist(), strict=True):
            found[raw["digest"]] = NearRow(group, rows.split_key(raw))
    return found


def joined_keys(near: Mapping[str, NearRow]) -> dict[str, str]:
    """For each key of a row with near copies the one that decides instead: the smallest that it is joined with.

    Test lies at the beginning of all keys, then validation: a joined row can move towards test, and never out of it.
    """
    smallest: dict[str, str] = {}

    def decides(key: str) -> str:
        while smallest[key] != key:
            smallest[key] = smallest[smallest[key]]
            key = smallest[key]
        return key

    first: dict[int, str] = {}
    for group, key in near.values():
        smallest.setdefault(key, key)
        one, other = decides(first.setdefault(group, key)), decides(key)
        smallest[max(one, other)] = min(one, other)
    return {key: decides(key) for key in smallest}


def report_near(
    kept: Kept, splits: Kept, spill: Spill, buckets: Sequence[str], near: Mapping[str, NearRow], *, joined: bool
) -> NearReport:
    """Count the rows of `near` that are kept, and those whose copies lie in different splits."""
    members: defaultdict[int, list[tuple[str, str]]] = defaultdict(list)
    for bucket in buckets if near else ():
        table = spill.table(bucket).select(["digest", "source"]).take(kept[bucket])
        for raw, split in zip(table.to_pylist(), splits[bucket].tolist(), strict=True):
            if raw["digest"] in near:
                members[near[raw["digest"]].group].append((SPLITS[split], raw["source"]))
    groups = [sorted(group) for _, group in sorted(members.items()) if len(group) > 1]
    leaked, examples = {"test": 0, "validation": 0}, []
    for group in groups:
        trained = [source for split, source in group if split == "train"]
        outside = [(split, source) for split, source in group if split != "train"]
        if trained:
            for split, source in outside:
                leaked[split] += 1
                examples.append((source, trained[0]))
    return NearReport(
        joined=joined,
        rows=sum(map(len, groups)),
        groups=len(groups),
        leaked=leaked,
        examples=sorted(examples)[:MOST_EXAMPLES],
    )


def _vectors(kept: Kept, spill: Spill, buckets: Sequence[str], near: NearCopies) -> np.ndarray:
    vectors = np.zeros((sum(len(kept[bucket]) for bucket in buckets), near.dimensions), dtype=np.float16)
    for bucket, part in _parts(kept, buckets):
        column = spill.table(bucket).column(near.column).take(kept[bucket])
        for row, value in zip(vectors[part], column.to_pylist(), strict=True):
            if value is not None:
                row[:] = np.frombuffer(value, dtype=np.float16)
    return vectors


def _parts(kept: Kept, buckets: Sequence[str]) -> Iterator[tuple[str, slice]]:
    """Each bucket and where its rows stand among all rows that are kept."""
    start = 0
    for bucket in buckets:
        end = start + len(kept[bucket])
        yield bucket, slice(start, end)
        start = end
