"""From a user's data set to the dataset artifact: inspect, set aside, resolve duplicates, split, write."""

import os
import tempfile
from collections import Counter, defaultdict, deque
from collections.abc import Container, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from components.core.artifacts.manifest import Manifest
from components.core.data.dataset import SPLITS, Dataset, write_dataset
from components.core.data.ingestion.items import Inspected, Rejection, printable
from components.core.data.rows import DEMO, RowFormat
from components.core.data.slices import SliceCounts, parse_slice_columns, refuse_empty, row_slices, shard_column
from components.core.errors import UserError
from components.core.parameters import check_declared
from components.data_prep.quarantine import QUARANTINE_NAME, Quarantine
from components.data_prep.reuse import ReusedShards, Wanted, hold_shards, reusable_shards
from components.data_prep.spill import Spill
from components.data_prep.splitting import Fractions, small_strata, split_of, split_small_stratum

if TYPE_CHECKING:
    from components.core.store import Store

_THREADS = max(8, 2 * (os.cpu_count() or 1))
_TAKE_ROWS = 64


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What to prepare and how; see the stage's card. `rows` is the task's.

    Raises:
        UserError: a value out of range.
    """

    dataset: str
    rows: RowFormat
    validation_fraction: float = 0.15
    test_fraction: float = 0.25
    max_image_mb: float = 20.0
    slice_columns: str = ""

    def __post_init__(self) -> None:
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
    """The written dataset, what was left out, and the strata that were too small for the content rule."""

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

    The result depends on the items, their names and targets only, not on the order in which they are listed. Contents
    stay as they were encoded. Scratch space on disk: about the size of the data. With a `previous` data set, its shards
    of which nothing has changed are taken over, and only the other rows are written; the fingerprint is the same.

    Raises:
        UserError: nothing there, nothing usable, one class only, or a class that cannot be split.
        StoreError: the store, or the place of the data, does not answer.
    """
    quarantine, rows = Quarantine(), settings.rows
    with tempfile.TemporaryDirectory(prefix="trimtab-prep-") as scratch:
        source = rows.open_source(settings.dataset, _folder(scratch, "tables"), slice_columns=settings.slices)
        with Spill(_folder(scratch, "rows"), rows.raw_schema, settings.slices) as spill:
            found = _collect(source.items(), settings, spill, quarantine)
            buckets = spill.finish()
        classes = rows.order_classes(found, source.classes, settings.dataset)
        plan = _plan(spill, buckets, rows.strata(found), settings, quarantine)
        numbers = {name: number for number, name in enumerate(classes)}
        reused = ReusedShards()
        if previous is not None and _comparable(previous, settings, classes):
            reused = hold_shards(reusable_shards(previous, _wanted(spill, plan, numbers, settings), rows), store)
        manifest = write_dataset(
            artifact_path,
            rows=rows,
            classes=classes,
            splits={split: _rows(spill, plan, split, numbers, reused.digests, rows) for split in SPLITS},
            kept=reused.shards,
            slice_columns=settings.slices,
            store=store,
            metadata={
                **({"source": facts} if (facts := source.facts()) else {}),
                "licence": rows.demo.licence if settings.dataset == DEMO else "not stated",
                **({"description": said} if settings.dataset == DEMO and (said := rows.demo.description) else {}),
                **({"palette": palette} if (palette := _palette(source.colours, classes)) else {}),
                "validation_fraction": settings.validation_fraction,
                "test_fraction": settings.test_fraction,
                "quarantined": quarantine.counts,
                "duplicates": len(quarantine.duplicates),
                "small_classes": plan.small_classes,
            },
            extra_files={QUARANTINE_NAME: quarantine.to_json()},
        )
    return Prepared(manifest=manifest, quarantine=quarantine, small_classes=plan.small_classes)


def _palette(colours: Mapping[str, tuple[int, int, int]], classes: Sequence[str]) -> list[list[int]]:
    """The colours of the classes in their order; nothing where the source has none of one of them."""
    return [list(colours[name]) for name in classes] if set(classes) <= set(colours) else []


def _comparable(previous: Dataset, settings: Settings, classes: list[str]) -> bool:
    """Whether a shard of `previous` could be one of this data set: the same meaning of a class, the same columns."""
    return (previous.task, previous.classes, tuple(previous.slices)) == (settings.rows.task, classes, settings.slices)


def _collect(items: Iterator, settings: Settings, spill: Spill, quarantine: Quarantine) -> Counter[str]:
    """Inspect all items and set the usable ones aside. Returns usable rows per class, 0 where all were refused.

    Raises:
        UserError: nothing usable, with the reasons and the first of them in full.
    """
    found: Counter[str] = Counter()
    slices = SliceCounts(settings.slices)
    num_usable = 0
    for inspected in _inspected(items, settings):
        name = printable(inspected.name)
        usable = inspected.rejection is None
        for class_name in inspected.classes:
            found[class_name] += usable
        if inspected.rejection is not None:
            quarantine.add(name, inspected.label, inspected.rejection)
            continue
        num_usable += 1
        slices.add(inspected.slices)
        spill.add({**inspected.row, "source": name}, inspected.slices)
    if not num_usable:
        raise UserError(_nothing_usable(settings, quarantine))
    refuse_empty(slices, "usable row")
    return found


def _inspected(items: Iterator, settings: Settings) -> Iterator[Inspected]:
    """Inspect in parallel, in the order given; a bounded number of items is in memory at once."""
    waiting: deque[Future[Inspected]] = deque()
    with ThreadPoolExecutor(max_workers=_THREADS) as pool:
        for item in items:
            waiting.append(pool.submit(settings.rows.inspect, item, max_bytes=settings.max_image_bytes))
            if len(waiting) >= 2 * _THREADS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _nothing_usable(settings: Settings, quarantine: Quarantine) -> str:
    reasons = ", ".join(f"{count} {reason}" for reason, count in quarantine.counts.items()) or "no files"
    example = ""
    if quarantine.files:
        first = quarantine.records()[0]
        example = f"; first: {first['source']}: {first['detail']}"
    return f"dataset {settings.dataset} has no usable {settings.rows.noun.removesuffix('s')}: {reasons}{example}"


def _plan(spill: Spill, buckets: list[str], strata: list[str], settings: Settings, quarantine: Quarantine) -> _Plan:
    plan, rows = _Plan(), settings.rows
    # Counted anew: copies and conflicts are gone now. Of a group one key counts, however many rows it has.
    counts = {stratum: dict.fromkeys(SPLITS, 0) for stratum in strata}
    groups: defaultdict[str, set[str]] = defaultdict(set)
    columns = ["digest", "source", rows.raw_target, *rows.index_columns, *map(shard_column, settings.slices)]
    for bucket in buckets:
        index = spill.table(bucket).select(list(dict.fromkeys(columns)))
        kept = _resolved(index, settings, quarantine)
        plan.rows[bucket] = np.array(kept, dtype=np.int64)
        splits = []
        for raw in index.take(plan.rows[bucket]).to_pylist():
            key, stratum = rows.split_key(raw), rows.stratum(raw)
            splits.append(split_of(key, settings.fractions))
            if key != raw["digest"]:
                if key in groups[stratum]:
                    continue
                groups[stratum].add(key)
            counts[stratum][splits[-1]] += 1
        plan.splits[bucket] = np.array([SPLITS.index(name) for name in splits], dtype=np.int8)
    noun = "groups" if groups else rows.noun
    plan.small_classes = small_strata(counts, title=rows.stratum_title, noun=noun)
    if plan.small_classes:
        _split_small(plan, spill, buckets, settings)
    return plan


def _resolved(index: pa.Table, settings: Settings, quarantine: Quarantine) -> list[int]:
    """Row numbers to keep, in the order of digests: of equal contents the first by name, none if their targets differ.

    `index` has digest, source, the raw target and the slices, by which copies of one name are ordered.
    """
    task = settings.rows
    marks = [shard_column(column) for column in settings.slices]
    listed = index.select(["digest", "source", task.raw_target, *marks]).to_pylist()
    rows = sorted(
        (raw["digest"], raw["source"], raw[task.raw_target], [raw[mark] or "" for mark in marks], number)
        for number, raw in enumerate(listed)
    )
    kept: list[int] = []
    start = 0
    while start < len(rows):
        end = start
        while end < len(rows) and rows[end][0] == rows[start][0]:
            end += 1
        copies = rows[start:end]
        start = end
        if len({target for _, _, target, *_ in copies}) > 1:
            for _, name, target, *_ in copies:
                others = [(other, task.target_name(its)) for _, other, its, *_ in copies if its != target]
                same = ", ".join(f"{other} ({its})" if its else other for other, its in others)
                rejection = Rejection(task.conflict, f"same bytes as {same}"[:500])
                quarantine.add(name, task.target_name(target) or None, rejection)
            continue
        kept.append(copies[0][-1])
        for _, name, *_ in copies[1:]:
            quarantine.add_duplicate(name, copies[0][1])
    return kept


def _split_small(plan: _Plan, spill: Spill, buckets: list[str], settings: Settings) -> None:
    keys: dict[str, set[str]] = {stratum: set() for stratum in plan.small_classes}
    for stratum, key, _, _ in _kept(plan, spill, buckets, settings.rows):
        if stratum in keys:
            keys[stratum].add(key)
    splits = {stratum: split_small_stratum(list(members), settings.fractions) for stratum, members in keys.items()}
    for stratum, key, bucket, number in _kept(plan, spill, buckets, settings.rows):
        if stratum in splits:
            plan.splits[bucket][number] = SPLITS.index(splits[stratum][key])


def _kept(plan: _Plan, spill: Spill, buckets: list[str], rows: RowFormat) -> Iterator[tuple[str, str, str, int]]:
    """Stratum and key of each row that is kept, its bucket, and its place in the bucket's plan."""
    columns = list(dict.fromkeys(["digest", *rows.index_columns]))
    for bucket in buckets:
        for number, raw in enumerate(spill.table(bucket).select(columns).take(plan.rows[bucket]).to_pylist()):
            yield rows.stratum(raw), rows.split_key(raw), bucket, number


def _wanted(spill: Spill, plan: _Plan, numbers: Mapping[str, int], settings: Settings) -> Iterator[Wanted]:
    rows = settings.rows
    columns = list(dict.fromkeys(["digest", "source", *rows.raw_target_columns, *map(shard_column, settings.slices)]))
    for bucket, kept in plan.rows.items():
        table = spill.table(bucket).select(columns)
        for start in range(0, len(kept), _TAKE_ROWS):
            splits = plan.splits[bucket][start : start + _TAKE_ROWS]
            for raw, split in zip(table.take(kept[start : start + _TAKE_ROWS]).to_pylist(), splits, strict=True):
                target = rows.target_key(rows.finished(raw, numbers))
                yield Wanted(raw["digest"], SPLITS[split], target, raw["source"], row_slices(raw, settings.slices))


def _rows(
    spill: Spill, plan: _Plan, split: str, numbers: Mapping[str, int], written: Container[str], rows: RowFormat
) -> Iterator[dict[str, Any]]:
    """The rows of a split in the order of their digests, without those that are `written` already."""
    for bucket, kept in plan.rows.items():
        wanted = kept[plan.splits[bucket] == SPLITS.index(split)]
        if not len(wanted):
            continue
        table = spill.table(bucket)
        for start in range(0, len(wanted), _TAKE_ROWS):
            for raw in table.take(wanted[start : start + _TAKE_ROWS]).to_pylist():
                if raw["digest"] not in written:
                    yield rows.finished(raw, numbers)


def _folder(parent: str, name: str) -> Path:
    folder = Path(parent) / name
    folder.mkdir()
    return folder
