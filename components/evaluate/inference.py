"""Run an ONNX bundle over a split and keep what the figures need: statistics of each row, and the task's details."""

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from components.core.bundles.onnx_bundle import OnnxBundle
from components.core.data.batch import Batch
from components.core.data.reading import read_batches
from components.core.errors import UserError
from components.core.runtime.finite import refuse_no_numbers
from components.core.runtime.sessions import open_session
from components.core.split_part import SplitPart
from components.core.tasks import get_task

if TYPE_CHECKING:
    from components.core.data.dataset import Dataset

SPLITS = ("validation", "test")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Answers of one model on a split, in stored order; N rows.

    Attributes:
        statistics: of each row, float64 `(N, K)`, as the task's metrics take them.
        groups: which rows belong to each of the task's groups, bool `(N, groups)`.
        digests: of the rows.
        details: the task's own, JSON-able.
    """

    statistics: np.ndarray
    groups: np.ndarray
    digests: list[str]
    details: dict[str, Any]


@dataclass(frozen=True)
class Unread:
    """Digests that are not read: those in `seen`, and of other parts of the split than `part`.

    `groups` has the key of each row that depends on others: it, and not the row's digest, says which part they are in.
    """

    seen: Container[str]
    part: SplitPart
    groups: Mapping[str, str]

    def __contains__(self, digest: object) -> bool:
        return digest in self.seen or not self.part.holds(self.groups.get(str(digest), str(digest)))


def rows_in(dataset: "Dataset", split: str, part: SplitPart, groups: Mapping[str, str]) -> int:
    """How many rows the part of the split has, see `Unread`; UserError for none."""
    if part.is_whole:
        return dataset.rows(split)
    others = Unread((), part, groups)
    rows = sum(row["digest"] not in others for row in dataset.iterate(split, columns=("digest",)))
    if not rows:
        raise UserError(
            f"{part.said} of the {split} split ({dataset.rows(split):,} {get_task(dataset.task).row_noun}) is empty; "
            "give fewer test_parts"
        )
    return rows


def check_split(dataset: "Dataset", split: str) -> None:
    """UserError unless `split` is one that a model may be judged on, and has rows."""
    noun = get_task(dataset.task).row_noun
    if split == "train":
        raise UserError(
            f"a model cannot be evaluated on the {noun} it was trained on; split must be validation or test"
        )
    if split not in SPLITS:
        raise UserError(f"unknown split {split!r}; available: {', '.join(SPLITS)}")
    if not dataset.rows(split):
        raise UserError(f"the {split} split is empty; raise {split}_fraction, or give more {noun}")


def run_split(
    bundle: OnnxBundle, dataset: "Dataset", split: str, *, threads: int, unread: Container[str] = ()
) -> Outcome:
    """The split through the files, with the bundle's own preprocessing and the client's decoding.

    Every row is read but those whose digests are in `unread`.
    Outputs and predictions are let go after each batch: memory is that of the statistics.

    Raises:
        UserError: the bundle was made for other classes than the dataset's, or answers with what is no number; no row
            of the split is unseen.
    """
    task = get_task(dataset.task)
    task.check_classes(dataset, bundle.assets)
    sessions = {name: open_session(path, threads=threads) for name, path in bundle.graphs.items()}
    details = task.details(dataset, bundle.assets)
    statistics, groups, digests = [], [], []
    transform = task.transform(bundle.assets, full_size=True)
    whole = read_batches(dataset, split, transform, batch_size=task.large_batch)
    for batch in (part for one in whole for part in _read(one, unread)):
        outputs = task.run(sessions, batch, bundle.assets)
        refuse_no_numbers(outputs, task.row_noun)
        predictions = task.predict(outputs, batch, bundle.assets)
        statistics.append(task.statistics(predictions, batch, len(dataset.classes)))
        groups.append(task.group_rows(batch, len(dataset.classes)))
        digests.extend(batch.digests)
        details.add(outputs, predictions, batch)
    if not digests:
        raise UserError(
            f"all {task.row_noun} of the {split} split were training or validation data of one of the models"
        )
    return Outcome(
        statistics=np.concatenate(statistics),
        groups=np.concatenate(groups),
        digests=digests,
        details=details.finish(),
    )


def _read(batch: Batch, unread: Container[str]) -> Iterator[Batch]:
    """The batch without the rows in `unread`, as its contiguous parts."""
    for kept, run in groupby(range(len(batch)), key=lambda row: batch.digests[row] not in unread):
        if kept:
            rows = list(run)
            yield batch if len(rows) == len(batch) else batch.part(slice(rows[0], rows[-1] + 1))
