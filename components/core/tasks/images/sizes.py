"""The size of a data set's images, for what depends on it before the first of them is decoded."""

import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from components.core.tasks.images.preprocess import IMAGE_FORMATS
from components.core.tasks.images.stored_pictures import decodable

if TYPE_CHECKING:
    from components.core.data.dataset import Dataset

_ROWS = 64


def shorter_side(dataset: "Dataset") -> int:
    """Median of the shorter sides of the first 64 training images, in pixels.

    Rows are stored in the order of their digests, so the first ones are a random sample that no seed changes. Only
    the images' headers are read.
    """
    table = dataset.read("train", 0, columns=["image"]).slice(0, _ROWS)
    return int(np.median([_shorter(image) for image in table.column("image").to_pylist()]))


def _shorter(image: bytes) -> int:
    with decodable({}), Image.open(io.BytesIO(image), formats=IMAGE_FORMATS) as opened:
        return min(opened.size)
