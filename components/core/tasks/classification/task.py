"""Image classification: one label an image."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from components.core.data.prefetch import prefetched
from components.core.data.reading import pixel_reader
from components.core.tasks.base import WHOLE, Batch, Share
from components.core.tasks.images.augment import augmented, skip_batch
from components.core.tasks.images.preprocess import Preprocess

if TYPE_CHECKING:
    from torch import Tensor

    from components.core.data.dataset import Dataset

_SCHEMA = pa.schema(
    [
        pa.field("image", pa.binary(), nullable=False),
        pa.field("label", pa.int32(), nullable=False),
        pa.field("digest", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
    ]
)
_PREFETCHED_BATCHES = 4


class Classification:
    """The task "classification": rows (image, label, digest, source); logits `(N, classes)`; cross-entropy; top-1."""

    name = "classification"
    schema = _SCHEMA
    metric_name = "top1"

    def target_key(self, row: Mapping[str, Any]) -> bytes:
        """The label as 4 bytes, big-endian."""
        return int(row["label"]).to_bytes(4, "big", signed=True)

    def decode(self, row: Mapping[str, Any], preprocess: Preprocess) -> tuple[np.ndarray, int]:
        """Pixels uint8 `(H, W, 3)` at the preprocess's size, and the label."""
        return preprocess.pixels(row["image"]), int(row["label"])

    def arrays(
        self,
        dataset: "Dataset",
        split: str,
        preprocess: Preprocess,
        *,
        batch_size: int,
        seed: int | None = None,
        epoch: int = 0,
        augment: bool = False,
        limit: int | None = None,
        share: Share = WHOLE,
        skip: int = 0,
    ) -> Iterator[Batch]:
        """Batches as numpy: float32 `(N, 3, H, W)`, int64 `(N,)`, digests. Decoded ahead in a background thread."""
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        reader = pixel_reader(dataset, split, preprocess, limit=limit)
        rng = np.random.default_rng([0 if seed is None else seed, epoch, 1])

        def produce() -> Generator[Batch]:
            for number in range(skip if augment else 0):
                skip_batch(rng, reader.batch_rows(number, batch_size), preprocess.image_size)
            parts = reader.batches(dataset, batch_size, seed=seed, epoch=epoch, share=share, skip=skip)
            for number, (pixels, labels, digests) in enumerate(parts, start=skip):
                count = reader.batch_rows(number, batch_size)
                images = augmented(pixels, rng, first=share.bounds(count)[0], count=count) if augment else pixels
                yield Batch(preprocess.normalized(images), labels, digests)

        return prefetched(produce(), depth=_PREFETCHED_BATCHES)

    def batches(
        self,
        dataset: "Dataset",
        split: str,
        preprocess: Preprocess,
        *,
        batch_size: int,
        seed: int | None = None,
        epoch: int = 0,
        augment: bool = False,
        limit: int | None = None,
        share: Share = WHOLE,
        skip: int = 0,
    ) -> Iterator[tuple["Tensor", "Tensor", list[str]]]:
        """`arrays` as torch tensors (on the CPU; sharing the arrays' memory)."""
        import torch

        for images, labels, digests in self.arrays(
            dataset, split, preprocess, batch_size=batch_size, seed=seed, epoch=epoch, augment=augment, limit=limit,
            share=share, skip=skip,
        ):  # fmt: skip
            yield torch.from_numpy(images), torch.from_numpy(labels), digests

    def num_outputs(self, classes: Sequence[str]) -> int:
        """One logit a class."""
        return len(classes)

    def loss(self, logits: "Tensor", targets: "Tensor", *, label_smoothing: float = 0.0) -> "Tensor":
        """Cross-entropy in nats, mean over samples; logits `(N, classes)`, targets `(N,)` int64.

        With smoothing ε the target is (1−ε) on the label and ε/classes everywhere (Szegedy et al. 2016,
        arXiv:1512.00567).
        """
        from torch.nn import functional as F

        return F.cross_entropy(logits, targets, label_smoothing=label_smoothing)

    def correct(self, logits: "Tensor", targets: "Tensor") -> "Tensor":
        """1.0 where the largest logit is the label's: `(N,)` float32."""
        return (logits.argmax(dim=1) == targets).float()

    def flatten_logits(self, logits: "Tensor", targets: "Tensor") -> "Tensor":
        """Logits are `(samples, classes)` already."""
        return logits
