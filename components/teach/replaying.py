"""A data set with further training rows whose targets are the answers of a network that has not been tuned: replay.

A network that is tuned on a domain forgets what lies outside of it. Rows with its own former answers among those of the
domain hold it back (Robins 1995; with inputs of the new task Li and Hoiem 2016, arXiv:1606.09282).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from components.core.artifacts.manifest import Manifest
from components.core.bundles.model_bundle import ModelBundle
from components.core.data.dataset import Dataset, write_dataset
from components.core.data.slices import shard_column, sliced_columns
from components.core.errors import UserError
from components.core.training.checkpoint import checkpoint_key
from components.core.training.device import choose_device, deterministic, place, use_available_threads
from components.teach.teaching import PART_ROWS, answered_parts, losses_of, targets_of

if TYPE_CHECKING:
    from components.core.store import Store

_HELD_OUT = ("validation", "test")


@dataclass(frozen=True, kw_only=True)
class Replay:
    """The new data set; rows that were asked for, those that there were, and those of them without an answer."""

    manifest: Manifest
    asked: int
    found: int
    unanswered: int

    def facts(self) -> dict[str, float]:
        """Figures by name."""
        rows = self.manifest.metadata["counts"]["train"]
        added = self.found - self.unanswered
        return {"replayed": added, "replayed_fraction": added / rows, "unanswered": self.unanswered}


def replay_rows(
    path: str | Path,
    teacher: ModelBundle,
    teacher_digest: str,
    dataset: Dataset,
    store: "Store",
    *,
    fraction: float,
    settings: Mapping[str, Any],
) -> Replay:
    """Writes the data set with the teacher's answers to rows of `Task.general` besides, spread evenly over training.

    Args:
        path: directory of the artifact.
        teacher: the untuned network; its module ends in eval mode, on the CPU.
        teacher_digest: of its manifest.
        dataset: what is added to; its own rows stay as they are.
        store: where it is; takes the parts and the new shards.
        fraction: share of all training rows that the new ones are to be, above 0 and below 1. There may be fewer.
        settings: of training.

    Raises:
        UserError: a task that has nothing to replay, a data set that is not the teacher's, or no row to be added.
    """
    task = teacher.task
    task.check_classes(dataset, teacher.assets, model="teacher")
    use_available_threads()
    answers = task.teacher_answers(place(teacher.module, choose_device()).eval(), teacher.assets, beam=1)
    if task.general is None or answers is None:
        raise UserError(f"replay_fraction must be 0 for {task.title}, which has nothing to replay; got {fraction:g}")
    asked = round(fraction / (1 - fraction) * dataset.rows("train"))
    rows = task.general.replayed(dataset, teacher.assets, settings, rows=asked)
    inputs = {"dataset": dataset.manifest.digest, "teacher": teacher_digest}
    parameters = {"replay": fraction, "part_rows": PART_ROWS, "settings": dict(settings)}
    key = checkpoint_key("teach", parameters=parameters, inputs=inputs)
    with deterministic(0):
        parts = answered_parts(rows, len(rows), task.rows, answers, store, key=key) if rows else []
    teacher.module.cpu()

    kept = np.isfinite(losses_of(store, parts)[0]) if parts else np.zeros(0, dtype=bool)
    if not kept.any():
        raise UserError(
            f"replay_fraction {fraction:g} adds no row: the network answered none of the {len(rows)} inputs"
        )
    nothing = dict.fromkeys(map(shard_column, dataset.slices))
    new = [
        {**row, **target, **nothing}
        for row, target, keep in zip(rows, targets_of(store, parts, task.rows), kept.tolist(), strict=True)
        if keep
    ]
    given = dataset.iterate("train", columns=sliced_columns(task.rows.schema, tuple(dataset.slices)))
    columns = ("digest", *task.rows.target_columns, *map(shard_column, dataset.slices))
    manifest = write_dataset(
        path,
        rows=task.rows,
        classes=dataset.classes,
        splits={"train": spread(given, dataset.rows("train"), new)},
        store=store,
        metadata={**dataset.manifest.metadata, **inputs},
        kept={split: list(dataset.shards(split, columns=columns)) for split in _HELD_OUT},
        slice_columns=tuple(dataset.slices),
    )
    store.checkpoints.clear(key)
    return Replay(manifest=manifest, asked=asked, found=len(rows), unanswered=int((~kept).sum()))


def spread(
    rows: Iterator[Mapping[str, Any]], total: int, new: Sequence[Mapping[str, Any]]
) -> Iterator[Mapping[str, Any]]:
    """The `total` rows in their order, with the new ones evenly among them: a shard is to be a sample of its split."""
    given = 0
    for number, row in enumerate(rows, start=1):
        yield row
        due = number * len(new) // total
        yield from new[given:due]
        given = due
