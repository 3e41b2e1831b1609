"""Colour of 16 bits per sample: Pillow has no mode for it and keeps the upper 8 bits, so the lower 8 are read apart.

A file of 10 or 12 bits in 16 would be almost black by its upper bits alone. A release's `client.py` repeats this.
"""

import sys

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

LOWER = "trimtab lower bits"
"""Key in `Image.info` of a decoded image of 16-bit colour: a second image with the lower 8 bits of each sample."""

READABLE = ("RGB;16", "RGBA;16", "RGBX;16")
"""Stored modes of which both halves can be read."""

HALF_READ = ("CMYK;16", "LA;16", "RGBa;16")
"""Stored modes of which only the upper 8 bits can be read."""

_OTHER_ORDER = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
_BITS_PER_SAMPLE, _PLANAR = 258, 284
_COLOURS = 3


class UnsupportedDepthError(ValueError):
    """The file has more than 8 bits per sample in a form that cannot be read as it was meant."""


def stored_mode(opened: Image.Image) -> str:
    """Pillow's mode of an image that was opened and not loaded; of 16-bit colour the layout in the file, as "RGB;16".

    Raises:
        UnsupportedDepthError: a TIFF with planes of 16 bits, which Pillow reads as 8.
    """
    if isinstance(opened, TiffImageFile) and opened.tag_v2.get(_PLANAR) == 2:
        bits = opened.tag_v2.get(_BITS_PER_SAMPLE, (1,))
        if len(bits) > 1 and max(bits) > 8:
            raise UnsupportedDepthError(
                f"a TIFF of {max(bits)} bits per sample with separate planes; save it with interleaved samples"
            )
    name, deep, _ = _raw_mode(opened).partition(";16")
    return f"{name};16" if deep and name != "I" else opened.mode


def read_lower(opened: Image.Image) -> None:
    """Makes an opened image of a `READABLE` mode decode the lower 8 bits of each sample in place of the upper 8."""
    # Pillow takes the first or the second byte of a sample, by the order of bytes that it is told.
    order = _raw_mode(opened).partition(";16")[2]
    other = _raw_mode(opened).removesuffix(order) + _OTHER_ORDER[order]
    tiles = opened.tile  # type: ignore[attr-defined]
    opened.tile = [  # type: ignore[attr-defined]
        type(tile)(*tile[:3], other if isinstance(tile[3], str) else (other, *tile[3][1:])) for tile in tiles
    ]


def colour_values(upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
    """The 16-bit samples, `(…, 3)` uint16, of both halves `(…, 3 or 4)` uint8; transparency is left out."""
    return upper[..., :_COLOURS].astype(np.uint16) << 8 | lower[..., :_COLOURS]


def _raw_mode(opened: Image.Image) -> str:
    tiles = getattr(opened, "tile", None) or [(None, None, None, "")]
    args = tiles[0][3]
    return str(args if isinstance(args, str) else args[0] if args else "")
