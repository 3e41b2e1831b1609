"""A training history as an artifact and as figures."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from components.core.artifacts.manifest import Manifest, publish
from components.core.report.figures import line_chart
from components.core.report.numbers import percent
from components.core.report.page import Figure, Table, figure, table
from components.core.training.history import History

if TYPE_CHECKING:
    from components.core.store import Store

FILE = "curves.json"


def publish_curves(artifact_path: str | Path, history: History, *, stage: str, store: "Store") -> Manifest:
    """Writes `curves.json` as an artifact of kind "curves"."""
    document = json.dumps(history.to_json(), allow_nan=False).encode()
    metadata = {"stage": stage, "epochs": len(history.epochs), "best_epoch": history.best_epoch}
    return publish(artifact_path, kind="curves", files={FILE: document}, metadata=metadata, store=store)


def result_facts(history: History) -> dict[str, float]:
    """What a stage logs: epochs trained, the epoch kept, and its validation top-1 and loss where there are any."""
    facts = {"epochs_trained": float(max(len(history.epochs) - 1, 0)), "best_epoch": float(history.best_epoch or 0)}
    best = history.best() or {}
    return facts | {name: best[name] for name in ("validation_top1", "validation_loss") if best.get(name) is not None}


def loss_figure(history: History) -> Figure:
    """Training and validation loss over epochs."""
    return figure(
        line_chart(
            {
                "training": _points(history, "train_loss"),
                "validation": _points(history, "validation_loss"),
            },
            title="Loss",
            x="epoch",
            y="loss",
            highlight=_highlight(history),
        ),
        "Training loss is the mean over the epoch's steps, validation loss that of the weights after it, without "
        "label smoothing and distillation. Epoch 0 is before the first step; the marked epoch was kept.",
    )


def metric_figure(history: History) -> Figure:
    """The validation metric over epochs."""
    return figure(
        line_chart(
            {"validation": _points(history, "validation_top1")},
            title="Validation top-1",
            x="epoch",
            y="top-1",
            percent=True,
            highlight=_highlight(history),
        ),
        "Of the weights that would be saved (the moving average, where there is one).",
    )


def learning_rate_figure(history: History) -> Figure:
    """The learning rate of the head over optimizer steps."""
    points = [(float(step["step"]), float(step["learning_rate"])) for step in history.to_json()["steps"]]
    return figure(line_chart({"learning rate": points}, title="Learning rate", x="optimizer step", y="learning rate"))


def epochs_table(history: History) -> Table:
    """Losses and metric of each epoch; the one that was kept stands out."""
    rows = [
        [epoch["epoch"], epoch["train_loss"], epoch["validation_loss"], percent(epoch["validation_top1"])]
        for epoch in history.epochs
    ]
    marked = [number for number, epoch in enumerate(history.epochs) if epoch["epoch"] == history.best_epoch]
    return table(["epoch", "training loss", "validation loss", "validation top-1"], rows, marked=marked)


def _points(history: History, name: str) -> list[tuple[float, float]]:
    return [(float(epoch["epoch"]), float(epoch[name])) for epoch in history.epochs if epoch[name] is not None]


def _highlight(history: History) -> Mapping[str, float] | None:
    return None if history.best_epoch is None else {"validation": float(history.best_epoch)}
