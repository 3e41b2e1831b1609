"""The page of a fine-tuning run."""

from pathlib import Path

from components.core.training.curves import describe_training, training_page
from components.core.training.history import History
from components.fine_tune.tuning import FineTuneConfig


def write_tuning_page(
    path: str | Path, history: History, config: FineTuneConfig, *, general: str = "", data: str = ""
) -> None:
    """Result, curves and the epochs as a table.

    `general`: what became of answers to inputs outside of the data. `data`: `Dataset.description`.
    """
    head = next((phase for phase in history.phases if phase["name"] == "head"), None)
    result = {}
    if head is not None:
        result["head first"] = f"{head['epochs']} epochs on the frozen features of {head['rows']:,} rows"
    if general:
        result["outside of the data"] = general
    training_page(
        path,
        history,
        title="Fine-tuning",
        stage="fine_tune",
        asked={**describe_training(config), "label smoothing": config.label_smoothing},
        result=result,
        data=data,
    )
