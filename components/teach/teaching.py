"""A data set whose training rows have the teacher's answers as their targets.

Rows are answered in parts. A part is a blob of the store, and a checkpoint lists the parts that are done, so that a
stage that was killed answers no part twice.
"""

import json
import math
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.core.artifacts.manifest import Manifest
from components.core.bundles.model_bundle import ModelBundle
from components.core.data.dataset import Dataset, write_dataset
from components.core.data.rows import StoredRows
from components.core.data.slices import shard_column, sliced_columns
from components.core.errors import UserError
from components.core.json_documents import parse_json
from components.core.store import BlobMissing
from components.core.tasks.base import TeacherAnswers
from components.core.training.checkpoint import checkpoint_key
from components.core.training.device import choose_device, deterministic, place, use_available_threads

if TYPE_CHECKING:
    from components.core.store import Store

PART_ROWS = 512
WORST_FRACTION = 0.05
"""Share of the rows that is dropped, by the teacher's loss of its own answer."""

_PARTS, _LOSS, _SAME = "parts.json", "teacher:loss", "teacher:same"
_HELD_OUT = ("validation", "test")


@dataclass(frozen=True, kw_only=True)
class Lessons:
    """The new data set, and of its training rows how many were answered and dropped.

    unanswered: of the dropped ones those without any answer. as_labelled: kept ones whose answer is the label itself.
    worst_loss: the largest of those that were kept.
    """

    manifest: Manifest
    answered: int
    dropped: int
    unanswered: int
    as_labelled: int
    worst_loss: float

    def facts(self) -> dict[str, float]:
        """Figures by name."""
        return {
            "answered": self.answered,
            "dropped": self.dropped,
            "unanswered": self.unanswered,
            "as_labelled_fraction": self.as_labelled / (self.answered - self.dropped),
            "worst_loss": self.worst_loss,
        }


def teach_rows(
    path: str | Path, teacher: ModelBundle, teacher_digest: str, dataset: Dataset, store: "Store", *, beam: int
) -> Lessons:
    """Writes the data set with the teacher's answers to the artifact at `path`.

    A row keeps its digest, which is of the content that it was made of: who asks what a student has seen finds it. On a
    CPU the result depends on teacher, data set, beam and the number of threads only.

    Args:
        path: directory of the artifact.
        teacher: its module ends in eval mode, on the CPU.
        teacher_digest: of its manifest.
        dataset: what to answer.
        store: where it is; takes the parts and the new shards.
        beam: hypotheses of the search, at least 1.

    Raises:
        UserError: a task whose labels nothing but a person can write, a data set that is not the teacher's, or a
            teacher without any answer.
    """
    task = teacher.task
    task.check_classes(dataset, teacher.assets, model="teacher")
    use_available_threads()
    answers = task.teacher_answers(place(teacher.module, choose_device()).eval(), teacher.assets, beam=beam)
    if answers is None:
        raise UserError(f"teacher_beam must be 0 for {task.title}, whose labels are not sequences; got {beam}")
    inputs = {"dataset": dataset.manifest.digest, "teacher": teacher_digest}
    key = checkpoint_key("teach", parameters={"beam": beam, "part_rows": PART_ROWS}, inputs=inputs)
    with deterministic(0):
        given = dataset.iterate("train", columns=sliced_columns(task.rows.schema, tuple(dataset.slices)))
        parts = answered_parts(given, dataset.rows("train"), task.rows, answers, store, key=key)
    teacher.module.cpu()

    losses, same = losses_of(store, parts)
    kept = kept_rows(losses)
    if not kept.any():
        raise UserError(f"the teacher gave no answer for any of the {len(losses)} training {task.row_noun}")
    columns = ("digest", *task.rows.target_columns, *map(shard_column, dataset.slices))
    manifest = write_dataset(
        path,
        rows=task.rows,
        classes=dataset.classes,
        splits={"train": _taught(dataset, task.rows, store, parts, kept)},
        store=store,
        metadata={**dataset.manifest.metadata, **inputs},
        kept={split: list(dataset.shards(split, columns=columns)) for split in _HELD_OUT},
        slice_columns=tuple(dataset.slices),
    )
    store.checkpoints.clear(key)
    return Lessons(
        manifest=manifest,
        answered=len(losses),
        dropped=int((~kept).sum()),
        unanswered=int(np.isinf(losses).sum()),
        as_labelled=int(same[kept].sum()),
        worst_loss=float(losses[kept].max()),
    )


def kept_rows(losses: np.ndarray, *, worst: float = WORST_FRACTION) -> np.ndarray:
    """Bool `(N,)`: all but the `⌊worst · N⌋` rows with the largest losses `(N,)`, and those whose loss is infinite.

    Of equal losses the later rows go first.
    """
    kept = np.ones(len(losses), dtype=bool)
    order = np.argsort(losses, kind="stable")
    kept[order[len(losses) - math.floor(worst * len(losses)) :]] = False
    return kept & np.isfinite(losses)


def answered_parts(
    given: Iterable[Mapping[str, Any]],
    rows: int,
    stored: StoredRows,
    answers: TeacherAnswers,
    store: "Store",
    *,
    key: str,
) -> list[str]:
    """Digests of blobs with the answers to `PART_ROWS` of the given rows each, in their order.

    Parts that the checkpoint `key` lists are taken over; in the end it lists all of them.
    """
    schema = pa.schema(
        [
            *(stored.schema.field(name) for name in stored.target_columns),
            pa.field(_LOSS, pa.float64()),
            pa.field(_SAME, pa.bool_()),
        ]
    )
    parts = _taken_over(store, key)
    if parts:
        print(f"continues after {min(len(parts) * PART_ROWS, rows):,} of {rows:,} rows", flush=True)
    waiting = islice(given, len(parts) * PART_ROWS, None)
    while part := list(islice(waiting, PART_ROWS)):
        found = [
            {
                **answer.target,
                _LOSS: answer.loss,
                _SAME: stored.target_key(row) == stored.target_key({**row, **answer.target}),
            }
            for row, answer in zip(part, answers(part), strict=True)
        ]
        buffer = BytesIO()
        pq.write_table(pa.Table.from_pylist(found, schema=schema), buffer)
        parts.append(store.blobs.put(buffer.getvalue()))
        store.checkpoints.save(key, {_PARTS: json.dumps(parts).encode()})
        print(f"answered {min(len(parts) * PART_ROWS, rows):,} of {rows:,} rows", flush=True)
    return parts


def _taken_over(store: "Store", key: str) -> list[str]:
    """The parts that an earlier attempt has left; none if one of them is gone."""
    with tempfile.TemporaryDirectory(prefix="trimtab-teach-") as folder:
        if not store.checkpoints.load(key, Path(folder)):
            return []
        content = Path(folder, _PARTS).read_bytes()
    try:
        parts = parse_json(content)
        if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
            raise ValueError("it is no list of blobs")
    except ValueError as error:
        raise UserError(f"{_PARTS} of checkpoint {key[:12]} is damaged: {error}; delete it and run again") from None
    try:
        store.blobs.hold(parts)
    except BlobMissing:
        return []
    return parts


def losses_of(store: "Store", parts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Of each answer its loss, float64 `(N,)`, and whether it is the label itself, bool `(N,)`."""
    said = pa.concat_tables(_table(store, part, [_LOSS, _SAME]) for part in parts)
    losses, same = (said[name].to_numpy() for name in (_LOSS, _SAME))
    return losses, same


def targets_of(store: "Store", parts: list[str], stored: StoredRows) -> Iterator[dict[str, Any]]:
    """The answers, as columns of the target."""
    return (row for part in parts for row in _table(store, part, list(stored.target_columns)).to_pylist())


def _table(store: "Store", part: str, columns: list[str]) -> pa.Table:
    return pq.read_table(BytesIO(store.blobs.get(part)), columns=columns)


def _taught(
    dataset: Dataset, stored: StoredRows, store: "Store", parts: list[str], kept: np.ndarray
) -> Iterator[dict[str, Any]]:
    """The kept training rows, each with its answer."""
    targets = targets_of(store, parts, stored)
    given = dataset.iterate("train", columns=sliced_columns(stored.schema, tuple(dataset.slices)))
    for row, target, keep in zip(given, targets, kept.tolist(), strict=True):
        if keep:
            yield row | target
