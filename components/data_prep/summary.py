"""The stage's page: what came in, how it was split, what was left out."""

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from components.core.data.dataset import SPLITS, Dataset
from components.core.data.slices import slice_name
from components.core.report.numbers import percent
from components.core.report.page import Callout, Section, facts, sample_grid, table, text, write_page
from components.core.tasks.images.preprocess import open_image
from components.data_prep.inspection import REASONS
from components.data_prep.prepare import Prepared

SHOWN_FILES = 200
SHOWN_SAMPLES = 12

_THUMBNAIL_PIXELS = 96
_SEARCHED_ROWS = 256


def write_summary(path: str | Path, *, shown_as: str, prepared: Prepared, dataset: Dataset) -> None:
    """Write the HTML page of a prepared dataset.

    Args:
        path: the file to write.
        shown_as: the dataset's name for the heading, without a path of this machine.
        prepared: what `prepare` returned.
        dataset: the same dataset, opened.
    """
    quarantine = prepared.quarantine
    sections = [
        Section(
            "Splits",
            [_split_facts(dataset, prepared), _class_table(dataset), *_slice_table(dataset)],
            note=_HOW_SPLIT,
        ),
        Section(
            "Samples",
            sample_grid(
                list(_samples(dataset)), caption=f"Up to {SHOWN_SAMPLES} training images, of as many classes as fit."
            ),
        ),
        Section("Quarantine", list(_quarantine_blocks(prepared))),
    ]
    left_out = len(quarantine.files)
    write_page(
        path,
        "Prepared data",
        sections,
        eyebrow="data_prep",
        lead=f"{sum(dataset.counts.values()):,} images of {len(dataset.classes)} classes from {shown_as}; "
        f"{left_out:,} quarantined, {len(quarantine.duplicates):,} exact duplicates left out.",
        footer=f"Fingerprint {dataset.fingerprint}",
    )


_HOW_SPLIT = (
    "An image's split follows from the sha256 of its bytes: adding data moves no image, and copies of one image cannot "
    "lie in two splits."
)


def _split_facts(dataset: Dataset, prepared: Prepared) -> Any:
    shares = prepared.manifest.metadata
    asked = {"validation": shares["validation_fraction"], "test": shares["test_fraction"]}
    asked["train"] = 1 - sum(asked.values())
    total = sum(dataset.counts.values())
    shown = {}
    for split in SPLITS:
        count = dataset.counts[split]
        shown[split] = (
            f"{count:,} images, {percent(count / total, digits=1)} (asked: {percent(asked[split], digits=1)})"
        )
    return facts(shown)


def _class_table(dataset: Dataset) -> Any:
    rows = [
        [name, *(dataset.class_counts[split][number] for split in SPLITS)]
        for number, name in enumerate(dataset.classes)
    ]
    return table(["class", *SPLITS], rows, caption="Images per class and split.")


def _slice_table(dataset: Dataset) -> Iterator[Any]:
    if not dataset.slices:
        return
    rows, total = [], sum(dataset.counts.values())
    for column, values in dataset.slices.items():
        rows += [[slice_name(column, value), *(counts[split] for split in SPLITS)] for value, counts in values.items()]
    without = ", ".join(
        f"{total - sum(sum(counts.values()) for counts in values.values()):,} have no {column}"
        for column, values in dataset.slices.items()
    )
    yield table(["slice", *SPLITS], rows, caption=f"Images per slice and split; of {total:,} images {without}.")


def _quarantine_blocks(prepared: Prepared) -> Iterator[Any]:
    quarantine = prepared.quarantine
    if prepared.small_classes:
        names = ", ".join(prepared.small_classes[:20])
        yield Callout(
            "Small classes were split by rank",
            f"By content alone a split would have had no image of: {names}. Their images were cut in the order of "
            "their digests, with at least one in each split. When data is added to these classes, an image may change "
            "its split.",
            tone="warn",
        )
    if not quarantine.files:
        yield text("Every file could be used.")
    else:
        counts = [[reason, count, REASONS[reason]] for reason, count in quarantine.counts.items()]
        yield table(["reason", "files", "meaning"], counts)
        records = quarantine.records()
        shown = [[r["source"], r["reason"], r["detail"]] for r in records[:SHOWN_FILES]]
        more = len(records) - len(shown)
        caption = f"and {more:,} more, all of them in quarantine.json of this artifact." if more else ""
        yield table(["file", "reason", "detail"], shown, caption=caption)
    if quarantine.duplicates:
        pairs = sorted(quarantine.duplicates)
        more = len(pairs) - SHOWN_FILES
        caption = f"and {more:,} more, all of them in quarantine.json." if more > 0 else ""
        yield table(["exact duplicate", "of"], pairs[:SHOWN_FILES], caption=caption)


def _samples(dataset: Dataset) -> Iterator[dict[str, str]]:
    """A few training images, as many of each class as fit, as small PNGs that every browser shows."""
    per_class = max(1, SHOWN_SAMPLES // len(dataset.classes))
    taken = [0] * len(dataset.classes)
    shown = 0
    for row in dataset.iterate("train", columns=("image", "label"), limit=_SEARCHED_ROWS):
        label = row["label"]
        if taken[label] >= per_class or shown >= SHOWN_SAMPLES:
            continue
        taken[label] += 1
        shown += 1
        yield {
            "image_base64": _thumbnail(row["image"]),
            "media_type": "image/png",
            "label": dataset.classes[label],
        }


def _thumbnail(image: bytes) -> str:
    picture = open_image(image)
    picture.thumbnail((_THUMBNAIL_PIXELS, _THUMBNAIL_PIXELS), Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()
