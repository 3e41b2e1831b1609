"""Unicode's normal forms of text that may be hostile, in time that grows with its length."""

import unicodedata
from typing import Literal

_MOST_MARKS = 200
"""After one letter. Texts that people write have a few; sorting a million of them would take minutes."""


def composed(text: str, form: Literal["NFC", "NFD", "NFKC"] = "NFC") -> str:
    """The text in a normal form; as it is where more than `_MOST_MARKS` marks follow each other. (Unicode Standard
    Annex 15, whose "stream-safe" texts have at most 30.)"""
    if len(text) > _MOST_MARKS and not text.isascii() and _marks_without_end(text):
        return text
    return unicodedata.normalize(form, text)


def _marks_without_end(text: str) -> bool:
    marks = 0
    for character in text:
        marks = marks + 1 if unicodedata.combining(character) else 0
        if marks > _MOST_MARKS:
            return True
    return False
