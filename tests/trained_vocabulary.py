"""A small vocabulary, trained on the made-up sentence pairs of the tests."""

from functools import cache
from pathlib import Path

from components.core.tasks.translation.vocabulary import SentencePieceVocabulary, train_vocabulary

TABLE = Path(__file__).parent / "core" / "tasks" / "translation" / "tiny.tsv"


def pairs() -> list[list[str]]:
    """Source and target of each row of the table."""
    return [line.split("\t") for line in TABLE.read_text(encoding="utf-8").splitlines()[1:]]


@cache
def vocabulary_of(size: int = 400) -> SentencePieceVocabulary:
    """Of both sides of the table."""
    return train_vocabulary((text for pair in pairs() for text in pair), size=size)
