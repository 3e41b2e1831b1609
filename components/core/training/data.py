"""Data of a training run: the training split epoch by epoch, and the validation split."""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from components.core.data.batch import WHOLE, Batch, Share
from components.core.data.reading import read_batches, token_batches
from components.core.data.token_batches import TokenBatches
from components.core.errors import UserError

if TYPE_CHECKING:
    from components.core.data.dataset import Dataset
    from components.core.tasks import Task


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """`training(epoch, skip)` gives that epoch's batches but the first `skip`, without reading those.

    Always the same ones for the same epoch: resuming relies on it.

    padding: of batches of so many elements, the share that is padding; None for batches of so many rows.

    `validation()` gives the validation batches with evaluation transforms; None when the split is empty. Batches hold
    tensors (`as_tensors`).
    """

    training: Callable[[int, int], Iterable[Batch]]
    steps_per_epoch: int
    validation: Callable[[], Iterable[Batch]] | None
    padding: float | None = None


def as_tensors(batches: Generator[Batch]) -> Generator[Batch]:
    """The same batches as tensors on the CPU, which share the arrays' memory; in pinned memory where there is CUDA."""
    pin = torch.cuda.is_available()

    def tensor(values: Any) -> torch.Tensor:
        made = torch.from_numpy(values)
        return made.pin_memory() if pin else made

    with closing(batches):
        for batch in batches:
            yield replace(
                batch,
                inputs={name: tensor(values) for name, values in batch.inputs.items()},
                targets=tensor(batch.targets),
                weight=None if batch.weight is None else tensor(batch.weight),
            )


def steps_in_epoch(rows: int, batch_size: int) -> int:
    """`⌊rows/batch_size⌋`, at least 1.

    The incomplete last batch is left out (other rows each epoch, the order being shuffled): its gradient would weigh
    its few rows more than all others, and a batch of one image has no variance to normalise with.
    """
    return max(rows // batch_size, 1)


def training_data(
    task: "Task",
    dataset: "Dataset",
    *,
    assets: Any,
    batch_size: int,
    seed: int,
    augment: bool,
    validation_assets: Any = None,
    settings: Mapping[str, Any] | None = None,
    share: Share = WHOLE,
    batch_tokens: int = 0,
    epochs: int = 1,
) -> TrainingData:
    """The training and validation splits of a dataset for a network with these assets of the task.

    `validation_assets` where they differ (a student that sees smaller inputs than its teacher). `settings`: what the
    task's user chose of its augmentation.

    With a `share`, every batch is this process's part of it. With `batch_tokens` a batch has at most so many target
    elements, whatever its rows, and all `epochs` have as many steps; parts of a batch may be unequal then, and empty.

    Raises `UserError` when the training split holds fewer than two images, parts of so many rows would be unequal, or
    rows of one size are to be counted by their elements.
    """
    rows = dataset.rows("train")
    if not batch_tokens and min(rows, batch_size) % share.size:
        raise UserError(
            f"a batch of {min(rows, batch_size)} {task.row_noun} does not divide evenly among {share.size} processes; "
            f"choose batch_size as a multiple of num_processes, at most the {rows} training {task.row_noun}"
        )
    if rows < 2:
        raise UserError(f"training needs at least 2 {task.row_noun}; the training split holds {rows}")

    transform = task.transform(assets, settings=settings)
    evaluated = transform if validation_assets is None else task.transform(validation_assets)
    if batch_tokens and transform.lengths is None:
        raise UserError(f"batch_tokens must be 0 for {task.row_noun}, which all have the same size; got {batch_tokens}")
    by_tokens = token_batches(dataset, "train", transform, limit=batch_tokens) if batch_tokens else None
    size: int | TokenBatches = by_tokens or batch_size

    def training(epoch: int, skip: int) -> Iterable[Batch]:
        return as_tensors(
            read_batches(
                dataset, "train", transform, batch_size=size, seed=seed, epoch=epoch, augment=augment,
                share=share, skip=skip,
            )
        )  # fmt: skip

    def validation() -> Iterable[Batch]:
        whole = task.validation_batch * share.size
        return as_tensors(read_batches(dataset, "validation", evaluated, batch_size=whole, share=share))

    return TrainingData(
        training=training,
        steps_per_epoch=by_tokens.steps(seed=seed, epochs=epochs) if by_tokens else steps_in_epoch(rows, batch_size),
        padding=by_tokens.padding(seed=seed) if by_tokens else None,
        validation=validation if dataset.rows("validation") else None,
    )


def calibration_batches(
    task: "Task", dataset: "Dataset", assets: Any, *, rows: int, batch_size: int = 64
) -> Iterator[Batch]:
    """About `rows` training rows, evenly spread, with evaluation transforms, in full batches of tensors.

    Only a training split smaller than one batch gives an incomplete one: a batch of a single image has no variance.
    """
    wanted = min(rows, dataset.rows("train"))
    limit = wanted // batch_size * batch_size or wanted
    return as_tensors(read_batches(dataset, "train", task.transform(assets), batch_size=batch_size, limit=limit))
