"""What a translator's pages show."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from components.core.data.batch import Batch
from components.core.evaluation.document import Evaluation
from components.core.report.page import Section
from components.core.tasks.card import CardText

if TYPE_CHECKING:
    from components.core.data.dataset import Dataset
    from components.core.tasks.translation.assets import TranslationAssets


class TranslationPages:
    """See `components.core.tasks.base.Pages`."""

    def sample(
        self, row: Mapping[str, Any], batch: Batch, predictions: Mapping[str, Sequence[str]], dataset: "Dataset"
    ) -> dict[str, Any]:
        """The translations of both models."""
        return {name: found[0] for name, found in predictions.items()}

    def said(self, predictions: Sequence[str], classes: Sequence[str]) -> str:
        """The translation."""
        return predictions[0]

    def evaluation_sections(self, evaluation: Evaluation, *, candidate: str = "candidate") -> list[Section]:
        """Nothing yet."""
        return []

    def card_text(self, evaluation: Evaluation, assets: "TranslationAssets", provenance: Mapping[str, Any]) -> CardText:
        """What it translates."""
        return CardText(
            intro=f"A translator from {assets.source_language} to {assets.target_language}.",
            figures="",
            use="",
            limits=(),
        )

    def log_metrics(self, evaluation: Evaluation, visualization: Any) -> None:
        """Nothing: there is no confusion matrix."""
