"""Near copies of pictures: the same coarse shading, whatever their encoding, size and brightness."""

import numpy as np
from PIL import Image

from components.core.data.near_copies import NearCopies

_SIDE, _FREQUENCIES = 16, 10

NEAR = NearCopies(
    column="shading",
    dimensions=_FREQUENCIES**2 - 1,
    distance=0.06,
    meaning="re-encoded, resized or slightly brightened copies",
)

_FLATTEST = 8.0
"""Standard deviation of the small grey picture, of 255, below which what is left is noise of the encoder."""


def _cosines() -> np.ndarray:
    """The lowest rows of the orthonormal DCT-II: √(2/S)·cos(π(2x+1)k / 2S), the first divided by √2."""
    frequencies, places = np.arange(_FREQUENCIES)[:, None], np.arange(_SIDE)[None]
    basis = np.sqrt(2 / _SIDE) * np.cos(np.pi * (2 * places + 1) * frequencies / (2 * _SIDE))
    basis[0] /= np.sqrt(2)
    return basis


_BASIS = _cosines()


def shading(decoded: Image.Image) -> bytes | None:
    """The 99 lowest frequencies of a 16 × 16 grey version, without the mean, scaled to length 1; as float16.

    Without the mean and the scale, brightness and contrast do not count. None for a picture of almost one shade, of
    which only noise would be left. A perceptual hash (Zauner 2010) keeps the signs of the same coefficients; these
    confuse pictures of 28 pixels that the values tell apart.
    """
    small = np.asarray(decoded.convert("L").resize((_SIDE, _SIDE), Image.Resampling.BICUBIC), dtype=np.float64)
    vector = (_BASIS @ small @ _BASIS.T).ravel()[1:]
    length = np.linalg.norm(vector)
    return None if length < _FLATTEST * _SIDE else (vector / length).astype(np.float16).tobytes()
