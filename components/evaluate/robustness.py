"""Both models on corrupted rows: does the candidate lose more than its baseline?"""

import math
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from components.core.bundles.onnx_bundle import OnnxBundle
from components.core.errors import UserError
from components.core.evaluation.robustness import CorruptedResult, Robustness, mean
from components.core.runtime.finite import refuse_no_numbers
from components.core.runtime.serving import open_graphs
from components.core.tasks import get_task
from components.core.tasks.metric import Metric
from components.evaluate.intervals import FEWEST_DIFFERING, jackknife_interval
from components.evaluate.samples import spread_evenly

if TYPE_CHECKING:
    from components.core.data.dataset import Dataset
    from components.core.tasks.base import Corruptions


def check_corruptions(dataset: "Dataset", rows: int) -> None:
    """UserError if corrupted rows are asked for (`rows` above 0) of a task whose rows cannot be corrupted."""
    task = get_task(dataset.task)
    if rows and task.corruptions is None:
        raise UserError(f"corruption_rows {rows}: {task.row_noun} cannot be corrupted, only images can; give 0")


def measure_robustness(
    dataset: "Dataset",
    split: str,
    *,
    candidate: OnnxBundle,
    baseline: OnnxBundle,
    digests: Sequence[str],
    rows: int,
    threads: int,
) -> Robustness:
    """Both models on at most so many rows, as they are and with every corruption of the task.

    Args:
        dataset: whose task has corruptions.
        split: of it.
        candidate: one model.
        baseline: the other.
        digests: of the rows that were evaluated, in stored order; the corrupted ones are spread evenly over them.
        rows: how many, at most.
        threads: of onnxruntime.

    Raises:
        UserError: a model answers with what is no number.
    """
    task = get_task(dataset.task)
    corruptions = task.corruptions
    assert corruptions is not None, "check_corruptions comes first"
    picked = {digests[number] for number in spread_evenly(np.arange(len(digests)), rows)}
    models = [_Model(one, dataset, threads) for one in (candidate, baseline)]
    assets = [model.assets for model in models]
    found: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    columns = tuple(dict.fromkeys(("digest", *(name for model in models for name in model.columns))))
    for row in (row for row in dataset.iterate(split, columns=columns) if row["digest"] in picked):
        parts: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
        versions = corruptions.versions(row, assets)
        while some := list(islice(versions, task.large_batch)):
            for model, kept in zip(models, parts, strict=True):
                kept.append(model.statistics(some))
        for kept, one in zip(found, parts, strict=True):
            kept.append(np.concatenate(one))
    return summarized(np.stack(found[0]), np.stack(found[1]), task.metrics[0], corruptions)


def summarized(candidate: np.ndarray, baseline: np.ndarray, metric: Metric, corruptions: "Corruptions") -> Robustness:
    """The figures from statistics `(rows, 1 + kinds, K)`, of which the first is of the undamaged row.

    With v₀ the metric undamaged and v₁ … v_m with each kind, a model's mean drop is `mean(v₀ − v_k)` in points. The
    interval of the difference of two mean drops is a jackknife over rows: kinds of damage to one row go together.
    """
    values = [_known(metric.reduce(side.sum(axis=0))) for side in (candidate, baseline)]
    drops = [[_lost(metric, value[0], one) for one in value[1:]] for value in values]
    results = tuple(
        CorruptedResult(
            corruption=name,
            severity=severity,
            candidate=values[0][1 + number],
            baseline=values[1][1 + number],
            candidate_drop=drops[0][number],
            baseline_drop=drops[1][number],
        )
        for number, (name, severity) in enumerate(corruptions.kinds)
    )
    points, low, high = _difference(candidate, baseline, metric)
    return Robustness(
        rows=len(candidate),
        candidate=values[0][0],
        baseline=values[1][0],
        corrupted=results,
        candidate_drop=mean(drops[0]),
        baseline_drop=mean(drops[1]),
        points=points,
        low=low,
        high=high,
        method=f"{corruptions.method} Interval of the difference between the mean drops: paired jackknife over rows.",
    )


class _Model:
    """Statistics of rows through a bundle's files, as an evaluation's are made."""

    def __init__(self, bundle: OnnxBundle, dataset: "Dataset", threads: int) -> None:
        self.assets = bundle.assets
        self._task, self._num_classes = bundle.task, len(dataset.classes)
        self._sessions = open_graphs(bundle, threads=threads)
        self._transform = self._task.transform(bundle.assets, full_size=True)
        self.columns = self._transform.columns

    def statistics(self, rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
        examples = [self._transform.decode(row) for row in rows]
        batch = self._transform.collate(examples, [row["digest"] for row in rows], None)
        outputs = self._task.run(self._sessions, batch, self.assets)
        refuse_no_numbers(outputs, self._task.row_noun)
        return self._task.statistics(self._task.predict(outputs, batch, self.assets), batch, self._num_classes)


def _known(values: np.ndarray) -> list[float | None]:
    return [float(value) if math.isfinite(value) else None for value in values]


def _lost(metric: Metric, before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else -metric.points(after - before)


def _difference(
    candidate: np.ndarray, baseline: np.ndarray, metric: Metric
) -> tuple[float | None, float | None, float | None]:
    """The baseline's mean drop minus the candidate's, in points, with the ends of its interval."""
    both = np.stack([candidate, baseline], axis=1)
    shape = both.shape[1:]

    def reduce(sums: np.ndarray) -> np.ndarray:
        values = metric.reduce(sums.reshape(*sums.shape[:-1], *shape))
        change = values[..., 1:].mean(axis=-1) - values[..., 0]
        return np.asarray(change[..., 0] - change[..., 1])

    statistics = both.reshape(len(both), -1)
    value = float(reduce(statistics.sum(axis=0)))
    if not math.isfinite(value):
        return None, None, None
    differing = int((candidate != baseline).any(axis=(1, 2)).sum())
    ends = jackknife_interval(reduce, statistics) if differing >= FEWEST_DIFFERING else None
    if ends is None:
        return metric.points(value), None, None
    low, high = sorted(metric.points(end) for end in ends)
    return metric.points(value), low, high
