"""Pixels deeper than 8 bits: which value is black and which is white, decided once on the training images.

A 12-bit value in a 16-bit file, a float of 0..1 or a 32-bit integer of 0..255 is black if it is read as 16 bits.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from components.core.tasks.images.near import NEAR, shading
from components.core.tasks.images.preprocess import as_rgb, strips

MEASURED = {"darkest": pa.float64(), "brightest": pa.float64(), "contrast": pa.int16(), "look": pa.int64()}
"""Columns of a raw row: smallest and largest value of a deep image (else null), the difference between the largest and
smallest 8-bit value, and a hash of a small version of the decoded picture."""

RAW = {**MEASURED, NEAR.column: pa.binary()}
"""The same and what near copies are found by."""

_WHITES = (1.0, 255.0, 1023.0, 4095.0, 16383.0, 65535.0)
_FLAT = 3
_FAINT = 32  # of 13 bits in a file of 16; Pillow reads colour of 16 bits by the upper eight alone
_SHARE = 0.01
_SIDE = 16

Levels = tuple[float, float]


def is_deep(image: Image.Image) -> bool:
    """Whether the image is grey with more than 8 bits: integers of 16 or 32 bits, or floats."""
    return image.mode == "F" or image.mode.startswith("I")


def measured(original: Image.Image) -> dict[str, Any]:
    """The columns of `RAW` of an image as it was stored."""
    darkest = brightest = None
    levels: Levels | None = None
    if is_deep(original):
        darkest, brightest = _range(np.asarray(original))
        if darkest is not None and brightest is not None:
            # Its own, for the levels of the data set are not known yet.
            levels = (darkest, brightest) if darkest < brightest else None
    decoded = as_rgb(original, levels)
    contrast = max(high - low for low, high in decoded.getextrema())  # type: ignore[misc]
    small = decoded.resize((_SIDE, _SIDE), Image.Resampling.BOX).tobytes()
    look = int.from_bytes(hashlib.blake2b(small, digest_size=8).digest(), "big", signed=True)
    return {"darkest": darkest, "brightest": brightest, "contrast": int(contrast), "look": look} | {
        NEAR.column: shading(decoded)
    }


def _range(pixels: np.ndarray) -> tuple[float | None, float | None]:
    """The smallest and the largest finite value; None where there is none."""
    ends: list[float] = []
    for _, strip in strips(pixels):
        finite = strip[np.isfinite(strip)]
        ends += [float(finite.min()), float(finite.max())] if finite.size else []
    return min(ends, default=None), max(ends, default=None)


def levels_of(rows: Iterable[Mapping[str, Any]]) -> Levels | None:
    """(black, white) of the deep images among raw training rows; None where there are none.

    White is the smallest full scale that holds every value: 1 (floats of 0..1), 255, 10, 12, 14 or 16 bits; black is 0,
    or the smallest value if it is negative.
    """
    low, high, found = 0.0, 0.0, False
    for row in rows:
        if row["brightest"] is not None:
            found = True
            low, high = min(low, row["darkest"]), max(high, row["brightest"])
    if not found:
        return None
    if low < 0:
        return low, max(high, low + 1e-9)
    return 0.0, next((white for white in _WHITES if high <= white), high)


def doubts_of(rows: Iterable[Mapping[str, Any]], noun: str) -> list[tuple[str, str]]:
    """What the decoded pictures make one doubt: a title and a sentence for each."""
    looks, num_flat, most = [], 0, 0
    for row in rows:
        looks.append(row["look"])
        num_flat += row["contrast"] < _FLAT
        most = max(most, row["contrast"])
    found = []
    if num_flat > _SHARE * len(looks):
        text = f"{num_flat:,} of {len(looks):,} {noun} show one even colour: is their content where it is looked for?"
        found.append(("Even pictures", text))
    if _FLAT <= most < _FAINT:
        text = (
            f"None of {len(looks):,} {noun} uses more than {most + 1} of 256 brightness levels. Colour of 16 bits that "
            "holds 10 or 12 is read so; scale it to 8 or to the full 16 bits."
        )
        found.append(("Faint pictures", text))
    _, counts = np.unique(np.array(looks, dtype=np.int64), return_counts=True)
    if counts.size and counts.max() > max(1, _SHARE * len(looks)):
        text = f"{int(counts.max()):,} of {len(looks):,} {noun} look the same although their files differ."
        found.append(("Pictures that look the same", text))
    return found
