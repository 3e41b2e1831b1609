"""Rows for data sets of which only the size matters."""

import hashlib
import io
from collections.abc import Iterator

import numpy as np
from PIL import Image


def noise_rows(total_bytes: int, *, side: int) -> Iterator[dict]:
    """Rows of one image of `side` × `side` pixels that does not compress, each time under another digest."""
    buffer = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=0)
    image = buffer.getvalue()
    for number in range(total_bytes // len(image)):
        digest = hashlib.sha256(str(number).encode()).hexdigest()
        yield {"image": image, "label": 0, "digest": digest, "source": str(number)}
