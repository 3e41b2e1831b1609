"""From a stored row to a batch: an image and its mask, augmented together."""

import io
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from components.core.data.batch import Batch, Draws, Example
from components.core.tasks.images.assets import INPUT
from components.core.tasks.images.preprocess import Preprocess
from components.core.tasks.images.stored_pictures import decodable, open_stored
from components.core.tasks.segmentation.augment import Augmentation, apply
from components.core.tasks.segmentation.masks import IGNORED

_MODES = ("P", "L", "1")
"""Of stored masks, by Pillow."""


@dataclass(frozen=True, kw_only=True)
class MaskedImages:
    """The transform of the task: images float32 `(N, 3, S, S)` normalised, targets uint8 `(N, S, S)`, weight bool.

    The mask goes with the image into the network's square; what the image does not fill is `IGNORED`. With `full_size`
    the targets are the masks as they are stored, a list of N arrays uint8 `(H, W)`, and there is no weight.

    `classes` is how many there are; a mask that has another is refused.

    With `native` images keep their resolution. Batches to train with are windows of S × S at random places; without
    augmentation the window in the middle. With `full_size` the images are not prepared: a list of uint8 `(H, W, 3)`.
    """

    preprocess: Preprocess
    augmentation: Augmentation
    classes: int
    full_size: bool = False
    native: bool = False

    columns = ("image", "mask")

    @property
    def key(self) -> Hashable:
        pixels_key = ("native", self.preprocess.levels) if self.native else self.preprocess.pixels_key
        return ("segmentation", *pixels_key, self.full_size)

    lengths = None

    def decode(self, row: Mapping[str, Any]) -> Example:
        """Pixels uint8 `(S, S, 3)`, and the mask uint8 in the square or at its own size; if `native` both are."""
        picture = open_stored(row, self.preprocess.levels)
        with decodable(row, "mask"):
            mask = self._mask(row["mask"], picture.size)
        if self.native:
            return np.asarray(picture, dtype=np.uint8), np.asarray(mask, dtype=np.uint8)
        pixels = self.preprocess.resized(picture)
        return pixels, np.asarray(mask, dtype=np.uint8) if self.full_size else self._squared(mask)

    def _mask(self, data: bytes, size: tuple[int, int]) -> Image.Image:
        mask = Image.open(io.BytesIO(data), formats=("PNG",))
        if mask.size != size:
            raise ValueError(f"it has {mask.width} x {mask.height} pixels, the image {size[0]} x {size[1]}")
        if mask.mode not in _MODES:
            raise ValueError(f"its mode is {mask.mode}, not one of {', '.join(_MODES)}")
        # 255 becomes 0: ignored pixels are of no class.
        largest = int((np.asarray(mask, dtype=np.uint8) + np.uint8(1)).max(initial=0))
        if largest > self.classes:
            raise ValueError(f"a pixel has the class {largest - 1}, and there are {self.classes} classes")
        return mask

    def _squared(self, mask: Image.Image) -> np.ndarray:
        side = self.preprocess.image_size
        width, height = self.preprocess.placed(mask.size)
        squared = np.full((side, side), IGNORED, dtype=np.uint8)
        # Of a palette image Pillow resizes the indices, which is what is wanted: no class between two classes.
        squared[:height, :width] = np.asarray(mask.resize((width, height), Image.Resampling.NEAREST), dtype=np.uint8)
        return squared

    def _middle(self, pixels: np.ndarray, mask: np.ndarray) -> Example:
        """The window in the middle, as `inference` cuts windows."""
        side, (height, width) = self.preprocess.image_size, mask.shape
        top, left = max(0, (height - side) // 2), max(0, (width - side) // 2)
        window = (slice(top, top + side), slice(left, left + side))
        return self.preprocess.resized(Image.fromarray(pixels[window])), self._squared(Image.fromarray(mask[window]))

    def draw(self, rng: np.random.Generator, count: int) -> Draws:
        side = self.preprocess.image_size
        return self.augmentation.draw(rng, count, side, side)

    def collate(self, examples: Sequence[Example], digests: list[str], draws: Draws | None) -> Batch:
        if self.full_size and self.native:
            inputs: dict[str, Any] = {INPUT: [image for image, _ in examples]}
            return Batch(inputs=inputs, targets=[mask for _, mask in examples], digests=digests)
        if self.native and draws is None:
            examples = [self._middle(*example) for example in examples]
        side = self.preprocess.image_size
        pixels: Any = [image for image, _ in examples]
        masks: Any = [mask for _, mask in examples]
        if draws is not None and not self.full_size:
            pixels, masks = apply(pixels, masks, dict(draws), (side, side))
        pixels = np.stack(pixels) if len(pixels) else np.empty((0, side, side, 3), np.uint8)
        inputs = {INPUT: self.preprocess.normalized(pixels)}
        if self.full_size:
            return Batch(inputs=inputs, targets=masks, digests=digests)
        masks = np.stack(masks) if len(masks) else np.empty((0, side, side), np.uint8)
        return Batch(inputs=inputs, targets=masks, weight=masks != IGNORED, digests=digests)
