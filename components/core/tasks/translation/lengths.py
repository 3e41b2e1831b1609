"""Lengths of sentences in groups: figures by length, the data's histogram, and the mix that drift compares."""

from collections.abc import Iterable
from itertools import pairwise

import numpy as np

_ENDS = (3, 7, 15, 30)
"""Words up to which a group reaches; the last group is open."""

LENGTHS = (
    f"1–{_ENDS[0]} words",
    *(f"{low + 1}–{high} words" for low, high in pairwise(_ENDS)),
    f"over {_ENDS[-1]} words",
)
"""Names of the groups, from short to long."""


def num_words(text: str) -> int:
    """Runs of characters between white space. A text without any white space, as in Chinese, counts as one."""
    return len(text.split())


def length_group(text: str) -> int:
    """Index into `LENGTHS` by the text's words."""
    return int(np.searchsorted(_ENDS, num_words(text)))


def histogram(texts: Iterable[str]) -> list[int]:
    """How many of the texts are in each of `LENGTHS`."""
    counts = [0] * len(LENGTHS)
    for text in texts:
        counts[length_group(text)] += 1
    return counts
