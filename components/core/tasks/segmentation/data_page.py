"""The data page's view of images and their masks."""

import base64
import io
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from components.core.data.dataset import SPLITS
from components.core.numbers import percent
from components.core.report import page
from components.core.tasks.images.levels import stated_levels
from components.core.tasks.images.stored_pictures import open_stored
from components.core.tasks.segmentation.assets import palette_of
from components.core.tasks.segmentation.masks import IGNORED, resized, stored_mask

if TYPE_CHECKING:
    from components.core.data.dataset import Dataset

SHOWN_SAMPLES = 6

_SHOWN_PIXELS = 128
_OPACITY = 0.6


def data_blocks(dataset: "Dataset") -> list[Any]:
    """Pixels of each class and their share, per split; and what is missing."""
    blocks: list[Any] = []
    for split in ("train", "test"):
        missing = [name for name, count in zip(dataset.classes, dataset.class_counts[split], strict=True) if not count]
        if missing:
            shown = ", ".join(missing[:20]) + (", …" if len(missing) > 20 else "")
            what = "nothing can be learnt of them" if split == "train" else "nothing can be measured of them"
            blocks.append(page.Callout(f"Classes without a pixel in {split}", f"{shown}: {what}.", tone="warn"))
    rows = []
    for number, name in enumerate(dataset.classes):
        cells: list[Any] = [name]
        for split in SPLITS:
            counts = dataset.class_counts[split]
            share = counts[number] / max(1, sum(counts))
            cells.append(page.Cell(f"{counts[number]:,}", sub=percent(share, digits=1)))
        rows.append(cells)
    caption = "Pixels per class and split, and their share of all pixels that are not ignored."
    return [page.table(["class", *SPLITS], rows, caption=caption), *blocks]


def samples(dataset: "Dataset") -> list[Any]:
    """A few training images, each beside itself with its mask over it."""
    images = tuple(_samples(dataset))
    caption = f"Up to {SHOWN_SAMPLES} training images, each followed by its mask over it; ignored pixels are white."
    return [page.Images(images, caption)]


def overlay(
    image: np.ndarray, mask: np.ndarray, palette: Sequence[tuple[int, int, int]], opacity: float = _OPACITY
) -> np.ndarray:
    """The mask's colours over a greyed image, white where ignored: uint8 `(H, W, 3)`.

    Args:
        image: uint8 `(H, W, 3)`.
        mask: uint8 `(H, W)`, class numbers and 255.
        palette: a colour per class.
        opacity: of the colours, in [0, 1]; the background (class 0) is left as it is.
    """
    colours = np.full((256, 3), 255.0)
    colours[: len(palette)] = palette
    weight = np.where(mask == 0, 0.0, opacity)[..., None]
    return np.round(image * (1 - weight) + colours[mask] * weight).astype(np.uint8)


def _samples(dataset: "Dataset") -> Iterator[page.Image]:
    palette = palette_of(dataset)
    for row in dataset.iterate("train", columns=("image", "mask"), limit=SHOWN_SAMPLES):
        picture = open_stored(row, stated_levels(dataset))
        mask = stored_mask(row["mask"], len(dataset.classes))
        names = [dataset.classes[number] for number in np.unique(mask[mask != IGNORED])]
        picture.thumbnail((_SHOWN_PIXELS, _SHOWN_PIXELS), Image.Resampling.BILINEAR)
        pixels = np.asarray(picture)
        over = overlay(pixels, resized(mask, *pixels.shape[:2]), palette)
        for title, shown in (("image", pixels), (", ".join(names), over)):
            yield page.Image(title=title, base64=_png(shown), media_type="image/png")


def _png(pixels: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()
