"""Random geometry and colour of images with their masks: drawn for a whole batch, applied to any part of it.

Random numbers are drawn first and for all images of a batch (`draw`), so that a process that reads only its share,
or a run that resumes behind some batches, sees the images that one process from the beginning would see.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageEnhance

from components.core.errors import UserError

IGNORED = 255

Draws = dict[str, np.ndarray]
"""Name → float64 `(count,)`: what was drawn for each image of a batch."""


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How much is changed. Raises UserError naming the value.

    flip: whether half of the images are mirrored left to right.
    smallest_scale, largest_scale: the image is zoomed by a factor between them, log-uniform so that shrinking is as
        likely as growing; then a window of the first size is cut out of it, or it is padded to that size.
    colour: brightness, contrast and saturation are each multiplied by a factor in [1 − colour, 1 + colour].

    Scale jitter, crop and flip as in DeepLab (Chen et al. 2017, arXiv:1706.05587, §4.1).
    """

    flip: bool = True
    smallest_scale: float = 0.5
    largest_scale: float = 2.0
    colour: float = 0.3

    def __post_init__(self) -> None:
        if not 0.1 <= self.smallest_scale <= self.largest_scale <= 10:
            scales = f"{self.smallest_scale!r} and {self.largest_scale!r}"
            raise UserError(f"smallest_scale and largest_scale must be ascending in 0.1..10, got {scales}")
        if not 0 <= self.colour < 1:
            raise UserError(f"colour must be in [0, 1), got {self.colour!r}")

    def draw(self, rng: np.random.Generator, count: int, height: int, width: int) -> Draws:
        """Random draws for each image of a batch of `count` images of `height` × `width` pixels: arrays of `count`.

        `rng` moves by the same numbers whatever the settings are, so that switching one off leaves the others alone.
        """
        uniform = rng.random((7, count))
        span = np.log(self.largest_scale / self.smallest_scale)
        scale = self.smallest_scale * np.exp(uniform[1] * span)
        return {
            "flip": ((uniform[0] < 0.5) & self.flip).astype(np.float64),
            "scale": scale,
            "top": uniform[2],
            "left": uniform[3],
            "brightness": 1 + self.colour * (2 * uniform[4] - 1),
            "contrast": 1 + self.colour * (2 * uniform[5] - 1),
            "saturation": 1 + self.colour * (2 * uniform[6] - 1),
        }


def part(draws: Draws, first: int, last: int) -> Draws:
    """The draws of the images `first` to `last` (not included) of a batch."""
    return {name: values[first:last] for name, values in draws.items()}


def apply(
    images: Sequence[np.ndarray] | np.ndarray,
    masks: Sequence[np.ndarray] | np.ndarray,
    draws: Draws,
    size: tuple[int, int] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 `(h, w, 3)` and masks uint8 `(h, w)` after `draws` (arrays of N): `(N, H, W, 3)` and `(N, H, W)`.

    `size` is (H, W), default that of the images, which then have one; of an image of another size a window is shown.
    The inputs stay as they are. Images are resampled bilinearly, masks by the nearest pixel, on the same window.
    Outside of the image the mask is `IGNORED` and the image its own mean colour, which is near the network's zero.
    """
    height, width = size or np.shape(masks)[1:]
    changed = np.empty((len(images), height, width, 3), dtype=np.uint8)
    moved = np.empty((len(images), height, width), dtype=np.uint8)
    for number in range(len(images)):
        one = {name: float(values[number]) for name, values in draws.items()}
        changed[number], moved[number] = _applied(images[number], masks[number], one, (height, width))
    return changed, moved


def _applied(
    pixels: np.ndarray, mask: np.ndarray, one: dict[str, float], shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    image, labels = Image.fromarray(pixels), Image.fromarray(mask)
    # Along each side, the part of the source that the output shows: a window of it, or all of it where it is too small.
    (top, below, down, rows), (left, right, across, columns) = (
        _along(length, target, one["scale"], place)
        for length, target, place in zip(mask.shape, shape, (one["top"], one["left"]), strict=True)
    )
    box, size = (left, top, right, below), (columns, rows)
    image = image.resize(size, Image.Resampling.BILINEAR, box=box)
    labels = labels.resize(size, Image.Resampling.NEAREST, box=box)
    if size != shape[::-1]:
        small, shrunk = image, labels
        image = Image.new("RGB", shape[::-1], small.resize((1, 1), Image.Resampling.BOX).getpixel((0, 0)))
        labels = Image.new("L", shape[::-1], IGNORED)
        image.paste(small, (across, down))
        labels.paste(shrunk, (across, down))
    if one["flip"]:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        labels = labels.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    for name, enhance in _ENHANCEMENTS.items():
        if one[name] != 1:
            image = enhance(image).enhance(one[name])
    return np.asarray(image), np.asarray(labels)


def _along(length: int, target: int, scale: float, place: float) -> tuple[float, float, int, int]:
    """Along one side: begin and end of what is seen of `length` pixels, and where it begins in the output, and its
    length there."""
    window = target / scale
    if window <= length:
        begin = (length - window) * place
        return begin, begin + window, 0, target
    seen = min(target, max(1, round(length * scale)))
    return 0.0, float(length), round((target - seen) * place), seen


_ENHANCEMENTS = {
    "brightness": ImageEnhance.Brightness,
    "contrast": ImageEnhance.Contrast,
    "saturation": ImageEnhance.Color,
}
