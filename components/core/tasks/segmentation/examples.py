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
from components.core.tasks.segmentation.augment import Augmentation, apply
from components.core.tasks.segmentation.masks import IGNORED


@dataclass(frozen=True, kw_only=True)
class MaskedImages:
    """The transform of the task: images float32 `(N, 3, S, S)` normalised, targets uint8 `(N, S, S)`, weight bool.

    The mask goes with the image into the network's square; what the image does not fill is `IGNORED`. With `full_size`
    the targets are the masks as they are stored, a list of N arrays uint8 `(H, W)`, and there is no weight.
    """

    preprocess: Preprocess
    augmentation: Augmentation
    full_size: bool = False

    columns = ("image", "mask")

    @property
    def key(self) -> Hashable:
        return ("segmentation", *self.preprocess.pixels_key, self.full_size)

    def decode(self, row: Mapping[str, Any]) -> Example:
        """Pixels uint8 `(S, S, 3)`, and the mask uint8 in the square or at its own size."""
        mask = Image.open(io.BytesIO(row["mask"]))
        pixels = self.preprocess.pixels(row["image"])
        return pixels, np.asarray(mask, dtype=np.uint8) if self.full_size else self._squared(mask)

    def _squared(self, mask: Image.Image) -> np.ndarray:
        side = self.preprocess.image_size
        width, height = self.preprocess.placed(mask.size)
        squared = np.full((side, side), IGNORED, dtype=np.uint8)
        # Of a palette image Pillow resizes the indices, which is what is wanted: no class between two classes.
        squared[:height, :width] = np.asarray(mask.resize((width, height), Image.Resampling.NEAREST), dtype=np.uint8)
        return squared

    def draw(self, rng: np.random.Generator, count: int) -> Draws:
        side = self.preprocess.image_size
        return self.augmentation.draw(rng, count, side, side)

    def collate(self, examples: Sequence[Example], digests: list[str], draws: Draws | None) -> Batch:
        side = self.preprocess.image_size
        pixels = np.stack([image for image, _ in examples]) if examples else np.empty((0, side, side, 3), np.uint8)
        if self.full_size:
            inputs = {INPUT: self.preprocess.normalized(pixels)}
            return Batch(inputs=inputs, targets=[mask for _, mask in examples], digests=digests)
        masks = np.stack([mask for _, mask in examples]) if examples else np.empty((0, side, side), np.uint8)
        if draws is not None:
            pixels, masks = apply(pixels, masks, dict(draws))
        return Batch(
            inputs={INPUT: self.preprocess.normalized(pixels)}, targets=masks, weight=masks != IGNORED, digests=digests
        )
