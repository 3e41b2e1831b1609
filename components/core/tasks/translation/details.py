"""Notes on a translator, taken while it is evaluated: figures by length, and errors that need no reader to see."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from components.core.data.batch import Batch
from components.core.tasks.translation import metrics
from components.core.tasks.translation.cleaning import normalized, same_markup, same_numbers
from components.core.tasks.translation.examples import Reference
from components.core.tasks.translation.lengths import LENGTHS, length_group, num_words

_SPARE_WORDS = 3

ERRORS = {
    "empty": "nothing was written",
    "copied": "the source sentence, where the reference is another",
    "placeholders": "other placeholders, tags or addresses than the source, where the reference has the same",
    "numbers": "other numbers than the source, where the reference has the same",
    "too long": f"more than twice the reference's words and {_SPARE_WORDS} more, as when a network repeats itself",
}
"""Kinds of errors, with their meaning."""


def errors_of(translation: str, reference: Reference) -> list[str]:
    """Which of `ERRORS` a translation has. One that the reference has too is none: then the data are so."""
    source, said = reference.source, normalized(translation)
    if not said:
        return ["empty"] if normalized(reference) else []
    found = []
    if said == normalized(source) != normalized(reference):
        found.append("copied")
    for kind, same in (("placeholders", same_markup), ("numbers", same_numbers)):
        if same(source, reference) and not same(source, said):
            found.append(kind)
    if num_words(said) > 2 * num_words(reference) + _SPARE_WORDS:
        found.append("too long")
    return found


class TranslationDetails:
    """Sums by length and counts of errors, batch by batch; memory does not grow with the rows."""

    def __init__(self) -> None:
        self._errors = dict.fromkeys(ERRORS, 0)
        self._sums = np.zeros((len(LENGTHS), metrics.SIZE))
        self._rows = np.zeros(len(LENGTHS), dtype=np.int64)
        self._words = {"translations": 0, "references": 0}

    def add(self, outputs: Mapping[str, Any], predictions: Sequence[str], batch: Batch) -> None:
        """One batch: the translations, and as targets a `Reference` each."""
        statistics = metrics.statistics(predictions, batch.targets)
        for translation, reference, row in zip(predictions, batch.targets, statistics, strict=True):
            for kind in errors_of(translation, reference):
                self._errors[kind] += 1
            group = length_group(reference.source)
            self._sums[group] += row
            self._rows[group] += 1
            self._words["translations"] += num_words(translation)
            self._words["references"] += num_words(reference)

    def finish(self) -> dict[str, Any]:
        """`errors` (sentences of each kind), `lengths` (sentences and each metric, None without any), `words`.

        And sacrebleu's `signatures` of the metrics.
        """
        return {
            "errors": dict(self._errors),
            "lengths": [
                {
                    "length": name,
                    "rows": int(self._rows[number]),
                    **{
                        metric.name: float(metric.reduce(self._sums[number])) if self._rows[number] else None
                        for metric in metrics.METRICS
                    },
                }
                for number, name in enumerate(LENGTHS)
            ],
            "words": dict(self._words),
            "signatures": metrics.signatures(),
        }
