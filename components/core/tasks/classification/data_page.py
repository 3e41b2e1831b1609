"""The data page's view of labelled images."""

import base64
import io
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from PIL import Image

from components.core.data.dataset import SPLITS
from components.core.report.page import sample_grid, table
from components.core.tasks.images.levels import stated_levels
from components.core.tasks.images.stored_pictures import open_stored

if TYPE_CHECKING:
    from components.core.data.dataset import Dataset

SHOWN_SAMPLES = 12

_THUMBNAIL_PIXELS = 96
_SEARCHED_ROWS = 256


def data_blocks(dataset: "Dataset") -> list[Any]:
    """Images per class and split."""
    rows = [
        [name, *(dataset.class_counts[split][number] for split in SPLITS)]
        for number, name in enumerate(dataset.classes)
    ]
    return [table(["class", *SPLITS], rows, caption="Images per class and split.")]


def samples(dataset: "Dataset") -> list[Any]:
    """A few training images, as many of each class as fit."""
    caption = f"Up to {SHOWN_SAMPLES} training images, of as many classes as fit."
    return [sample_grid(list(_samples(dataset)), caption=caption)]


def _samples(dataset: "Dataset") -> Iterator[dict[str, str]]:
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
            "image_base64": _thumbnail(row, stated_levels(dataset)),
            "media_type": "image/png",
            "label": dataset.classes[label],
        }


def _thumbnail(row: Mapping[str, Any], levels: tuple[float, float] | None) -> str:
    """A small PNG, which every browser shows."""
    picture = open_stored(row, levels)
    picture.thumbnail((_THUMBNAIL_PIXELS, _THUMBNAIL_PIXELS), Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()
