"""From a source of labelled images to the dataset artifact: inspect, set aside, resolve duplicates, split, write."""

import os
import tempfile
from collections import Counter, deque
from collections.abc import Container, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from components.core.artifacts.manifest import Manifest
from components.core.data.dataset import SPLITS, Dataset, write_dataset
from components.core.data.ingestion.sources import DEMO, DEMO_LICENCE, Rejection, check_classes, open_source
from components.core.data.slices import SliceCounts, parse_slice_columns, refuse_empty, row_slices, shard_column
from components.core.errors import UserError
from components.core.parameters import check_declared
from components.core.tasks import get_task
from components.data_prep.inspection import Inspected, inspect_item
from components.data_prep.quarantine import QUARANTINE_NAME, Quarantine
from components.data_prep.reuse import ReusedShards, Wanted, hold_shards, reusable_shards
from components.data_prep.spill import Spill
from components.data_prep.splitting import Fractions, small_classes, split_of, split_small_class

if TYPE_CHECKING:
    from components.core.store import Store

_THREADS = max(8, 2 * (os.cpu_count() or 1))
_TAKE_ROWS = 64


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What to prepare and how; see the stage's card.

    Raises:
        UserError: a value out of range, or a task that does not exist.
    """

    dataset: str
    task: str = "classification"
    validation_fraction: float = 0.15
    test_fraction: float = 0.25
    max_image_mb: float = 20.0
    slice_columns: str = ""

    def __post_init__(self) -> None:
        get_task(self.task)
        _ = self.fractions
        check_declared(vars(self))

    @property
    def fractions(self) -> Fractions:
        """Shares of the splits."""
        return Fractions(validation=self.validation_fraction, test=self.test_fraction)

    @property
    def slices(self) -> tuple[str, ...]:
        """`slice_columns` one by one."""
        return parse_slice_columns(self.slice_columns)

    @property
    def max_image_bytes(self) -> int:
        """`max_image_mb` in bytes (1 MB = 10⁶ bytes)."""
        return round(self.max_image_mb * 1e6)


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """The written dataset, what was left out, and the classes that were too small for the content rule."""

    manifest: Manifest
    quarantine: Quarantine
    small_classes: list[str]


@dataclass
class _Plan:
    """Which rows of the spill go where: per bucket the row numbers in the order of digests, and a split number each."""

    rows: dict[str, np.ndarray] = field(default_factory=dict)
    splits: dict[str, np.ndarray] = field(default_factory=dict)
    small_classes: list[str] = field(default_factory=list)


def prepare(
    settings: Settings, artifact_path: str | Path, store: "Store", *, previous: Dataset | None = None
) -> Prepared:
    """Write the dataset artifact for `settings` to `artifact_path`.

    The result depends on the images, their names and labels only, not on the order in which they are listed. Images
    stay as they were encoded. Scratch space on disk: about the size of the data. With a `previous` data set, its shards
    of which nothing has changed are taken over, and only the other rows are written; the fingerprint is the same.

    Raises:
        UserError: nothing there, no usable image, one class only, or a class that cannot be split.
        StoreError: the store, or the place of the images, does not answer.
    """
    quarantine = Quarantine()
    with tempfile.TemporaryDirectory(prefix="trimtab-prep-") as scratch:
        source = open_source(settings.dataset, _folder(scratch, "tables"), slice_columns=settings.slices)
        with Spill(_folder(scratch, "rows"), settings.slices) as spill:
            labels = _collect(source.items(), settings, spill, quarantine)
            buckets = spill.finish()
        _check_usable(labels, settings, quarantine)
        classes = _ordered(list(labels), source.classes)
        plan = _plan(spill, buckets, labels, settings, quarantine)
        numbers = {name: number for number, name in enumerate(classes)}
        reused = ReusedShards()
        if previous is not None and _comparable(previous, settings, classes):
            reused = hold_shards(reusable_shards(previous, _wanted(spill, plan, numbers, settings.slices)), store)
        manifest = write_dataset(
            artifact_path,
            task=settings.task,
            classes=classes,
            splits={split: _rows(spill, plan, split, numbers, reused.digests) for split in SPLITS},
            kept=reused.shards,
            slice_columns=settings.slices,
            store=store,
            metadata={
                "licence": DEMO_LICENCE if settings.dataset == DEMO else "not stated",
                "validation_fraction": settings.validation_fraction,
                "test_fraction": settings.test_fraction,
                "quarantined": quarantine.counts,
                "duplicates": len(quarantine.duplicates),
                "small_classes": plan.small_classes,
            },
            extra_files={QUARANTINE_NAME: quarantine.to_json()},
        )
    return Prepared(manifest=manifest, quarantine=quarantine, small_classes=plan.small_classes)


def _comparable(previous: Dataset, settings: Settings, classes: list[str]) -> bool:
    """Whether a shard of `previous` could be one of this data set: the same meaning of a label, the same columns."""
    return (previous.task, previous.classes, tuple(previous.slices)) == (settings.task, classes, settings.slices)


def _collect(items: Iterator, settings: Settings, spill: Spill, quarantine: Quarantine) -> Counter[str]:
    """Inspect all items and set the usable ones aside. Returns usable images per class, 0 where all were refused."""
    labels: Counter[str] = Counter()
    slices = SliceCounts(settings.slices)
    for inspected in _inspected(items, settings.max_image_bytes):
        name = _printable(inspected.name)
        label = None if inspected.label is None else _printable(inspected.label)
        if inspected.rejection is not None:
            quarantine.add(name, label, inspected.rejection)
            # A folder of text files is no class; a folder of broken images is one, and its loss must be said.
            if label is not None and inspected.rejection.reason != "unsupported":
                labels[label] += 0
            continue
        assert label is not None, "an item without a label has been rejected"
        labels[label] += 1
        slices.add(inspected.slices)
        spill.add(image=inspected.data, label=label, digest=inspected.digest, source=name, slices=inspected.slices)
    if labels.total():
        refuse_empty(slices, "usable row")
    return labels


def _inspected(items: Iterator, max_bytes: int) -> Iterator[Inspected]:
    """Inspect in parallel, in the order given; a bounded number of images is in memory at once."""
    waiting: deque[Future[Inspected]] = deque()
    with ThreadPoolExecutor(max_workers=_THREADS) as pool:
        for item in items:
            waiting.append(pool.submit(inspect_item, item, max_bytes=max_bytes))
            if len(waiting) >= 2 * _THREADS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _check_usable(labels: Counter[str], settings: Settings, quarantine: Quarantine) -> None:
    if not labels.total():
        reasons = ", ".join(f"{count} {reason}" for reason, count in quarantine.counts.items()) or "no files"
        example = ""
        if quarantine.files:
            first = quarantine.records()[0]
            example = f"; first: {first['source']}: {first['detail']}"
        raise UserError(f"dataset {settings.dataset} has no usable image: {reasons}{example}")
    check_classes(list(labels), settings.dataset)


def _ordered(found: list[str], declared: list[str]) -> list[str]:
    """The declared order; else numbers by value; else by name."""
    if declared:
        return [name for name in declared if name in found]
    if all(name.isascii() and name.isdigit() for name in found):
        return sorted(found, key=lambda name: (int(name), name))
    return sorted(found)


def _plan(spill: Spill, buckets: list[str], labels: Counter[str], settings: Settings, quarantine: Quarantine) -> _Plan:
    plan = _Plan()
    # Counted anew: copies and conflicts are gone now.
    counts = {label: dict.fromkeys(SPLITS, 0) for label in labels}
    fractions, slices = settings.fractions, list(map(shard_column, settings.slices))
    for bucket in buckets:
        index = spill.table(bucket).select(["digest", "source", "label", *slices])
        kept = _resolved(index, quarantine)
        plan.rows[bucket] = np.array(kept, dtype=np.int64)
        chosen = index.take(plan.rows[bucket])
        names = [split_of(digest, fractions) for digest in chosen["digest"].to_pylist()]
        plan.splits[bucket] = np.array([SPLITS.index(name) for name in names], dtype=np.int8)
        for label, name in zip(chosen["label"].to_pylist(), names, strict=True):
            counts[label][name] += 1
    plan.small_classes = small_classes(counts)
    if plan.small_classes:
        _split_small(plan, spill, buckets, fractions)
    return plan


def _resolved(index: pa.Table, quarantine: Quarantine) -> list[int]:
    """Row numbers to keep, in the order of digests: of equal images the first by name, none if their labels differ.

    `index` has digest, source, label and the slices, by which copies of one name are ordered.
    """
    digests, sources, labels, *slices = (column.to_pylist() for column in index.columns)
    marks = zip(*([value or "" for value in column] for column in slices), strict=True) if slices else repeat(())
    rows = sorted(zip(digests, sources, labels, marks, range(index.num_rows), strict=False))
    kept: list[int] = []
    start = 0
    while start < len(rows):
        end = start
        while end < len(rows) and rows[end][0] == rows[start][0]:
            end += 1
        copies = rows[start:end]
        start = end
        if len({label for _, _, label, *_ in copies}) > 1:
            for _, name, label, *_ in copies:
                others = ", ".join(f"{other} ({its})" for _, other, its, *_ in copies if its != label)
                quarantine.add(name, label, Rejection("conflicting labels", f"same bytes as {others}"[:500]))
            continue
        kept.append(copies[0][-1])
        for _, name, *_ in copies[1:]:
            quarantine.add_duplicate(name, copies[0][1])
    return kept


def _split_small(plan: _Plan, spill: Spill, buckets: list[str], fractions: Fractions) -> None:
    digests: dict[str, list[str]] = {name: [] for name in plan.small_classes}
    for label, digest, _, _ in _kept(plan, spill, buckets):
        if label in digests:
            digests[label].append(digest)
    splits = {name: split_small_class(members, fractions) for name, members in digests.items()}
    for label, digest, bucket, number in _kept(plan, spill, buckets):
        if label in splits:
            plan.splits[bucket][number] = SPLITS.index(splits[label][digest])


def _kept(plan: _Plan, spill: Spill, buckets: list[str]) -> Iterator[tuple[str, str, str, int]]:
    for bucket in buckets:
        chosen = spill.table(bucket).select(["label", "digest"]).take(plan.rows[bucket])
        pairs = zip(chosen["label"].to_pylist(), chosen["digest"].to_pylist(), strict=True)
        for number, (label, digest) in enumerate(pairs):
            yield label, digest, bucket, number


def _wanted(spill: Spill, plan: _Plan, numbers: dict[str, int], slices: tuple[str, ...]) -> Iterator[Wanted]:
    columns = ["digest", "label", "source", *map(shard_column, slices)]
    for bucket, rows in plan.rows.items():
        chosen = spill.table(bucket).select(columns).take(rows)
        for row, split in zip(chosen.to_pylist(), plan.splits[bucket], strict=True):
            label = numbers[row["label"]]
            yield Wanted(row["digest"], SPLITS[split], label, row["source"], row_slices(row, slices))


def _rows(
    spill: Spill, plan: _Plan, split: str, numbers: dict[str, int], written: Container[str]
) -> Iterator[dict[str, Any]]:
    """The rows of a split in the order of their digests, without those that are `written` already."""
    for bucket, rows in plan.rows.items():
        wanted = rows[plan.splits[bucket] == SPLITS.index(split)]
        if not len(wanted):
            continue
        table = spill.table(bucket)
        for start in range(0, len(wanted), _TAKE_ROWS):
            for row in table.take(wanted[start : start + _TAKE_ROWS]).to_pylist():
                if row["digest"] not in written:
                    yield {**row, "label": numbers[row["label"]]}


def _printable(name: str) -> str:
    # A file name on disk need not be valid Unicode; a Parquet string must be.
    return name.encode("utf-8", "backslashreplace").decode()


def _folder(parent: str, name: str) -> Path:
    folder = Path(parent) / name
    folder.mkdir()
    return folder
