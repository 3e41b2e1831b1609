"""Pixels deeper than 8 bits: which value is black and which is white, decided once on the training images.

A 12-bit value in a 16-bit file, a float of 0..1 or a 32-bit integer of 0..255 is black if it is read as 16 bits.
"""

import hashlib
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from PIL import Image

from components.core.errors import UserError
from components.core.tasks.images.deep_colour import LOWER, colour_values
from components.core.tasks.images.near import NEAR, shading
from components.core.tasks.images.preprocess import as_rgb, strips

if TYPE_CHECKING:
    from components.core.data.dataset import Dataset

MEASURED = {"darkest": pa.float64(), "brightest": pa.float64(), "contrast": pa.int16(), "look": pa.int64()}
"""Columns of a raw row: smallest and largest value of a deep image's grey or colour (else null), the difference between
the largest and smallest 8-bit value, and a hash of a small version of the decoded picture."""

RAW = {**MEASURED, NEAR.column: pa.binary()}
"""The same and what near copies are found by."""

_WHITES = (1.0, 255.0, 1023.0, 4095.0, 16383.0, 65535.0)
_FLAT = 3
_FAINT = 32
_SHARE = 0.01
_SIDE = 16

Levels = tuple[float, float]


def stated_levels(dataset: "Dataset") -> Levels | None:
    """(black, white) of the data set's deep images, as its manifest says; None where it has none.

    Raises:
        UserError: the manifest has something else there.
    """
    stated = dataset.manifest.metadata.get("levels")
    if stated is None:
        return None
    if isinstance(stated, list) and len(stated) == 2 and all(type(one) in (int, float) for one in stated):
        low, high = stated
        # JSON has whole numbers that are too large for a float, and NaN.
        if -sys.float_info.max <= low < high <= sys.float_info.max:
            return float(low), float(high)
    raise UserError("the dataset's manifest has levels that are not two numbers, black below white; prepare it again")


def is_deep(mode: str) -> bool:
    """Whether an image of this mode (`stored_mode`) has more than 8 bits per sample, and may need levels."""
    return mode == "F" or mode.startswith("I") or mode.endswith(";16")


def measured(original: Image.Image) -> dict[str, Any]:
    """The columns of `RAW` of an image as it was stored."""
    darkest = brightest = None
    levels: Levels | None = None
    if LOWER in original.info or is_deep(original.mode):
        darkest, brightest = _range(original)
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


def _range(original: Image.Image) -> tuple[float | None, float | None]:
    """The smallest and the largest finite value; None where there is none."""
    ends: list[float] = []
    lower = np.asarray(original.info[LOWER]) if LOWER in original.info else None
    for rows, strip in strips(np.asarray(original)):
        values = strip if lower is None else colour_values(strip, lower[rows])
        finite = values[np.isfinite(values)]
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
    """Warnings about the decoded pictures: a title and a sentence for each."""
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
            f"None of {len(looks):,} {noun} uses more than {most + 1} of 256 brightness levels: were they scaled to 8 "
            "bits by a wrong white?"
        )
        found.append(("Faint pictures", text))
    _, counts = np.unique(np.array(looks, dtype=np.int64), return_counts=True)
    if counts.size and counts.max() > max(1, _SHARE * len(looks)):
        text = f"{int(counts.max()):,} of {len(looks):,} {noun} look the same although their files differ."
        found.append(("Pictures that look the same", text))
    return found
