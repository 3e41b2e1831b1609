"""A few rows to look at: of a metric of right and wrong some of both, of any other the worst, typical and best."""

import base64
import math
from collections.abc import Container, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from components.core.bundles.onnx_bundle import OnnxBundle
from components.core.evaluation.document import Sample
from components.core.runtime.sessions import open_session
from components.core.tasks import get_task
from components.core.tasks.metric import Metric

if TYPE_CHECKING:
    from components.core.data.dataset import Dataset

SAMPLES = 24
KINDS = ("wrong", "worst", "typical", "best", "right")
"""The order in which they are shown."""

_ROW_BYTES = 12_000
"""A row of at most so many bytes goes into the document whole, so that the release can be made to repeat it."""


def pick_samples(metric: Metric, statistics: np.ndarray, number: int = SAMPLES) -> dict[int, str]:
    """Row number → why it was picked, from the candidate's statistics `(N, K)`.

    Of a proportion up to half wrong and the others right, each spread evenly over the split. Of any other metric a
    third each of the worst, those around the median, and the best; rows that it says nothing of are left out.
    """
    scores = metric.reduce(statistics)
    if metric.proportion:
        wrong = spread_evenly(np.flatnonzero(scores < 1), number // 2)
        right = spread_evenly(np.flatnonzero(scores == 1), number - len(wrong))
        return {**dict.fromkeys(wrong.tolist(), "wrong"), **dict.fromkeys(right.tolist(), "right")}
    order = np.argsort(scores if metric.higher_is_better else -scores, kind="stable")
    order = order[np.isfinite(scores[order])]
    third = -(-min(number, len(order)) // 3)
    middle = (len(order) - third) // 2
    parts = {
        "worst": order[:third],
        "typical": order[middle : middle + third],
        "best": order[len(order) - third :],
    }
    return {row: kind for kind, rows in parts.items() for row in rows.tolist()}


def read_samples(
    dataset: "Dataset",
    split: str,
    picked: Mapping[int, str],
    *,
    candidate: OnnxBundle,
    baseline: OnnxBundle,
    threads: int,
    unread: Container[str] = (),
) -> list[Sample]:
    """The picked rows, each predicted again alone by both models, as the task's pages show them."""
    if not picked:
        return []
    task = get_task(dataset.task)
    models = {"candidate": _Predictor(candidate, dataset, threads), "baseline": _Predictor(baseline, dataset, threads)}
    found, metric = [], task.metrics[0]
    for number, row in _rows(dataset, split, picked, unread):
        results = {name: model(row) for name, model in models.items()}
        batch, predictions = results["candidate"]
        # Of the row alone: dynamic integer kernels answer otherwise in another batch, and a release repeats this one.
        score = metric.value(task.statistics(predictions, batch, len(dataset.classes)))
        shown = task.pages.sample(row, batch, {name: result[1] for name, result in results.items()}, dataset)
        kept = _embedded(row)
        found.append(
            Sample(
                digest=row["digest"],
                kind=picked[number],
                score=score if math.isfinite(score) else None,
                said=task.pages.said(predictions, dataset.classes),
                row=kept,
                shown=_without_repeats(shown, kept),
            )
        )
    return sorted(found, key=lambda sample: KINDS.index(sample.kind))


def spread_evenly(rows: np.ndarray, number: int) -> np.ndarray:
    """At most `number` of the rows `(N,)`, evenly spread over them."""
    if len(rows) <= number:
        return rows
    return rows[np.arange(number) * len(rows) // number]


class _Predictor:
    """One row alone through a bundle: the batch that it makes, and the predictions of it."""

    def __init__(self, bundle: OnnxBundle, dataset: "Dataset", threads: int) -> None:
        self._task, self._assets = get_task(dataset.task), bundle.assets
        self._sessions = {name: open_session(path, threads=threads) for name, path in bundle.graphs.items()}
        self._transform = self._task.transform(bundle.assets, full_size=True)

    def __call__(self, row: Mapping[str, Any]) -> tuple[Any, Any]:
        batch = self._transform.collate([self._transform.decode(row)], [row["digest"]], None)
        outputs = self._task.run(self._sessions, batch, self._assets)
        return batch, self._task.predict(outputs, batch, self._assets)


def _rows(
    dataset: "Dataset", split: str, picked: Mapping[int, str], unread: Container[str]
) -> Iterator[tuple[int, dict[str, Any]]]:
    columns = tuple(name for name in get_task(dataset.task).rows.schema.names if name != "source")
    left = len(picked)
    stored = dataset.iterate(split, columns=columns) if picked else ()
    for number, row in enumerate(row for row in stored if row["digest"] not in unread):
        if number in picked:
            yield number, row
            left -= 1
            if not left:
                return


def _embedded(row: Mapping[str, Any]) -> dict[str, Any] | None:
    """The row as JSON; None if it is large."""
    size = sum(len(value) for value in row.values() if isinstance(value, bytes | str))
    if size > _ROW_BYTES:
        return None
    return {
        name: {"base64": base64.b64encode(value).decode("ascii")} if isinstance(value, bytes) else value
        for name, value in row.items()
    }


def _without_repeats(shown: Mapping[str, Any], kept: Mapping[str, Any] | None) -> dict[str, Any]:
    """`shown` without the entries that are a bytes column of the kept row, such as a small image shown as it is."""
    columns = [value["base64"] for value in (kept or {}).values() if isinstance(value, dict)]
    return {name: value for name, value in shown.items() if value not in columns}
