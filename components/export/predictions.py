"""Predictions of the torch network, of its float32 files and of the released files, on the same rows.

For a task whose answer takes many calls of several graphs, equal outputs of each graph are not enough: what counts is
the answer, alone and in a batch.
"""

from contextlib import closing
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from components.core.bundles.model_bundle import ModelBundle
from components.core.bundles.onnx_bundle import OnnxBundle
from components.core.data.reading import read_batches
from components.core.runtime.serving import open_graphs

if TYPE_CHECKING:
    from components.core.data.dataset import Dataset

ROWS = 200
BATCHES = (1, 16)
LEAST_EQUAL = 0.99
"""Share of rows on which torch and its float32 files must agree: sums in another order may decide a tie otherwise."""
_SPLITS = ("validation", "train")


@dataclass(frozen=True, kw_only=True)
class Compared:
    """Results of the comparison, at each of `batch_sizes` in turn.

    Attributes:
        rows, split: what was read: never test rows.
        batch_sizes: rows per call.
        float32: share of rows on which the float32 files give what torch gives, at the same batch size.
        released: the same of the released files, which may be quantized.
        released_alone: share on which the released files give in a batch what they give row by row.
        metric: label of the task's primary metric.
        scores: of the released files by it, on these rows: what it matters that answers change.
    """

    rows: int
    split: str
    batch_sizes: tuple[int, ...]
    float32: tuple[float, ...]
    released: tuple[float, ...]
    released_alone: tuple[float, ...]
    metric: str
    scores: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self)


def compare_predictions(
    student: ModelBundle, plain: OnnxBundle, candidate: OnnxBundle, dataset: "Dataset"
) -> Compared | None:
    """Up to `ROWS` rows of the validation split, evenly spread; None where equal outputs say it all.

    Args:
        student: the torch network.
        plain: its float32 files.
        candidate: what is released.
        dataset: whose rows are predicted; without validation rows its training rows.
    """
    task = candidate.task
    if not task.timed_units:
        return None
    split = next(name for name in _SPLITS if dataset.rows(name))
    student.module.eval()

    metric = task.metrics[0]

    def predictions(bundle: OnnxBundle | None, size: int) -> tuple[list[Any], float]:
        sessions = open_graphs(bundle) if bundle else {}
        assets = (bundle or student).assets
        transform = task.transform(assets, full_size=True)
        found: list[Any] = []
        statistics: list[np.ndarray] = []
        with closing(read_batches(dataset, split, transform, batch_size=size, limit=ROWS)) as batches:
            for batch in batches:
                if bundle is None:
                    said = task.reference(student.module, batch, assets)
                else:
                    said = task.predict(task.run(sessions, batch, assets), batch, assets)
                found += said
                statistics.append(task.statistics(said, batch, len(dataset.classes)))
        return found, metric.value(np.concatenate(statistics))

    torch_says = [predictions(None, size)[0] for size in BATCHES]
    plain_says = [predictions(plain, size)[0] for size in BATCHES]
    released, scores = zip(*(predictions(candidate, size) for size in BATCHES), strict=True)
    return Compared(
        rows=len(released[0]),
        split=split,
        batch_sizes=BATCHES,
        float32=tuple(_equal(*pair) for pair in zip(plain_says, torch_says, strict=True)),
        released=tuple(_equal(*pair) for pair in zip(released, torch_says, strict=True)),
        released_alone=tuple(_equal(one, released[0]) for one in released),
        metric=metric.label,
        scores=scores,
    )


def _equal(first: list[Any], second: list[Any]) -> float:
    return sum(one == other for one, other in zip(first, second, strict=True)) / max(1, len(first))
