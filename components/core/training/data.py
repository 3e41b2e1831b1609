"""What a training run reads: the training split epoch by epoch, and the validation split."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from components.core.errors import UserError
from components.core.tasks.base import WHOLE, Share

if TYPE_CHECKING:
    from components.core.data.dataset import Dataset
    from components.core.tasks import Task
    from components.core.tasks.images.preprocess import Preprocess

Batch = tuple[Tensor, Any, list[str]]
"""Images (N, 3, H, W) float32 normalised, the task's targets, and the N content digests."""

EVALUATION_BATCH_SIZE = 256


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """`training(epoch, skip)` gives that epoch's batches but the first `skip`, without reading those.

    Always the same ones for the same epoch: resuming relies on it.

    `validation()` gives the validation batches with evaluation transforms; None when the split is empty.
    """

    training: Callable[[int, int], Iterable[Batch]]
    steps_per_epoch: int
    validation: Callable[[], Iterable[Batch]] | None


def check_labels(dataset: "Dataset", labels: Sequence[str], *, model: str = "model") -> None:
    """Raises `UserError` when a model was made for other classes, or another order of them, than the data set's."""
    if list(labels) != list(dataset.classes):
        raise UserError(
            f"the {model} predicts {len(labels)} classes ({_some(labels)}), "
            f"the data set has {len(dataset.classes)} ({_some(dataset.classes)}); they must be the same, in one order"
        )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


def steps_in_epoch(rows: int, batch_size: int) -> int:
    """`⌊rows/batch_size⌋`, at least 1.

    The incomplete last batch is left out (other rows each epoch, the order being shuffled): its gradient would weigh
    its few images more than all others, and a batch of one image has no variance to normalise with.
    """
    return max(rows // batch_size, 1)


def training_data(
    task: "Task",
    dataset: "Dataset",
    *,
    preprocess: "Preprocess",
    batch_size: int,
    seed: int,
    augment: bool,
    validation_preprocess: "Preprocess | None" = None,
    share: Share = WHOLE,
) -> TrainingData:
    """The training and validation splits of a dataset; `validation_preprocess` where it differs (a smaller student).

    With a `share`, every batch is this process's part of it.

    Raises `UserError` when the training split holds fewer than two images, or parts of a batch would be unequal.
    """
    rows = dataset.rows("train")
    if min(rows, batch_size) % share.size:
        raise UserError(
            f"a batch of {min(rows, batch_size)} images does not divide evenly among {share.size} processes; choose "
            f"batch_size as a multiple of num_processes, at most the {rows} training images"
        )
    if rows < 2:
        raise UserError(f"the training split holds {rows} image{'s' * (rows != 1)}; training needs at least 2")

    def training(epoch: int, skip: int) -> Iterable[Batch]:
        return task.batches(
            dataset, "train", preprocess, batch_size=batch_size, seed=seed, epoch=epoch, augment=augment, share=share,
            skip=skip,
        )  # fmt: skip

    def validation() -> Iterable[Batch]:
        size = EVALUATION_BATCH_SIZE * share.size
        return task.batches(dataset, "validation", validation_preprocess or preprocess, batch_size=size, share=share)

    return TrainingData(
        training=training,
        steps_per_epoch=steps_in_epoch(rows, batch_size),
        validation=validation if dataset.rows("validation") else None,
    )


def calibration_batches(
    task: "Task", dataset: "Dataset", preprocess: "Preprocess", *, images: int, batch_size: int = 64
) -> Iterator[Batch]:
    """About `images` training images, evenly spread, with evaluation transforms, in full batches.

    Only a training split smaller than one batch gives an incomplete one: a batch of a single image has no variance.
    """
    rows = min(images, dataset.rows("train"))
    limit = rows // batch_size * batch_size or rows
    return iter(task.batches(dataset, "train", preprocess, batch_size=batch_size, limit=limit))
