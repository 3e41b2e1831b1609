"""The page of a distillation run."""

from pathlib import Path
from typing import Any

from components.core.report.numbers import percent
from components.core.report.page import Columns, Section, facts, write_page
from components.core.tasks.images.preprocess import Preprocess
from components.core.training.curves import epochs_table, learning_rate_figure, loss_figure, metric_figure
from components.core.training.history import History
from components.distill.distillation import DistillConfig


def write_distillation_page(path: str | Path, history: History, config: DistillConfig, preprocess: Preprocess) -> None:
    """Result, curves and the epochs as a table."""
    best = history.best()
    result: dict[str, Any] = {"epoch kept": history.best_epoch, "epochs trained": len(history.epochs) - 1}
    lead = "There is no validation data; the last epoch was kept."
    validated = best is not None and best["validation_top1"] is not None
    if best is not None and validated:
        lead = f"Validation top-1 {percent(best['validation_top1'])} after epoch {history.best_epoch}."
        result |= {
            "validation top-1": percent(best["validation_top1"]),
            "before training": percent(history.epochs[0]["validation_top1"]),
        }
    asked = {
        "loss": f"{1 - config.alpha:g} · L₀ + {config.alpha:g} · T²·KL(teacher ‖ student), T = {config.temperature:g}",
        "student's input": f"{preprocess.image_size} px",
        "optimizer": f"{config.optimizer}, batch {config.batch_size}, weight decay {config.weight_decay:g}",
        "learning rate": f"{config.learning_rate:g}, {config.schedule}, × {config.layer_decay:g} per layer",
        "moving average": f"decay {config.ema_decay:g}" if config.ema_decay else "none",
        "seed": config.seed,
    }
    sections = [Section("Result", Columns((facts(result), facts(asked)))), Section("Loss", loss_figure(history))]
    if validated:
        sections.append(Section("Accuracy", metric_figure(history)))
    if history.steps:
        sections.append(Section("Learning rate", learning_rate_figure(history)))
    sections.append(Section("Epochs", epochs_table(history)))
    write_page(path, "Distillation", sections, eyebrow="distill", lead=lead)
