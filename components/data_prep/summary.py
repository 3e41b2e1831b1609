"""The stage's page: what came in, how it was split, what was left out."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from components.core.data.dataset import SPLITS, Dataset
from components.core.data.rows import RowFormat
from components.core.data.slices import slice_name
from components.core.numbers import percent
from components.core.report.page import Callout, Section, facts, table, text, write_page
from components.data_prep.near import MOST_EXAMPLES
from components.data_prep.plan import REASONS
from components.data_prep.prepare import Prepared

SHOWN_FILES = 200


def write_summary(path: str | Path, *, shown_as: str, prepared: Prepared, dataset: Dataset, rows: RowFormat) -> None:
    """Write the HTML page of a prepared dataset.

    Args:
        path: the file to write.
        shown_as: the dataset's name for the heading, without a path of this machine.
        prepared: what `prepare` returned.
        dataset: the same dataset, opened.
        rows: what the task says of its rows, and shows of them.
    """
    quarantine = prepared.quarantine
    sections = [
        Section(
            "Splits",
            [_split_facts(dataset, prepared, rows.noun), *rows.data_blocks(dataset), *_slice_table(dataset, rows.noun)],
            note=_how_split(prepared),
        ),
        Section("Samples", rows.samples(dataset)),
        *_near_section(prepared, rows),
        Section("Quarantine", list(_quarantine_blocks(prepared, rows))),
    ]
    left_out = len(quarantine.files)
    of_classes = f" of {len(dataset.classes)} classes" if dataset.classes else ""
    write_page(
        path,
        "Prepared data",
        sections,
        eyebrow="data_prep",
        lead=f"{sum(dataset.counts.values()):,} {rows.noun}{of_classes} from {shown_as}; "
        f"{left_out:,} quarantined, {len(quarantine.duplicates):,} exact duplicates left out.",
        footer=f"Fingerprint {dataset.fingerprint}",
    )


def _how_split(prepared: Prepared) -> str:
    given = prepared.plan.given
    if not given.used:
        return _TOGETHER if prepared.plan.joined else _HOW_SPLIT
    cut = " and ".join(given.missing)
    rest = f"It has no {cut} split, which was cut from training by content." if cut else ""
    return f"The split was given by {given.origin} and was followed. {rest}".strip()


_TOGETHER = (
    "The split follows from the sha256 of the content, of near copies the smallest in their group: a new copy can move "
    "its group towards test, and nothing moves out of test."
)

_HOW_SPLIT = (
    "The split follows from the sha256 of the content, or of the group's name where the data have groups: adding data "
    "moves nothing, and copies of one content, or members of one group, cannot lie in two splits."
)


def _split_facts(dataset: Dataset, prepared: Prepared, noun: str) -> Any:
    shares = prepared.manifest.metadata
    asked = {"validation": shares["validation_fraction"], "test": shares["test_fraction"]}
    asked["train"] = 1 - sum(asked.values())
    total = sum(dataset.counts.values())
    shown = {}
    for split in SPLITS:
        count = dataset.counts[split]
        how = f"asked: {percent(asked[split], digits=1)}"
        if prepared.plan.given.used:
            how = "cut from training" if split in prepared.plan.given.missing else "given"
        shown[split] = f"{count:,} {noun}, {percent(count / total, digits=1)} ({how})"
    return facts({**shown, "licence": shares["licence"], **shares.get("source", {})})


def _near_section(prepared: Prepared, rows: RowFormat) -> Iterator[Section]:
    near = prepared.plan.near
    if near is None or rows.near is None:
        return
    handled = "Each group lies in one split" if near.joined else "They were counted, and moved nowhere"
    found = f"{near.rows:,} {rows.noun} in {near.groups:,} groups are near copies ({rows.near.meaning}). {handled}."
    sizes = prepared.manifest.metadata["counts"]
    leaks = [[split, sizes[split], near.leaked[split]] for split in near.leaked]
    blocks: list[Any] = [text(found), table(["split", rows.noun, "with a near copy in training"], leaks)]
    if near.examples:
        caption = f"The first {len(near.examples)}." if len(near.examples) == MOST_EXAMPLES else ""
        blocks.append(table([rows.noun.removesuffix("s"), "near copy in training"], near.examples, caption=caption))
    yield Section("Near copies", blocks)


def _slice_table(dataset: Dataset, noun: str) -> Iterator[Any]:
    if not dataset.slices:
        return
    rows, total = [], sum(dataset.counts.values())
    for column, values in dataset.slices.items():
        rows += [[slice_name(column, value), *(counts[split] for split in SPLITS)] for value, counts in values.items()]
    without = ", ".join(
        f"{total - sum(sum(counts.values()) for counts in values.values()):,} have no {column}"
        for column, values in dataset.slices.items()
    )
    yield table(
        ["slice", *SPLITS], rows, caption=f"{noun.capitalize()} per slice and split; of {total:,} {noun} {without}."
    )


def _quarantine_blocks(prepared: Prepared, rows: RowFormat) -> Iterator[Any]:
    quarantine = prepared.quarantine
    for title, said in prepared.warnings:
        yield Callout(title, said, tone="warn")
    if prepared.plan.small_classes:
        names = ", ".join(rows.stratum_title(name) for name in prepared.plan.small_classes[:20])
        yield Callout(
            "Few rows were split by rank",
            f"By content alone a split would have had nothing of: {names}. These {rows.noun} were cut in the order of "
            "their digests, with at least one in each split. When data is added there, a row may change its split.",
            tone="warn",
        )
    if not quarantine.files:
        yield text("Every file could be used.")
    else:
        meanings = {**rows.reasons, **REASONS}
        counts = [[reason, count, meanings[reason]] for reason, count in quarantine.counts.items()]
        yield table(["reason", "files", "meaning"], counts)
        shown = [[r["source"], r["reason"], r["detail"]] for r in _some_of_each(quarantine.records())]
        more = len(quarantine.files) - len(shown)
        caption = f"and {more:,} more, all of them in quarantine.json of this artifact." if more else ""
        yield table(["file", "reason", "detail"], shown, caption=caption)
    if quarantine.duplicates:
        pairs = sorted(quarantine.duplicates)
        more = len(pairs) - SHOWN_FILES
        caption = f"and {more:,} more, all of them in quarantine.json." if more > 0 else ""
        yield table(["exact duplicate", "of"], pairs[:SHOWN_FILES], caption=caption)


def _some_of_each(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """At most `SHOWN_FILES` records in their order, of each reason an equal share if there are too many."""
    if len(records) <= SHOWN_FILES:
        return records
    share = max(1, SHOWN_FILES // len({record["reason"] for record in records}))
    seen: Counter[str] = Counter()
    kept = []
    for record in records:
        seen[record["reason"]] += 1
        if seen[record["reason"]] <= share:
            kept.append(record)
    return kept[:SHOWN_FILES]
