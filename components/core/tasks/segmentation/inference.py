"""How an image of another size than the network's becomes a mask: one definition for evaluation, release and pages.

resize   It is shrunk to fit into the network's square, and the logits are enlarged to its size.
sliding  Where it is larger than the square it is looked at in windows of that size, at its own resolution. The logits
         of windows that overlap are averaged, each with the same weight.
whole    It is looked at once, at its own size, padded below and to the right to multiples of `divisor`, by a graph with
         free height and width.

An image that fits into the square is the same to the first two. Numpy and PIL only.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from PIL import Image

from components.core.errors import UserError
from components.core.parameters.rules import LARGEST_STRIDE
from components.core.tasks.images.preprocess import Preprocess
from components.core.tasks.segmentation.parameters import INFERENCES
from components.core.tasks.segmentation.serving import cropped, padded

Network = Callable[[np.ndarray], np.ndarray]
"""Normalised images float32 `(1, 3, h, w)` → logits float32 `(1, classes, h, w)`."""


@dataclass(frozen=True, kw_only=True)
class Inference:
    """One of `INFERENCES`, with what a client needs for it.

    Attributes:
        mode: "resize", "sliding" or "whole".
        step: of "sliding": the most pixels between the beginnings of two neighbouring windows; 0 else.
        divisor: of "whole": what height and width of the input must be multiples of; 1 else.

    Raises:
        UserError: an unknown mode, or numbers that do not belong to it.
    """

    mode: str = INFERENCES[0]
    step: int = 0
    divisor: int = 1

    def __post_init__(self) -> None:
        if self.mode not in INFERENCES:
            raise UserError(f"inference must be one of {', '.join(INFERENCES)}; got {self.mode!r}")
        if (self.step > 0) != (self.mode == "sliding") or (self.divisor > 1) != (self.mode == "whole"):
            raise UserError(f"inference {self.mode} does not have step {self.step} and divisor {self.divisor}")

    @classmethod
    def of(cls, mode: str, side: int) -> "Inference":
        """The mode for a network with a square of `side` pixels; neighbouring windows share at least a third.

        Raises:
            UserError: an unknown mode, or "whole" with a side that is no multiple of the divisor.
        """
        if mode == "sliding":
            return cls(mode=mode, step=max(1, 2 * side // 3))
        if mode != "whole":
            return cls(mode=mode)
        if side % LARGEST_STRIDE:
            lower = side // LARGEST_STRIDE * LARGEST_STRIDE
            raise UserError(
                f"inference whole needs an image_size that is a multiple of {LARGEST_STRIDE}, got {side}; take "
                f"{lower or LARGEST_STRIDE} or {lower + LARGEST_STRIDE}"
            )
        return cls(mode=mode, divisor=LARGEST_STRIDE)

    @property
    def is_resize(self) -> bool:
        """Whether images come to the network's size, so that several fit into one call."""
        return self.mode == "resize"

    def to_json(self) -> dict[str, Any]:
        """Without what the mode does not have."""
        default = Inference()
        facts = {name: value for name, value in asdict(self).items() if value != getattr(default, name)}
        return {"mode": self.mode, **facts}

    @classmethod
    def from_json(cls, document: Any) -> "Inference":
        """The inverse of `to_json`; ValueError for anything else."""
        if not isinstance(document, Mapping) or not set(document) <= set(asdict(cls())):
            raise ValueError(f"inference must hold a mode with its numbers, got {document!r}")
        try:
            return cls(**document)
        except TypeError as error:
            raise ValueError(f"inference: {error}") from None


def find_mask(
    pixels: np.ndarray, network: Network, preprocess: Preprocess, inference: Inference
) -> tuple[np.ndarray, int]:
    """The class of each pixel of an image that is not resized, and how many calls of the network that took.

    Args:
        pixels: uint8 `(H, W, 3)`, upright RGB.
        network: called with one image at a time.
        preprocess: of the network; its size is that of a window.
        inference: "sliding" or "whole".

    Returns:
        uint8 `(H, W)`; of equal classes the first.
    """
    if inference.mode == "sliding":
        return _by_windows(pixels, network, preprocess, inference.step)
    height, width = pixels.shape[:2]
    images = padded(preprocess.normalized(pixels), inference.divisor)
    logits = cropped(network(images[None])[0], height, width)
    return logits.argmax(axis=0).astype(np.uint8), 1


def starts(length: int, window: int, step: int) -> list[int]:
    """Where windows begin along one side: spread evenly from the first pixel to the last, at most `step` apart."""
    if length <= window:
        return [0]
    gaps = -(-(length - window) // step)
    return [number * (length - window) // gaps for number in range(gaps + 1)]


def _by_windows(pixels: np.ndarray, network: Network, preprocess: Preprocess, step: int) -> tuple[np.ndarray, int]:
    side, (height, width) = preprocess.image_size, pixels.shape[:2]
    tops, lefts = starts(height, side, step), starts(width, side, step)
    mask = np.empty((height, width), dtype=np.uint8)
    sums = np.zeros((0, 0, 0), dtype=np.float32)
    for top, following in zip(tops, [*tops[1:], height], strict=True):
        rows = min(side, height - top)
        for left in lefts:
            columns = min(side, width - left)
            window = preprocess.resized(Image.fromarray(pixels[top : top + rows, left : left + columns]))
            logits = network(preprocess.normalized(window)[None])[0]
            if not sums.size:
                sums = np.zeros((len(logits), rows, width), dtype=np.float32)
            sums[:, :rows, left : left + columns] += logits[:, :rows, :columns]
        # A sum decides as its mean does. What no further window reaches is done, so that memory is that of one strip.
        done = following - top
        mask[top:following] = sums[:, :done].argmax(axis=0)
        sums[:, : rows - done] = sums[:, done:rows].copy()
        sums[:, rows - done :] = 0
    return mask, len(tops) * len(lefts)
