"""Random flips and shifts of a batch of pixels, drawn from a seeded generator."""

import numpy as np

SHIFT_FRACTION = 1 / 16
"""Largest shift as a fraction of the image's side."""


def skip_batch(rng: np.random.Generator, count: int, side: int) -> None:
    """Leaves `rng` as `augmented` does after a batch of `count` images of `side` × `side` pixels."""
    _draw(rng, count, side, side)


def augmented(pixels: np.ndarray, rng: np.random.Generator, *, first: int = 0, count: int | None = None) -> np.ndarray:
    """Flip half of the images left to right, and shift each by up to `SHIFT_FRACTION` of its side.

    The border that a shift uncovers repeats the image's edge. Pad-and-crop as in He et al. 2016 (arXiv:1512.03385,
    §4.2), with edge instead of zero padding, milder than their 4 of 32 pixels because training here is short.

    Args:
        pixels: uint8 `(N, H, W, 3)`; not changed.
        rng: draws 3 numbers an image of the batch.
        first, count: the images are those from `first` on of a batch of `count`; None = they are the batch.

    Returns:
        uint8 `(N, H, W, 3)`.
    """
    number, height, width, _ = pixels.shape
    here = slice(first, first + number)
    flips, shift_y, shift_x = (drawn[here] for drawn in _draw(rng, count or number, height, width))
    # Clipped coordinates repeat the edge: no padded copy is needed.
    rows = np.clip(np.arange(height) + shift_y.reshape(-1, 1), 0, height - 1)
    columns = np.clip(np.arange(width) + shift_x.reshape(-1, 1), 0, width - 1)
    columns = np.where(flips.reshape(-1, 1), columns[:, ::-1], columns)
    return pixels[np.arange(number)[:, None, None], rows[:, :, None], columns[:, None, :]]


def _draw(rng: np.random.Generator, count: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Flips (bool), and shifts down and to the right in pixels, of each image of a batch."""
    flips = np.asarray(rng.random(count) < 0.5)
    reach_y, reach_x = round(height * SHIFT_FRACTION), round(width * SHIFT_FRACTION)
    shift_y = rng.integers(-reach_y, reach_y, size=count, endpoint=True)
    shift_x = rng.integers(-reach_x, reach_x, size=count, endpoint=True)
    return flips, shift_y, shift_x
