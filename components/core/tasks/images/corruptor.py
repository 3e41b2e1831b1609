"""Stored images as they would look damaged: what an evaluation of robustness reads."""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from components.core.tasks.images.corruptions import CORRUPTIONS, SEVERITIES, corrupted
from components.core.tasks.images.stored_pictures import open_stored

SIDE = 224
"""Shorter side, in pixels, at which images are corrupted if they are larger: that of Hendrycks and Dietterich."""


@dataclass(frozen=True, kw_only=True)
class ImageCorruptions:
    """The corruptions of a task whose rows have a column `image`.

    Larger images are shrunk first, or noise would vanish when the network's preprocessing shrinks them. The undamaged
    version is shrunk too, so that a drop is that of the corruption alone.

    Attributes:
        same_size: whether the image is enlarged again to its own size, because the target has that size.
    """

    same_size: bool = False

    kinds = tuple((name, severity) for name in CORRUPTIONS for severity in SEVERITIES)
    method = (
        f"Images are corrupted before each model's own preprocessing, the same pixels for both; if the shorter side is "
        f"above {SIDE} pixels (or the larger network's input), they are shrunk to it first, undamaged ones too. "
        "Random draws follow from each image's digest."
    )

    def versions(self, row: Mapping[str, Any], assets: Sequence[Any]) -> Iterator[dict[str, Any]]:
        """The row undamaged, then damaged by each of `kinds` in turn; its other columns are left alone."""
        image = open_stored(row, assets[0].preprocess.levels)
        size, shorter = image.size, min(image.size)
        side = max(SIDE, *(one.preprocess.image_size for one in assets))
        if shorter > side:
            image = image.resize((round(size[0] * side / shorter), round(size[1] * side / shorter)), _FILTER)
        pixels = np.asarray(image, dtype=np.uint8)
        target = size if self.same_size else image.size
        yield {**row, "image": _encoded(pixels, target)}
        for name, severity in self.kinds:
            yield {**row, "image": _encoded(corrupted(pixels, name, severity, seed=row["digest"]), target)}


_FILTER = Image.Resampling.BILINEAR


def _encoded(pixels: np.ndarray, size: tuple[int, int]) -> bytes:
    """Lossless and quick to write."""
    image = Image.fromarray(pixels)
    buffer = io.BytesIO()
    (image if image.size == size else image.resize(size, _FILTER)).save(buffer, format="PPM")
    return buffer.getvalue()
