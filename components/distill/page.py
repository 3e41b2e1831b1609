"""The page of a distillation run."""

from pathlib import Path
from typing import TYPE_CHECKING

from components.core.training.curves import describe_training, training_page
from components.core.training.history import History
from components.distill.distillation import DistillConfig

if TYPE_CHECKING:
    from components.core.tasks.base import Assets


def write_distillation_page(
    path: str | Path, history: History, config: DistillConfig, assets: "Assets", *, recipe: str, data: str = ""
) -> None:
    """Result, curves and the epochs as a table; `data`: `Dataset.description`."""
    over = f" per {config.distillation}" if config.distillation else ""
    soft = f"T²·KL(teacher ‖ student){over}, T = {config.temperature:g}"
    loss = f"{1 - config.alpha:g} · L₀ + {config.alpha:g} · {soft}"
    training_page(
        path,
        history,
        title=f"Distillation: {recipe}",
        stage="distill",
        asked={"loss": loss, "student's input": assets.describe().get("input", ""), **describe_training(config)},
        result={},
        data=data,
    )
