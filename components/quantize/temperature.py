"""Temperature scaling: one number that logits are divided by, so that stated probabilities fit the observed accuracy.

Guo, Pleiss, Sun, Weinberger 2017, arXiv:1706.04599, section 4.2. It changes no answer, and no logit of the file: the
temperature is one of the release's assets, and whoever states probabilities divides by it.
"""

from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from components.core.bundles.onnx_bundle import SUFFIX, OnnxBundle
from components.core.data.reading import read_batches
from components.core.errors import UserError
from components.core.runtime.conversion import describe_file
from components.core.runtime.sessions import open_session
from components.core.tasks import Task
from components.quantize.calibration import CHECK_SPLIT

if TYPE_CHECKING:
    from components.core.data.dataset import Dataset

ROWS = 10_000
"""Validation rows that are read, at most: the temperature of these is known to about 1 %."""
_STEPS = 100


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """`temperature`, to 4 digits; None where no number above 0 is best, and then `why` says so. `rows` were read."""

    temperature: float | None
    rows: int
    why: str = ""


def check_scalable(task: Task, dataset: "Dataset") -> None:
    """UserError for a task whose releases state no probabilities, or without validation rows to fit on."""
    if task.probabilities is None:
        raise UserError(
            f"temperature_scaling is not available for {task.title}, which predicts no probabilities; leave it out"
        )
    if not dataset.rows(CHECK_SPLIT):
        raise UserError(
            f"temperature_scaling is fitted on validation {task.row_noun}, and there are none; raise "
            "validation_fraction, or leave temperature_scaling out"
        )


def with_temperature(bundle: OnnxBundle, dataset: "Dataset", folder: Path, *, threads: int) -> OnnxBundle:
    """The bundle, its files in `folder`, with the temperature that fits up to `ROWS` validation rows.

    No row calibrated its integers: these come from training rows. Where no temperature is best, the bundle is as it
    was, and its provenance says why.

    Raises:
        UserError: the task states no probabilities, or there are no validation rows.
    """
    task = bundle.task
    check_scalable(task, dataset)
    probabilities = task.probabilities
    assert probabilities is not None
    fitted = fit_temperature(*_labelled(bundle, dataset, threads=threads))
    facts: dict[str, Any] = {"value": fitted.temperature, "split": CHECK_SPLIT, "rows": fitted.rows}
    if fitted.temperature is None:
        return replace(bundle, provenance={**bundle.provenance, "temperature": {**facts, "why": fitted.why}})
    scaled = replace(
        bundle,
        graphs={name: folder / f"{name}{SUFFIX}" for name in bundle.graphs},
        assets=probabilities.scaled(bundle.assets, fitted.temperature),
        provenance={**bundle.provenance, "temperature": facts},
    )
    for name, path in bundle.graphs.items():
        model = onnx.load(path)
        describe_file(model, scaled)
        scaled.graphs[name].write_bytes(model.SerializeToString(deterministic=True))
    return scaled


def _labelled(bundle: OnnxBundle, dataset: "Dataset", *, threads: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits `(N, classes)` of the files, as they are served, and labels `(N,)`, of rows spread over the split."""
    task, probabilities = bundle.task, bundle.task.probabilities
    assert probabilities is not None
    sessions = {name: open_session(path, threads=threads) for name, path in bundle.graphs.items()}
    transform, found = task.transform(bundle.assets, full_size=True), []
    with closing(read_batches(dataset, CHECK_SPLIT, transform, batch_size=task.large_batch, limit=ROWS)) as batches:
        for batch in batches:
            found.append(probabilities.labelled(task.run(sessions, batch, bundle.assets), batch))
    logits, labels = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return logits, labels


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> Fitted:
    """The T > 0 that makes −Σ log softmax(z / T)[y] smallest.

    It is convex in β = 1 / T; its slope, the mean of Σ_k p_k z_k − z_y, is 0 at one β by Newton's method within a
    bracket. There is none where each row's own class has the largest logit (β without limit) or where the logits say no
    more than chance (β of 0).

    Args:
        logits: `(N, classes)`; −∞ rules a class out.
        labels: `(N,)` integers.
    """
    values = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    possible = np.isfinite(values)
    own = values[np.arange(len(labels)), labels]
    rows = len(labels)
    if not np.isfinite(own).all():
        return Fitted(temperature=None, rows=rows, why="a class was ruled out that a row has")
    if (own == 0).all():
        return Fitted(temperature=None, rows=rows, why="every row is answered rightly, so no probability is too high")
    values = np.where(possible, values, 0.0)

    def slope_and_curvature(beta: float) -> tuple[float, float]:
        chances = np.exp(beta * values) * possible
        chances /= chances.sum(axis=1, keepdims=True)
        mean = (chances * values).sum(axis=1)
        return float((mean - own).mean()), float(((chances * values**2).sum(axis=1) - mean**2).mean())

    if slope_and_curvature(0.0)[0] >= 0:
        return Fitted(temperature=None, rows=rows, why="the logits say no more than chance")
    low, high = 0.0, 1.0
    while slope_and_curvature(high)[0] < 0:
        low, high = high, 2 * high
    beta = high
    for _ in range(_STEPS):
        slope, curvature = slope_and_curvature(beta)
        low, high = (beta, high) if slope < 0 else (low, beta)
        newton = beta - slope / curvature if curvature > 0 else high
        following = newton if low < newton < high else (low + high) / 2
        if abs(following - beta) <= 1e-9 * beta:
            break
        beta = following
    # Logits of another machine differ in their last digits; the release's digest should not.
    return Fitted(temperature=float(f"{1 / beta:.4g}"), rows=rows)
