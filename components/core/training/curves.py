"""A training history as an artifact and as figures."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.core.artifacts.manifest import Manifest, publish
from components.core.numbers import MISSING, percent
from components.core.report.figures import line_chart
from components.core.report.page import Columns, Figure, Section, Table, facts, figure, table, write_page
from components.core.training.config import TrainingConfig
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
    """Figures that a stage logs: epochs trained, the epoch kept, and its validation metric and loss if it has any."""
    facts = {"epochs_trained": float(max(len(history.epochs) - 1, 0)), "best_epoch": float(history.best_epoch or 0)}
    best = history.best() or {}
    if best.get("validation_metric") is not None:
        facts[f"validation_{history.metric['name']}"] = best["validation_metric"]
        facts["validation_loss"] = best["validation_loss"]
    if (padding := _padding(history)) is not None:
        facts["padding_fraction"] = padding
    return facts


def written(history: History, value: float | None) -> str:
    """A value of the metric as people read it."""
    if history.metric.get("percent", True):
        return percent(value)
    return MISSING if value is None else f"{value:.2f}"


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
            {"validation": _points(history, "validation_metric")},
            title=f"Validation {history.metric['label']}",
            x="epoch",
            y=history.metric["label"],
            percent=history.metric["percent"],
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
        [epoch["epoch"], epoch["train_loss"], epoch["validation_loss"], written(history, epoch["validation_metric"])]
        for epoch in history.epochs
    ]
    marked = [number for number, epoch in enumerate(history.epochs) if epoch["epoch"] == history.best_epoch]
    return table(
        ["epoch", "training loss", "validation loss", f"validation {history.metric.get('label', 'metric')}"],
        rows,
        marked=marked,
    )


def layer_rates_table(history: History) -> Table:
    """Each layer's factor on the learning rate, epoch by epoch, from the stem to the head."""
    layers = list(history.layer_rates[0]["factors"])
    return table(
        ["layer", *(f"epoch {one['epoch']}" for one in history.layer_rates)],
        [[layer, *(_factor(one["factors"][layer]) for one in history.layer_rates)] for layer in layers],
    )


def _factor(value: float) -> str:
    return f"{value:.3f}" if value else "frozen"


def training_page(
    path: str | Path,
    history: History,
    *,
    title: str,
    stage: str,
    asked: Mapping[str, Any],
    result: Mapping[str, Any],
    data: str = "",
) -> None:
    """The page of a training run: result, curves and the epochs as a table.

    Args:
        path: the file to write.
        history: what happened.
        title: of the page.
        stage: its name, shown above the title.
        asked: what was asked for, by title.
        result: what the stage adds to the result, by title.
        data: what must be said of the rows (`Dataset.description`).
    """
    best = history.best()
    shown: dict[str, Any] = {"epoch kept": history.best_epoch, "epochs trained": len(history.epochs) - 1}
    lead = "There is no validation data; the last epoch was kept."
    validated = best is not None and best["validation_metric"] is not None
    if best is not None and validated:
        label, value = history.metric["label"], written(history, best["validation_metric"])
        lead = f"Validation {label} {value} after epoch {history.best_epoch}."
        shown |= {
            f"validation {label}": value,
            "validation loss": best["validation_loss"],
            "before training": written(history, history.epochs[0]["validation_metric"]),
        }
    if (padding := _padding(history)) is not None:
        shown["padding in batches"] = percent(padding, digits=1)
    sections = [
        Section("Result", Columns((facts({**shown, **result}), facts(asked)))),
        Section("Loss", loss_figure(history)),
    ]
    if validated:
        sections.append(Section(f"Validation {history.metric['label']}", metric_figure(history)))
    if history.steps:
        sections.append(Section("Learning rate", learning_rate_figure(history)))
    if history.layer_rates:
        sections.append(Section("Layers", layer_rates_table(history)))
    sections.append(Section("Epochs", epochs_table(history)))
    write_page(path, title, sections, eyebrow=stage, lead=lead, data=data)


def describe_training(config: TrainingConfig) -> dict[str, Any]:
    """The settings of a training stage, by title."""
    batch = f"at most {config.batch_tokens:,} elements" if config.batch_tokens else str(config.batch_size)
    return {
        "optimizer": f"{config.optimizer}, batch {batch}, weight decay {config.weight_decay:g}",
        "learning rate": f"{config.learning_rate:g}, {config.schedule}, {_by_layer(config)}",
        "moving average": f"decay {config.ema_decay:g}" if config.ema_decay else "none",
        "seed": config.seed,
    }


def _by_layer(config: TrainingConfig) -> str:
    if config.layer_rates == "auto_rgn":
        return "by relative gradient norm in each layer (auto_rgn)"
    return f"× {config.layer_decay:g} per layer" + (", unfrozen gradually" if config.layer_rates == "gradual" else "")


def _padding(history: History) -> float | None:
    """The share of the batches that was padding, where a training counted elements."""
    found = (phase.get("padding_fraction") for phase in history.phases)
    return next((share for share in found if share is not None), None)


def _points(history: History, name: str) -> list[tuple[float, float]]:
    return [(float(epoch["epoch"]), float(epoch[name])) for epoch in history.epochs if epoch[name] is not None]


def _highlight(history: History) -> Mapping[str, float] | None:
    return None if history.best_epoch is None else {"validation": float(history.best_epoch)}
