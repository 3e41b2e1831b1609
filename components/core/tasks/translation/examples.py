"""From a stored row to a batch: a sentence and its translation, as piece numbers."""

import hashlib
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from components.core.data.batch import Batch, Draws, Example
from components.core.errors import UserError
from components.core.tasks.translation.serving import padded
from components.core.tasks.translation.vocabulary import Vocabulary

SOURCE, TARGET = "source", "target"
"""Inputs of the network, by name."""
TEXT, TRANSLATION = "text", "translation"
"""Columns of a stored row; `source` there is where the row is from."""

_MOST_CHARACTERS = 1_000_000
"""Of a text, whatever the preparation let pass: a batch is as long as its longest sentence."""


class Reference(str):
    """A reference translation that knows its source sentence: what a release's answer is compared with."""

    source: str

    def __new__(cls, translation: str, *, source: str) -> "Reference":
        """The text of `translation`."""
        made = super().__new__(cls, translation)
        made.source = source
        return made


@dataclass(frozen=True, kw_only=True)
class SentencePairs:
    """The transform of the task: inputs source `(N, S)` and target `(N, T)` int64, targets `(N, T)`, weight bool.

    Rows end and are padded with eos; `weight` is true up to a target's first eos, which counts: the network must learn
    to end. The network shifts its second input itself, so that it never sees the piece it is to say.

    With `full_size` the targets are the reference sentences themselves, a list of N `Reference`, without a weight:
    a release is judged by text.
    """

    vocabulary: Vocabulary
    full_size: bool = False

    columns = (TEXT, TRANSLATION)

    @cached_property
    def key(self) -> Hashable:
        files = sorted(self.vocabulary.to_files().items())
        return ("translation", *(hashlib.sha256(data).hexdigest() for _, data in files), self.full_size)

    def decode(self, row: Mapping[str, Any]) -> Example:
        """Pieces of the source and of the target as int32; with `full_size` the target's text."""
        for name in self.columns:
            if len(row[name]) > _MOST_CHARACTERS:
                raise UserError(
                    f"the {name} of the row {row.get('digest', '')[:12]} in the data set has {len(row[name]):,} "
                    f"characters, more than {_MOST_CHARACTERS:,}; prepare the data again"
                )
        source = np.array(self.vocabulary.encode(row[TEXT]), dtype=np.int32)
        if self.full_size:
            return source, Reference(row[TRANSLATION], source=row[TEXT])
        return source, np.array(self.vocabulary.encode_target(row[TRANSLATION]), dtype=np.int32)

    def lengths(self, example: Example) -> tuple[int, int]:
        """Pieces of the source and of the target."""
        source, target = example
        return len(source), len(target)

    def draw(self, rng: np.random.Generator, count: int) -> Draws:
        """Nothing: the texts are used as they are."""
        return {}

    def collate(self, examples: Sequence[Example], digests: list[str], draws: Draws | None) -> Batch:
        eos = self.vocabulary.eos
        source = padded([pieces for pieces, _ in examples], eos)
        if self.full_size:
            return Batch(inputs={SOURCE: source}, targets=[text for _, text in examples], digests=digests)
        target = padded([pieces for _, pieces in examples], eos)
        lengths = np.array([len(pieces) for _, pieces in examples], dtype=np.int64)
        weight = np.arange(target.shape[1]) < lengths[:, None]
        return Batch(inputs={SOURCE: source, TARGET: target}, targets=target, weight=weight, digests=digests)
