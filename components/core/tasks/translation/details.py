"""What is noted of one translator while it is evaluated: translations that are empty, copied, or lack a placeholder."""

from collections.abc import Mapping, Sequence
from typing import Any

from components.core.data.batch import Batch
from components.core.tasks.translation.metrics import signatures


class TranslationDetails:
    """Counts, batch by batch."""

    def __init__(self) -> None:
        self._rows = self._empty = self._copied = 0

    def add(self, outputs: Mapping[str, Any], predictions: Sequence[str], batch: Batch) -> None:
        """One batch: translations, and references that know their sources."""
        self._rows += len(predictions)
        for found, reference in zip(predictions, batch.targets, strict=True):
            self._empty += not found.strip()
            self._copied += found.strip() == reference.source.strip() != str(reference).strip()

    def finish(self) -> dict[str, Any]:
        """`rows`, `empty`, `copied`, and sacrebleu's `signatures`."""
        return {"rows": self._rows, "empty": self._empty, "copied": self._copied, "signatures": signatures()}
