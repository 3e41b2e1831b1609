"""Random flips and shifts of a batch of pixels."""

import numpy as np

from components.core.data.batch import Draws

SHIFT_FRACTION = 1 / 16
"""Largest shift as a fraction of the image's side."""


def draw_flips_and_shifts(rng: np.random.Generator, count: int, height: int, width: int) -> Draws:
    """Of each image of a batch: `flip` (bool), `shift_y` and `shift_x` up and to the left in pixels, `(count,)`."""
    flips = np.asarray(rng.random(count) < 0.5)
    reach_y, reach_x = round(height * SHIFT_FRACTION), round(width * SHIFT_FRACTION)
    shift_y = rng.integers(-reach_y, reach_y, size=count, endpoint=True)
    shift_x = rng.integers(-reach_x, reach_x, size=count, endpoint=True)
    return {"flip": flips, "shift_y": shift_y, "shift_x": shift_x}


def augmented(pixels: np.ndarray, draws: Draws) -> np.ndarray:
    """Flip half of the images left to right, and shift each by up to `SHIFT_FRACTION` of its side.

    The border that a shift uncovers repeats the image's edge. Pad-and-crop as in He et al. 2016 (arXiv:1512.03385,
    §4.2), with edge instead of zero padding, milder than their 4 of 32 pixels because training here is short.

    Args:
        pixels: uint8 `(N, H, W, 3)`; not changed.
        draws: of these N images, see `draw_flips_and_shifts`.

    Returns:
        uint8 `(N, H, W, 3)`.
    """
    number, height, width, _ = pixels.shape
    # Clipped coordinates repeat the edge: no padded copy is needed.
    rows = np.clip(np.arange(height) + draws["shift_y"].reshape(-1, 1), 0, height - 1)
    columns = np.clip(np.arange(width) + draws["shift_x"].reshape(-1, 1), 0, width - 1)
    columns = np.where(draws["flip"].reshape(-1, 1), columns[:, ::-1], columns)
    return pixels[np.arange(number)[:, None, None], rows[:, :, None], columns[:, None, :]]
