"""Random geometry and colour of images with their masks: drawn for a whole batch, applied to any part of it.

Random numbers are drawn first and for all images of a batch (`draw`), so that a process that reads only its share,
or a run that resumes behind some batches, sees the images that one process from the beginning would see.
"""

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
        """What happens to each image of a batch of `count` images of `height` × `width` pixels: arrays of `count`.

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


def apply(images: np.ndarray, masks: np.ndarray, draws: Draws) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 `(N, H, W, 3)` and masks uint8 `(N, H, W)` after `draws` (arrays of N); the inputs stay as they are.

    Images are resampled bilinearly, masks by the nearest pixel, on the same window. Outside of the image the mask is
    `IGNORED` and the image its own mean colour, which is near the network's zero.
    """
    changed, moved = np.empty_like(images), np.empty_like(masks)
    for number in range(len(images)):
        one = {name: float(values[number]) for name, values in draws.items()}
        changed[number], moved[number] = _applied(images[number], masks[number], one)
    return changed, moved


def _applied(pixels: np.ndarray, mask: np.ndarray, one: dict[str, float]) -> tuple[np.ndarray, np.ndarray]:
    height, width = mask.shape
    # The window of the source that fills the output: smaller than the image when zooming in, larger when shrinking.
    window = (height / one["scale"], width / one["scale"])
    top = (height - window[0]) * one["top"]
    left = (width - window[1]) * one["left"]
    image, labels = Image.fromarray(pixels), Image.fromarray(mask)
    inside = one["scale"] >= 1
    if inside:
        box = (left, top, left + window[1], top + window[0])
        image = image.resize((width, height), Image.Resampling.BILINEAR, box=box)
        labels = labels.resize((width, height), Image.Resampling.NEAREST, box=box)
    else:
        size = max(1, round(width * one["scale"])), max(1, round(height * one["scale"]))
        corner = round((width - size[0]) * one["left"]), round((height - size[1]) * one["top"])
        small = image.resize(size, Image.Resampling.BILINEAR)
        shrunk = labels.resize(size, Image.Resampling.NEAREST)
        image = Image.new("RGB", (width, height), small.resize((1, 1), Image.Resampling.BOX).getpixel((0, 0)))
        labels = Image.new("L", (width, height), IGNORED)
        image.paste(small, corner)
        labels.paste(shrunk, corner)
    if one["flip"]:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        labels = labels.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    for name, enhance in _ENHANCEMENTS.items():
        if one[name] != 1:
            image = enhance(image).enhance(one[name])
    return np.asarray(image), np.asarray(labels)


_ENHANCEMENTS = {
    "brightness": ImageEnhance.Brightness,
    "contrast": ImageEnhance.Contrast,
    "saturation": ImageEnhance.Color,
}
