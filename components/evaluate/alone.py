"""One released model on rows that a user has at hand, and its latency on this machine; nothing is chosen by it."""

from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path

from components.core.bundles.onnx_bundle import OnnxBundle
from components.core.data.collect import GIVEN_COLUMN, collect, open_spill
from components.core.data.dataset import Dataset, open_dataset, write_dataset
from components.core.data.rows import RowFormat
from components.core.errors import UserError
from components.core.evaluation.document import Estimate, RuntimeFigures
from components.core.runtime.latency import Latency
from components.core.store import open_store
from components.core.tasks.metric import Metric
from components.evaluate.comparison import rounds_of
from components.evaluate.inference import run_split
from components.evaluate.intervals import estimate
from components.evaluate.latency import measure_bundles
from components.evaluate.runtimes import measure_runtimes

SPLIT = "test"
"""The name under which the user's rows are read."""
_MODEL = "release"


@dataclass(frozen=True, kw_only=True)
class OwnRows:
    """A user's rows as a data set, all in one split, and how many items were of no use, by reason."""

    dataset: Dataset
    unusable: Counter[str]


@dataclass(frozen=True, kw_only=True)
class Figures:
    """The figures of one model.

    Attributes:
        rows, left_out: rows that were read, and rows that were left out.
        metrics: each with its interval; empty without rows.
        latency: by batch size, ascending; empty where calls need rows and there are none.
        busy: whether the machine did something else in some block of calls.
        runtimes: it in each runtime that is installed; empty where onnxruntime is the only one.
    """

    rows: int
    left_out: int
    metrics: tuple[tuple[Metric, Estimate], ...]
    latency: tuple[Latency, ...]
    busy: bool
    runtimes: tuple[RuntimeFigures, ...]


def own_rows(
    name: str, rows: RowFormat, labels: Sequence[str], folder: Path, *, max_bytes: int, allow_paths: Sequence[str] = ()
) -> OwnRows:
    """Reads all rows of a user's data; each counts, equal ones too.

    Args:
        name, allow_paths: as for `RowFormat.open_source`.
        rows: the task's.
        labels: class names of the model, in the order of its outputs; empty for a task without classes.
        folder: an existing empty folder for what is read: as large as the data.
        max_bytes: larger files are of no use.

    Raises:
        UserError: the data cannot be read, or have no usable row, or classes that the model does not know.
    """
    store = open_store(str(folder / "store"))
    for part in ("tables", "dataset"):
        (folder / part).mkdir()
    with open_spill(folder / "rows", rows, ()) as spill:
        found = collect(name, rows, spill, folder / "tables", max_bytes=max_bytes, allow_paths=allow_paths)
        buckets = spill.finish()
    unusable = Counter(rejection.reason for _, _, rejection in found.rejected)
    if not found.splits:
        reasons = ", ".join(f"{count} {reason}" for reason, count in unusable.most_common()) or "no files"
        raise UserError(f"dataset {name} has no usable rows: {reasons}")
    if unknown := sorted(set(found.classes) - set(labels)) if labels else []:
        raise UserError(
            f"dataset {name} has the class {unknown[0]!r}, which the release does not know; it knows "
            f"{', '.join(labels[:10])}{', …' if len(labels) > 10 else ''}"
        )
    numbers = {label: number for number, label in enumerate(labels)}
    stored = (
        rows.finished(raw, numbers)
        for bucket in buckets
        for batch in spill.table(bucket).drop_columns([GIVEN_COLUMN]).to_batches(max_chunksize=64)
        for raw in batch.to_pylist()
    )
    write_dataset(folder / "dataset", rows=rows, classes=list(labels), splits={SPLIT: stored}, store=store)
    return OwnRows(dataset=open_dataset(folder / "dataset", store), unusable=unusable)


def figures_of(
    bundle: OnnxBundle, dataset: Dataset | None, *, threads: int, latency_rounds: int, unread: Container[str] = ()
) -> Figures:
    """Metrics on the rows of a data set, if there is one, and the latency of warm calls.

    Args:
        bundle: the model.
        dataset: of `own_rows`.
        threads: of onnxruntime.
        latency_rounds: timed calls at batch 1, at least; fewer at the task's large batch.
        unread: digests of rows that are left out.

    Raises:
        UserError: as `inference.run_split`.
    """
    metrics: tuple[tuple[Metric, Estimate], ...] = ()
    rows = left_out = 0
    if dataset is not None:
        found = run_split(bundle, dataset, SPLIT, threads=threads, unread=unread)
        rows, left_out = len(found.digests), dataset.rows(SPLIT) - len(found.digests)
        metrics = tuple((metric, estimate(metric, found.statistics)) for metric in bundle.task.metrics)
    rounds = rounds_of(bundle.task, latency_rounds)
    timed = measure_bundles({_MODEL: bundle}, dataset, SPLIT, threads=threads, rounds=rounds)
    return Figures(
        rows=rows,
        left_out=left_out,
        metrics=metrics,
        latency=tuple(one.latencies[_MODEL] for one in timed.values()),
        busy=any(one.busy_blocks for one in timed.values()),
        runtimes=measure_runtimes(bundle, dataset, SPLIT, threads=threads, rounds=rounds),
    )
