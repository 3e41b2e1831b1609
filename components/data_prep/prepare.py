"""From a user's data set to the dataset artifact: inspect, set aside, resolve duplicates, split, write."""

import tempfile
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.core.artifacts.manifest import Manifest
from components.core.data.collect import GIVEN_COLUMN, Collected, collect, open_spill
from components.core.data.dataset import SPLITS, Dataset, write_dataset
from components.core.data.group_keys import encode_group_keys
from components.core.data.parts import merge_parts
from components.core.data.rows import DEMO, RowFormat
from components.core.data.slices import refuse_empty, row_slices, shard_column
from components.core.data.spill import Spill
from components.core.errors import UserError
from components.data_prep.apart import keep_apart
from components.data_prep.data_warnings import DataWarning, missing_warnings, near_warnings, warnings_of
from components.data_prep.misplaced import advice, missing_files
from components.data_prep.plan import Plan, kept_rows, keys_of_test_groups, make_plan
from components.data_prep.quarantine import QUARANTINE_NAME, Quarantine
from components.data_prep.reuse import ReusedShards, Wanted, hold_shards, reusable_shards
from components.data_prep.settings import Settings

if TYPE_CHECKING:
    from components.core.store import Store

_TAKE_ROWS = 64


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """The written dataset, what was left out, how it was split, and what may be wrong with the data."""

    manifest: Manifest
    quarantine: Quarantine
    plan: Plan
    warnings: list[DataWarning]


def prepare(
    settings: Settings,
    artifact_path: str | Path,
    store: "Store",
    *,
    previous: Dataset | None = None,
    parts: Sequence[Manifest] = (),
) -> Prepared:
    """Write the dataset artifact for `settings` to `artifact_path`.

    The result depends on the items, their names and targets only, not on the order in which they are listed. Contents
    stay as they were encoded. Scratch space on disk: about the size of the data. With a `previous` data set, its shards
    of which nothing has changed are taken over, and only the other rows are written; the fingerprint is the same.

    With `parts` (`core.data.parts`), the data are not read again; the manifest is the same, however many there are.

    Raises:
        UserError: nothing there, nothing usable, one class only, or a class that cannot be split.
        StoreError: the store, or the place of the data, does not answer.
    """
    rows = settings.rows
    with tempfile.TemporaryDirectory(prefix="trimtab-prep-") as scratch:
        with open_spill(Path(scratch) / "rows", rows, settings.slices) as spill:
            found = _collected(settings, parts, spill, scratch, store)
            buckets = spill.finish()
        quarantine, source = Quarantine(files=found.rejected), found.source
        ordered = rows.order_classes(found.classes, source.classes, settings.dataset)
        plan = make_plan(
            *(spill, buckets, rows.strata(found.classes), settings, quarantine),
            origin=source.split_from,
            found=found.splits,
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
                **({"source": facts} if (facts := dict(source.facts)) else {}),
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
        missing = missing_files(found.rejected)
        if 2 * len(missing) > found.splits.total() + len(found.rejected):
            warnings += missing_warnings(len(missing), advice(settings.dataset, rows, missing))
        warnings += [DataWarning(*doubt) for doubt in rows.doubts(_measured(spill, plan, rows))]
    return Prepared(manifest=manifest, quarantine=quarantine, plan=plan, warnings=warnings)


def _measured(spill: Spill, plan: Plan, rows: RowFormat, split: str | None = None) -> Iterator[dict[str, Any]]:
    """The measured columns of the rows that are kept, in one split or all."""
    for bucket, number, raw in kept_rows(plan, spill, list(plan.rows), rows.measured_columns):
        if split is None or SPLITS[plan.splits[bucket][number]] == split:
            yield raw


def _split_facts(plan: Plan, quarantine: Quarantine) -> dict[str, Any]:
    """Facts for the manifest about a given split, near copies and classes left out; empty without any."""
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


def _collected(settings: Settings, parts: Sequence[Manifest], spill: Spill, scratch: str, store: "Store") -> Collected:
    """Inspect the data here, or bring together what was inspected in parts.

    Raises:
        UserError: nothing usable, with the reasons and the first of them in full, or an empty slice column.
    """
    if parts:
        found = merge_parts(parts, spill, settings.slices, store)
    else:
        found = collect(
            settings.dataset,
            settings.rows,
            spill,
            _folder(scratch, "tables"),
            max_bytes=settings.max_image_bytes,
            slice_columns=settings.slices,
            allow_paths=settings.allow_paths,
        )
    if not found.splits:
        raise UserError(_nothing_usable(settings, found))
    refuse_empty(found.slices, "usable row")
    return found


def _nothing_usable(settings: Settings, found: Collected) -> str:
    quarantine = Quarantine(files=found.rejected)
    reasons = ", ".join(f"{count} {reason}" for reason, count in quarantine.counts.items()) or "no files"
    example = ""
    if quarantine.files:
        first = quarantine.records()[0]
        example = f"; first: {first['source']}: {first['detail']}"
    if instead := advice(settings.dataset, settings.rows, missing_files(found.rejected)):
        example += f"; {instead}"
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
