"""Which training images calibrate the ranges, and which images check the result."""

import math
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from components.core.data.reading import read_batches
from components.core.errors import UserError
from components.core.parameters import NO_LIMIT, check_declared
from components.core.recipe import SCHEMES
from components.core.tasks import Task
from components.quantize.dynamic_int8 import KINDS

if TYPE_CHECKING:
    from components.core.data.dataset import Dataset

SPLIT = "train"
CHECK_SPLIT = "validation"
BATCH = 32


@dataclass(frozen=True, kw_only=True)
class QuantizeConfig:
    """Settings of a calibration.

    Attributes:
        scheme: "int8", or "float32" to export only.
        method: of choosing activation ranges: minmax, percentile, entropy.
        images: training images to calibrate on.
        seed: of the choice between calibration and check.
        kind: of int8 without calibration: dynamic, weights.
        max_drop: points that the calibrated model may lose against the float one on validation rows; layers stay float
            until it holds; -1 is no limit.
        least_db: without calibration, products stay float until each output of a graph has this signal-to-noise ratio.

    Raises:
        UserError: a value that does not work.
    """

    scheme: str
    method: str
    images: int
    seed: int
    max_drop: float = NO_LIMIT
    kind: str = KINDS[0]
    least_db: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UserError(f"unknown int8_kind {self.kind!r}; available: {', '.join(KINDS)}")
        if self.scheme not in SCHEMES:
            raise UserError(f"unknown scheme {self.scheme!r}; available: {', '.join(SCHEMES)}")
        check_declared({
            "calibration_method": self.method, "calibration_images": self.images, "seed": self.seed,
            "int8_max_drop": self.max_drop,
        })  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Division:
    """Rows of an evenly spread subset of the training split: `calibrate` of them calibrate.

    They are drawn from twice as many as asked for; of a split smaller than that, a quarter is left out. What is left
    out checks the result of a data set without validation images.
    """

    total: int
    calibrate: int
    seed: int

    @classmethod
    def of(cls, rows: int, images: int, seed: int) -> "Division":
        """UserError when the split has less than two images."""
        if rows < 2:
            raise UserError(f"calibration needs at least 2 images in the training split, it has {rows}")
        total = min(rows, 2 * images)
        return cls(total=total, calibrate=min(images, total - 1, math.ceil(0.75 * total)), seed=seed)

    @property
    def held_out(self) -> int:
        """Number of images of the subset that do not calibrate."""
        return self.total - self.calibrate

    def mask(self) -> np.ndarray:
        """Per row of the subset: true if it calibrates."""
        chosen = np.zeros(self.total, dtype=bool)
        chosen[np.random.default_rng(self.seed).permutation(self.total)[: self.calibrate]] = True
        return chosen


def training_feeds(
    dataset: "Dataset", task: Task, assets: Any, division: Division, *, calibrate: bool
) -> Iterator[dict[str, np.ndarray]]:
    """The network's inputs, by name, of one part of the division: evaluation transforms, in stored order."""
    mask, start = division.mask(), 0
    with closing(read_batches(dataset, SPLIT, task.transform(assets), batch_size=BATCH, limit=division.total)) as read:
        for batch in read:
            chosen = mask[start : start + len(batch)] == calibrate
            start += len(batch)
            if chosen.any():
                yield {name: np.ascontiguousarray(values[chosen]) for name, values in batch.inputs.items()}


def check_split(dataset: "Dataset") -> str:
    """The split that the result is checked on: the network has learned the training images by heart, int8 or not."""
    return CHECK_SPLIT if dataset.rows(CHECK_SPLIT) else SPLIT


def check_feeds(dataset: "Dataset", task: Task, assets: Any, division: Division) -> Iterator[dict[str, np.ndarray]]:
    """The network's inputs, by name, of images that calibrated nothing: as many validation images as calibrated.

    Without validation images, those of the training split that the division left out.
    """
    split = check_split(dataset)
    if split == SPLIT:
        yield from training_feeds(dataset, task, assets, division, calibrate=False)
        return
    transform = task.transform(assets)
    with closing(read_batches(dataset, split, transform, batch_size=BATCH, limit=division.calibrate)) as read:
        for batch in read:
            yield {name: np.ascontiguousarray(values) for name, values in batch.inputs.items()}
