"""From a stored row to a batch: pixels and a label."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from components.core.data.batch import Batch, Draws, Example
from components.core.tasks.images.assets import INPUT
from components.core.tasks.images.augment import augmented, draw_flips_and_shifts
from components.core.tasks.images.preprocess import Preprocess
from components.core.tasks.images.stored_pictures import open_stored


@dataclass(frozen=True, kw_only=True)
class LabelledImages:
    """The transform of the task: images float32 `(N, 3, H, W)` normalised, targets int64 `(N,)`."""

    preprocess: Preprocess

    columns = ("image", "label")

    @property
    def key(self) -> Hashable:
        return ("classification", *self.preprocess.pixels_key)

    lengths = None

    def decode(self, row: Mapping[str, Any]) -> Example:
        """Pixels uint8 `(H, W, 3)`, and the label."""
        picture = open_stored(row, self.preprocess.levels)
        return self.preprocess.resized(picture), int(row["label"])

    def draw(self, rng: np.random.Generator, count: int) -> Draws:
        """Flips and shifts."""
        return draw_flips_and_shifts(rng, count, self.preprocess.image_size, self.preprocess.image_size)

    def collate(self, examples: Sequence[Example], digests: list[str], draws: Draws | None) -> Batch:
        side = self.preprocess.image_size
        pixels = np.stack([image for image, _ in examples]) if examples else np.empty((0, side, side, 3), np.uint8)
        if draws is not None:
            pixels = augmented(pixels, draws)
        return Batch(
            inputs={INPUT: self.preprocess.normalized(pixels)},
            targets=np.array([label for _, label in examples], dtype=np.int64),
            digests=digests,
        )
