"""Items of a source → usable raw rows on disk, and the reasons why the others are not used."""

import hashlib
import os
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from components.core.data.ingestion.items import Inspected, Item, Rejection, Source, printable
from components.core.data.rows import RowFormat
from components.core.data.slices import SliceCounts
from components.core.data.spill import Spill

GIVEN_COLUMN = "given_split"
"""Column of the spilled rows: the split that a row came with, or null."""

_THREADS = max(8, 2 * (os.cpu_count() or 1))


@dataclass(frozen=True, kw_only=True)
class Part:
    """Which items to take of a source: those whose name's sha256, modulo `of`, is `number`.

    So every item is in one part, and items of one name in the same, however and in which order the source is listed.

    Raises:
        ValueError: `number` is not in 0..of−1.
    """

    number: int = 0
    of: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.number < self.of:
            raise ValueError(f"a part's number must be in 0..{self.of - 1}, got {self.number}")

    def holds(self, name: str) -> bool:
        """Whether the item of that name, as `printable` gives it, belongs to the part."""
        return int(hashlib.sha256(name.encode()).hexdigest(), 16) % self.of == self.number


ALL = Part()


@dataclass(frozen=True, kw_only=True)
class SourceFacts:
    """Facts that a source has once all its items were read; see `Source`."""

    classes: list[str]
    colours: Mapping[str, tuple[int, int, int]]
    split_from: str
    facts: Mapping[str, str]

    @classmethod
    def of(cls, source: Source) -> "SourceFacts":
        """Those of a source whose items have been read."""
        return cls(
            classes=list(source.classes),
            colours=dict(source.colours),
            split_from=source.split_from,
            facts=source.facts(),
        )


@dataclass(frozen=True, kw_only=True)
class Collected:
    """Result of reading a source, or a part of it; the usable rows are in the spill.

    Attributes:
        source: what the source says of itself.
        classes: usable rows per class (0 where all were refused).
        splits: usable rows per split that they came with.
        slices: values of the slice columns in usable rows.
        rejected: name, label and reason of each item that is not used.
    """

    source: SourceFacts
    classes: Counter[str] = field(default_factory=Counter)
    splits: Counter[str | None] = field(default_factory=Counter)
    slices: SliceCounts
    rejected: list[tuple[str, str | None, Rejection]] = field(default_factory=list)


def open_spill(folder: Path, rows: RowFormat, slice_columns: Sequence[str]) -> Spill:
    """An empty spill for the task's raw rows with their given split, in a new folder."""
    folder.mkdir()
    return Spill(folder, rows.raw_schema.append(pa.field(GIVEN_COLUMN, pa.string())), slice_columns)


def collect(
    dataset: str,
    rows: RowFormat,
    spill: Spill,
    scratch: Path,
    *,
    max_bytes: int,
    slice_columns: Sequence[str] = (),
    allow_paths: Sequence[str] = (),
    part: Part = ALL,
) -> Collected:
    """Inspect the items of `dataset` that belong to `part`, and set the usable ones aside.

    Args:
        dataset, slice_columns, allow_paths: as for `RowFormat.open_source`.
        rows: the task's.
        spill: where usable rows go.
        scratch: an existing folder for copies of remote tables.
        max_bytes: larger files are rejected.
        part: the others are listed, and neither read nor inspected.

    Raises:
        UserError: the source cannot be opened, or a slice column groups nothing.
        StoreError: the store, or the place of the data, does not answer.
    """
    source = rows.open_source(dataset, scratch, slice_columns=slice_columns, allow_paths=allow_paths)
    # Not SourceFacts first: some sources know what gave the splits when the last item has passed.
    classes, splits, slices = Counter[str](), Counter[str | None](), SliceCounts(slice_columns)
    rejected: list[tuple[str, str | None, Rejection]] = []
    wanted = source.items() if part.of == 1 else (item for item in source.items() if part.holds(printable(item.name)))
    for split, inspected in _inspected(wanted, rows, max_bytes):
        name = printable(inspected.name)
        usable = inspected.rejection is None
        for class_name in inspected.classes:
            classes[class_name] += usable
        if inspected.rejection is not None:
            rejected.append((name, inspected.label, inspected.rejection))
            continue
        splits[split] += 1
        slices.add(inspected.slices)
        spill.add({**inspected.row, "source": name, GIVEN_COLUMN: split}, inspected.slices)
    return Collected(source=SourceFacts.of(source), classes=classes, splits=splits, slices=slices, rejected=rejected)


def _inspected(items: Iterator[Item], rows: RowFormat, max_bytes: int) -> Iterator[tuple[str | None, Inspected]]:
    """Inspect in parallel, in the order given; a bounded number of items is in memory at once. With the given split."""
    waiting: deque[tuple[str | None, Future[Inspected]]] = deque()

    def first() -> tuple[str | None, Inspected]:
        split, future = waiting.popleft()
        return split, future.result()

    with ThreadPoolExecutor(max_workers=_THREADS) as pool:
        for item in items:
            waiting.append((item.split, pool.submit(rows.inspect, item, max_bytes=max_bytes)))
            if len(waiting) >= 2 * _THREADS:
                yield first()
        while waiting:
            yield first()
