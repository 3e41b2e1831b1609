"""The interface between stages and tasks."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from components.core.tasks.images.preprocess import Preprocess

if TYPE_CHECKING:
    import pyarrow as pa
    from torch import Tensor

    from components.core.data.dataset import Dataset


class Batch(NamedTuple):
    """One batch without torch: `images` float32 `(N, 3, H, W)` normalised, `targets`, content `digests` of length N."""

    images: np.ndarray
    targets: np.ndarray
    digests: list[str]


class Share(NamedTuple):
    """Which part of every batch is read here: number `rank` of `size` contiguous parts, as equal as can be."""

    rank: int = 0
    size: int = 1

    def bounds(self, count: int) -> tuple[int, int]:
        """First and one past the last row of a batch of `count` rows."""
        return self.rank * count // self.size, (self.rank + 1) * count // self.size


WHOLE = Share()


class Task(Protocol):
    """Everything a stage must not know about a task. Implementations are stateless and import torch only when used."""

    @property
    def name(self) -> str:
        """Name in parameters and manifests."""

    @property
    def schema(self) -> "pa.Schema":
        """Columns of a dataset row; always with `digest` (sha256 hex of the content) and `source`."""

    @property
    def metric_name(self) -> str:
        """Name of the mean of `correct`."""

    def target_key(self, row: Mapping[str, Any]) -> bytes:
        """The row's target as bytes, for the dataset's fingerprint."""

    def decode(self, row: Mapping[str, Any], preprocess: Preprocess) -> tuple[np.ndarray, Any]:
        """Pixels uint8 `(H, W, 3)` at `preprocess.image_size`, and the target."""

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
        """`batches` as numpy arrays, for code that runs without torch."""

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
        """Images float32 `(N, 3, H, W)` normalised, targets, digests; the last batch may be smaller.

        Deterministic for (dataset, split, preprocess, batch_size, seed, epoch, augment, limit), whatever the number of
        threads. `seed` None = stored order. `limit` takes an evenly spread subset, the same in each epoch. With `share`
        each batch is a part of the whole one, augmented as it would be there; it may be empty. The first `skip` batches
        are left out, and the others are what they would be after them; no shard is read for what is left out.
        """

    def num_outputs(self, classes: Sequence[str]) -> int:
        """Width of the network's output."""

    def loss(self, logits: "Tensor", targets: "Tensor", *, label_smoothing: float = 0.0) -> "Tensor":
        """The task's training loss L₀, a scalar: mean over samples."""

    def correct(self, logits: "Tensor", targets: "Tensor") -> "Tensor":
        """Per sample 1.0 or 0.0 (or a fraction): `(N,)` float32. Its mean is `metric_name`."""

    def flatten_logits(self, logits: "Tensor", targets: "Tensor") -> "Tensor":
        """Logits as `(samples, classes)`, without what carries no target: what distillation compares."""
