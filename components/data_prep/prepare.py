"""From a user's data set to the dataset artifact: inspect, set aside, resolve duplicates, split, write."""

import os
import tempfile
from collections import Counter, deque
from collections.abc import Container, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from components.core.artifacts.manifest import Manifest
from components.core.data.dataset import SPLITS, Dataset, write_dataset
from components.core.data.group_keys import encode_group_keys
from components.core.data.ingestion.items import Inspected, Item, printable
from components.core.data.rows import DEMO, RowFormat
from components.core.data.slices import SliceCounts, refuse_empty, row_slices, shard_column
from components.core.errors import UserError
from components.data_prep.apart import keep_apart
from components.data_prep.data_warnings import DataWarning, near_warnings, warnings_of
from components.data_prep.given import GIVEN_COLUMN
from components.data_prep.plan import Plan, kept_rows, keys_of_test_groups, make_plan
from components.data_prep.quarantine import QUARANTINE_NAME, Quarantine
from components.data_prep.reuse import ReusedShards, Wanted, hold_shards, reusable_shards
from components.data_prep.settings import Settings
from components.data_prep.spill import Spill

if TYPE_CHECKING:
    from components.core.store import Store

_THREADS = max(8, 2 * (os.cpu_count() or 1))
_TAKE_ROWS = 64


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """The written dataset, what was left out, how it was split, and what may be wrong with the data."""

    manifest: Manifest
    quarantine: Quarantine
    plan: Plan
    warnings: list[DataWarning]


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
        source = rows.open_source(
            *(settings.dataset, _folder(scratch, "tables")),
            slice_columns=settings.slices,
            allow_paths=settings.allow_paths,
        )
        schema = rows.raw_schema.append(pa.field(GIVEN_COLUMN, pa.string()))
        with Spill(_folder(scratch, "rows"), schema, settings.slices) as spill:
            collected = _collect(source.items(), settings, spill, quarantine)
            buckets = spill.finish()
        found = collected.classes
        ordered = rows.order_classes(found, source.classes, settings.dataset)
        plan = make_plan(
            *(spill, buckets, rows.strata(found), settings, quarantine),
            origin=source.split_from,
            found=collected.splits,
        )
        keep_apart(plan, spill, settings, quarantine)
        classes = [name for name in ordered if name not in plan.left_out]
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
                **_split_facts(plan, quarantine),
                **rows.training_facts(_measured(spill, plan, rows, split="train")),
            },
            extra_files={
                QUARANTINE_NAME: quarantine.to_json(),
                **encode_group_keys(keys_of_test_groups(plan, spill, rows)),
            },
        )
        warnings = warnings_of(classes, source.classes, plan, quarantine, rows)
        warnings += near_warnings(plan, rows)
        warnings += [DataWarning(*doubt) for doubt in rows.doubts(_measured(spill, plan, rows))]
    return Prepared(manifest=manifest, quarantine=quarantine, plan=plan, warnings=warnings)


def _measured(spill: Spill, plan: Plan, rows: RowFormat, split: str | None = None) -> Iterator[dict[str, Any]]:
    """What was measured of the rows that are kept, in one split or all."""
    for bucket, number, raw in kept_rows(plan, spill, list(plan.rows), rows.measured_columns):
        if split is None or SPLITS[plan.splits[bucket][number]] == split:
            yield raw


def _split_facts(plan: Plan, quarantine: Quarantine) -> dict[str, Any]:
    """What the manifest says of a given split, near copies and classes that were left out; nothing where none is."""
    facts: dict[str, Any] = {}
    if plan.given.used:
        facts["split"] = {
            "from": plan.given.origin,
            "cut_from_train": list(plan.given.missing),
            "duplicates_across": quarantine.num_across_splits,
        }
    if plan.near is not None and (plan.near.joined or plan.near.leaked["test"]):
        facts["near_duplicates"] = {
            "grouped": plan.near.joined,
            "rows": plan.near.rows,
            "groups": plan.near.groups,
            "in_training": plan.near.leaked,
        }
    if plan.left_out:
        facts["left_out_classes"] = plan.left_out
    return facts


def _palette(colours: Mapping[str, tuple[int, int, int]], classes: Sequence[str]) -> list[list[int]]:
    """The colours of the classes in their order; nothing where the source has none of one of them."""
    return [list(colours[name]) for name in classes] if set(classes) <= set(colours) else []


def _comparable(previous: Dataset, settings: Settings, classes: list[str]) -> bool:
    """Whether a shard of `previous` could be one of this data set: the same meaning of a class, the same columns."""
    return (previous.task, previous.classes, tuple(previous.slices)) == (settings.rows.task, classes, settings.slices)


@dataclass(kw_only=True)
class _Collected:
    """Usable rows per class (0 where all were refused), and per split that they came with."""

    classes: Counter[str] = field(default_factory=Counter)
    splits: Counter[str | None] = field(default_factory=Counter)


def _collect(items: Iterator[Item], settings: Settings, spill: Spill, quarantine: Quarantine) -> _Collected:
    """Inspect all items and set the usable ones aside.

    Raises:
        UserError: nothing usable, with the reasons and the first of them in full.
    """
    found = _Collected()
    slices = SliceCounts(settings.slices)
    for split, inspected in _inspected(items, settings):
        name = printable(inspected.name)
        usable = inspected.rejection is None
        for class_name in inspected.classes:
            found.classes[class_name] += usable
        if inspected.rejection is not None:
            quarantine.add(name, inspected.label, inspected.rejection)
            continue
        found.splits[split] += 1
        slices.add(inspected.slices)
        spill.add({**inspected.row, "source": name, GIVEN_COLUMN: split}, inspected.slices)
    if not found.splits:
        raise UserError(_nothing_usable(settings, quarantine))
    refuse_empty(slices, "usable row")
    return found


def _inspected(items: Iterator[Item], settings: Settings) -> Iterator[tuple[str | None, Inspected]]:
    """Inspect in parallel, in the order given; a bounded number of items is in memory at once. With the given split."""
    waiting: deque[tuple[str | None, Future[Inspected]]] = deque()

    def first() -> tuple[str | None, Inspected]:
        split, future = waiting.popleft()
        return split, future.result()

    with ThreadPoolExecutor(max_workers=_THREADS) as pool:
        for item in items:
            future = pool.submit(settings.rows.inspect, item, max_bytes=settings.max_image_bytes)
            waiting.append((item.split, future))
            if len(waiting) >= 2 * _THREADS:
                yield first()
        while waiting:
            yield first()


def _nothing_usable(settings: Settings, quarantine: Quarantine) -> str:
    reasons = ", ".join(f"{count} {reason}" for reason, count in quarantine.counts.items()) or "no files"
    example = ""
    if quarantine.files:
        first = quarantine.records()[0]
        example = f"; first: {first['source']}: {first['detail']}"
    return f"dataset {settings.dataset} has no usable {settings.rows.noun.removesuffix('s')}: {reasons}{example}"


def _wanted(spill: Spill, plan: Plan, numbers: Mapping[str, int], settings: Settings) -> Iterator[Wanted]:
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
    spill: Spill, plan: Plan, split: str, numbers: Mapping[str, int], written: Container[str], rows: RowFormat
) -> Iterator[dict[str, Any]]:
    """The rows of a split in the order of their digests, without those that are `written` already."""
    for bucket, kept in plan.rows.items():
        wanted = kept[plan.splits[bucket] == SPLITS.index(split)]
        if not len(wanted):
            continue
        table = spill.table(bucket).drop_columns([GIVEN_COLUMN])
        for start in range(0, len(wanted), _TAKE_ROWS):
            for raw in table.take(wanted[start : start + _TAKE_ROWS]).to_pylist():
                if raw["digest"] not in written:
                    yield rows.finished(raw, numbers)


def _folder(parent: str, name: str) -> Path:
    folder = Path(parent) / name
    folder.mkdir()
    return folder
