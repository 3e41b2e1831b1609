"""Which rows are kept, and which split each goes to."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from components.core.data.collect import GIVEN_COLUMN
from components.core.data.dataset import SPLITS
from components.core.data.ingestion.items import Rejection
from components.core.data.rows import CONTENT_IN_TWO_SPLITS, RowFormat
from components.core.data.slices import shard_column
from components.core.data.spill import Spill
from components.core.errors import UserError
from components.data_prep.given import GivenSplit, choose_split, rank
from components.data_prep.near import NearReport, find_near, joined_keys, report_near
from components.data_prep.quarantine import Quarantine
from components.data_prep.settings import GROUP, LEAVE_OUT, Settings
from components.data_prep.splitting import (
    UnsplittableError,
    small_strata,
    split_of,
    split_shared_keys,
    split_small_stratum,
)

_GROUP_IN_TWO_SPLITS = "group in two splits"
_NEAR_IN_TWO_SPLITS = "near copy in another split"
_CLASS_LEFT_OUT = "class left out"
REASONS = {
    _GROUP_IN_TWO_SPLITS: "the given split has rows of its group in the test or validation split too",
    _NEAR_IN_TWO_SPLITS: "the given split has a near copy of it in the test or validation split",
    CONTENT_IN_TWO_SPLITS: "a row of the test or validation split says the same, but for case, digits and punctuation",
    _CLASS_LEFT_OUT: "of a class that was left out because it has too few usable rows",
}
"""Reasons of the quarantine that only the plan gives, with their meaning."""


@dataclass
class Plan:
    """Which rows of the spill go where: per bucket the row numbers in the order of digests, and a split number each.

    Attributes:
        small_classes: strata that were cut by rank.
        left_out: strata that were left out, with the number of their usable rows.
        absent: strata of which a given split has nothing, by split.
        joined: with near copies kept together, which key decides in place of a row's own.
        near: near copies among the rows; None where the task does not look for them.
        has_groups: whether any key is that of a group.
    """

    given: GivenSplit
    rows: dict[str, np.ndarray] = field(default_factory=dict)
    splits: dict[str, np.ndarray] = field(default_factory=dict)
    small_classes: list[str] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)
    absent: dict[str, list[str]] = field(default_factory=dict)
    joined: dict[str, str] = field(default_factory=dict)
    near: NearReport | None = None
    has_groups: bool = False

    def key_of(self, raw: Mapping[str, Any], rows: RowFormat) -> tuple[str, bool]:
        """The key that decides a raw row's split, and whether it is that of a group."""
        own = rows.split_key(raw)
        return self.joined.get(own, own), own != raw["digest"] or own in self.joined


def make_plan(
    spill: Spill,
    buckets: list[str],
    strata: list[str],
    settings: Settings,
    quarantine: Quarantine,
    *,
    origin: str,
    found: Mapping[str | None, int],
) -> Plan:
    """Resolve duplicates, and give each row that is kept its split.

    Args:
        spill: the usable rows, in `buckets`.
        strata: what each split must have something of.
        quarantine: what is left out here is added.
        origin: where the given splits come from.
        found: usable rows by given split.

    Raises:
        UserError: a stratum that cannot be split, or a given split that cannot be followed.
    """
    rows = settings.rows
    plan = Plan(given=choose_split(settings.split, origin, found, settings.dataset))
    for bucket in buckets:
        index = _index(spill, bucket, settings)
        plan.rows[bucket] = np.array(_resolved(index, plan.given, settings, quarantine), dtype=np.int64)
    near, together = find_near(plan.rows, spill, buckets, rows), settings.near_duplicates == GROUP
    plan.joined = joined_keys(near) if together else {}
    if plan.given.used:
        _keep_groups_whole(plan, spill, buckets, settings, quarantine)
    counts, plan.has_groups = _deal(plan, spill, buckets, strata, settings)
    too_few = {name: splits for name, splits in counts.items() if _is_too_small(splits, plan.given)}
    if too_few:
        noun, left = "groups" if plan.has_groups else rows.noun, len(counts) - len(too_few)
        _leave_out(plan, spill, buckets, too_few, settings, quarantine, strata_left=left, noun=noun)
    counts = {name: splits for name, splits in counts.items() if name not in too_few}
    # A class with a single row for training keeps it there; that its cut parts lack it is said.
    cuttable = {
        name: splits for name, splits in counts.items() if _num_pooled(splits, plan.given) >= len(plan.given.parts)
    }
    plan.small_classes = small_strata(cuttable, plan.given.parts)
    if plan.small_classes:
        _split_small(plan, spill, buckets, settings, shared=plan.has_groups and len(counts) > 1)
    for split in SPLITS if plan.given.used else ():
        lacking = {name for name, splits in counts.items() if not splits[split]}
        if split in plan.given.parts:
            lacking -= set(plan.small_classes)
        if lacking:
            plan.absent[split] = sorted(lacking)
    plan.near = (
        None if rows.near is None else report_near(plan.rows, plan.splits, spill, buckets, near, joined=together)
    )
    return plan


def kept_rows(
    plan: Plan, spill: Spill, buckets: Sequence[str], columns: Sequence[str]
) -> Iterator[tuple[str, int, dict]]:
    """Bucket, place in the bucket's plan and these columns of each row that is kept."""
    for bucket in buckets:
        table = spill.table(bucket).select(list(dict.fromkeys(columns)))
        for number, raw in enumerate(table.take(plan.rows[bucket]).to_pylist()):
            yield bucket, number, raw


def keys_of_test_groups(plan: Plan, spill: Spill, rows: RowFormat) -> dict[str, str]:
    """By digest, the key of each test row that a group decided for."""
    if not plan.has_groups:
        return {}
    found = {}
    for bucket, number, raw in kept_rows(plan, spill, list(plan.rows), ["digest", *rows.index_columns]):
        key, is_group = plan.key_of(raw, rows)
        if is_group and SPLITS[plan.splits[bucket][number]] == "test":
            found[raw["digest"]] = key
    return found


def _index(spill: Spill, bucket: str, settings: Settings) -> pa.Table:
    marks = map(shard_column, settings.slices)
    columns = ["digest", "source", settings.rows.raw_target, *settings.rows.index_columns, *marks, GIVEN_COLUMN]
    return spill.table(bucket).select(list(dict.fromkeys(columns)))


def _resolved(index: pa.Table, given: GivenSplit, settings: Settings, quarantine: Quarantine) -> list[int]:
    """Row numbers to keep, in the order of digests: of equal contents the first by name, none if their targets differ.

    Of copies in two given splits the one in the test split stays, or else that in the validation split. `index` has
    digest, source, the raw target, the given split and the slices, by which copies of one name are ordered.
    """
    task = settings.rows
    marks = [shard_column(column) for column in settings.slices]
    listed = index.select(["digest", "source", task.raw_target, GIVEN_COLUMN, *marks]).to_pylist()
    rows = sorted(
        (
            raw["digest"],
            rank(raw[GIVEN_COLUMN]) if given.used else 0,
            raw["source"],
            raw[task.raw_target],
            [raw[mark] or "" for mark in marks],
            number,
        )
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
        if len({target for _, _, _, target, *_ in copies}) > 1:
            for _, _, name, target, *_ in copies:
                others = [(other, task.target_name(its)) for _, _, other, its, *_ in copies if its != target]
                same = ", ".join(f"{other} ({its})" if its else other for other, its in others)
                rejection = Rejection(task.conflict, f"same bytes as {same}"[:500])
                quarantine.add(name, task.target_name(target) or None, rejection)
            continue
        kept.append(copies[0][-1])
        for _, place, name, *_ in copies[1:]:
            quarantine.add_duplicate(name, copies[0][2], across_splits=place != copies[0][1])
    return kept


def _keep_groups_whole(
    plan: Plan, spill: Spill, buckets: list[str], settings: Settings, quarantine: Quarantine
) -> None:
    """Of a group in two given splits only the rows in the test split stay, or else those in the validation split."""
    rows = settings.rows
    columns = ["digest", "source", rows.raw_target, *rows.index_columns, GIVEN_COLUMN]
    best: dict[str, int] = {}
    for _, _, raw in kept_rows(plan, spill, buckets, columns):
        key, is_group = plan.key_of(raw, rows)
        if is_group:
            best[key] = min(best.get(key, 2), rank(raw[GIVEN_COLUMN]))
    if not best:
        return

    def stays(raw: Mapping[str, Any]) -> bool:
        first = best.get(plan.key_of(raw, rows)[0])
        if first is None or rank(raw[GIVEN_COLUMN]) == first:
            return True
        has_group = rows.split_key(raw) != raw["digest"]
        reason = _GROUP_IN_TWO_SPLITS if has_group else _NEAR_IN_TWO_SPLITS
        what = "its group also has rows" if has_group else "it has a near copy"
        target = rows.target_name(raw[rows.raw_target])
        detail = f"{what} in the {('test', 'validation')[first]} split"
        quarantine.add(raw["source"], target or None, Rejection(reason, detail))
        return False

    _filter(plan, spill, buckets, columns, stays)


def _deal(
    plan: Plan, spill: Spill, buckets: list[str], strata: list[str], settings: Settings
) -> tuple[dict[str, dict[str, int]], bool]:
    """Splits by the keys or as given. Returns keys per stratum and split, and whether any key is a group's."""
    rows, given = settings.rows, plan.given
    # Counted again: copies and conflicts are gone now. Of a group one key counts, however many rows it has.
    counts = {stratum: dict.fromkeys(SPLITS, 0) for stratum in strata}
    groups: defaultdict[str, set[str]] = defaultdict(set)
    columns = ["digest", *rows.index_columns, GIVEN_COLUMN]
    for bucket in buckets:
        plan.splits[bucket] = np.zeros(len(plan.rows[bucket]), dtype=np.int8)
    for bucket, number, raw in kept_rows(plan, spill, buckets, columns):
        (key, is_group), stratum = plan.key_of(raw, rows), rows.stratum(raw)
        settled = given.is_settled(raw[GIVEN_COLUMN])
        split = raw[GIVEN_COLUMN] if settled else split_of(key, settings.fractions, given.parts)
        plan.splits[bucket][number] = SPLITS.index(split)
        if is_group:
            if key in groups[stratum]:
                continue
            groups[stratum].add(key)
        counts[stratum][split] += 1
    return counts, bool(groups)


def _num_pooled(splits: Mapping[str, int], given: GivenSplit) -> int:
    """Keys of a stratum that are dealt out, from its keys per split."""
    return sum(splits[part] for part in given.parts)


def _is_too_small(splits: Mapping[str, int], given: GivenSplit) -> bool:
    needed = 1 if given.used else len(given.parts)
    return _num_pooled(splits, given) < needed


def _leave_out(
    plan: Plan,
    spill: Spill,
    buckets: list[str],
    too_few: Mapping[str, Mapping[str, int]],
    settings: Settings,
    quarantine: Quarantine,
    *,
    strata_left: int,
    noun: str,
) -> None:
    """UserError for the first stratum that is too small; its rows are left out if that is asked for and can be."""
    rows = settings.rows
    if settings.rare_classes != LEAVE_OUT or strata_left < 2:
        stratum = sorted(too_few)[0]
        raise UserError(_too_small(stratum, too_few[stratum], plan.given, quarantine, rows, noun))
    plan.left_out = {stratum: sum(splits.values()) for stratum, splits in sorted(too_few.items())}

    def stays(raw: Mapping[str, Any]) -> bool:
        stratum = rows.stratum(raw)
        if stratum not in too_few:
            return True
        detail = f"{rows.stratum_title(stratum)} has {plan.left_out[stratum]} usable {noun}"
        quarantine.add(
            raw["source"], rows.target_name(raw[rows.raw_target]) or None, Rejection(_CLASS_LEFT_OUT, detail)
        )
        return False

    _filter(plan, spill, buckets, ["digest", "source", rows.raw_target, *rows.index_columns], stays)


def _too_small(
    stratum: str, splits: Mapping[str, int], given: GivenSplit, quarantine: Quarantine, rows: RowFormat, noun: str
) -> str:
    total = sum(splits.values())
    counted = f"{total} usable {noun.removesuffix('s') if total == 1 else noun}"
    needs = f"it needs at least {len(given.parts)}, one each for training, validation and test"
    if given.used:
        counted, needs = f"no usable {noun.removesuffix('s')} for training", "add some, or give split=content"
    reasons = Counter(rejection.reason for _, label, rejection in quarantine.files if label == stratum)
    left_out = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
    put_aside = f"; quarantined: {left_out}" if left_out else ""
    without = "; rare_classes=leave_out continues without such classes" if stratum else ""
    return f"{rows.stratum_title(stratum)} has {counted}; {needs}{put_aside}{without}"


def _filter(
    plan: Plan, spill: Spill, buckets: list[str], columns: Sequence[str], stays: Callable[[Mapping[str, Any]], bool]
) -> None:
    kept: defaultdict[str, list[int]] = defaultdict(list)
    for bucket, number, raw in kept_rows(plan, spill, buckets, columns):
        if stays(raw):
            kept[bucket].append(number)
    for bucket in buckets:
        places = np.array(kept[bucket], dtype=np.int64)
        plan.rows[bucket] = plan.rows[bucket][places]
        if bucket in plan.splits:
            plan.splits[bucket] = plan.splits[bucket][places]


def _split_small(plan: Plan, spill: Spill, buckets: list[str], settings: Settings, *, shared: bool) -> None:
    """Strata without anything in some part are cut by rank; with `shared` keys, all strata are looked at together."""
    rows, given = settings.rows, plan.given
    keys: defaultdict[str, set[str]] = defaultdict(set)
    columns = ["digest", *rows.index_columns, GIVEN_COLUMN]
    for _, _, raw in kept_rows(plan, spill, buckets, columns):
        stratum = rows.stratum(raw)
        if (shared or stratum in plan.small_classes) and not given.is_settled(raw[GIVEN_COLUMN]):
            keys[stratum].add(plan.key_of(raw, rows)[0])
    if shared:
        try:
            together = split_shared_keys(keys, settings.fractions, given.parts)
        except UnsplittableError as error:
            raise UserError(
                f"{rows.stratum_title(error.stratum)} has too few groups for each of "
                f"{', '.join(reversed(given.parts))} to get one; give it more groups, or leave out group_column "
                "or near_duplicates=group"
            ) from error
        splits = {stratum: {key: together[key] for key in members} for stratum, members in keys.items()}
    else:
        splits = {
            stratum: split_small_stratum(list(members), settings.fractions, given.parts)
            for stratum, members in keys.items()
        }
    for bucket, number, raw in kept_rows(plan, spill, buckets, columns):
        stratum = rows.stratum(raw)
        if stratum in splits and not given.is_settled(raw[GIVEN_COLUMN]):
            plan.splits[bucket][number] = SPLITS.index(splits[stratum][plan.key_of(raw, rows)[0]])
