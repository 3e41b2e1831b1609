"""Splits that come with the data: which names mean training, validation and test.

Used for folders (``train (1)``), tables (``train-00000-of-00002.parquet``), lists (``val.txt``) and the values of a
column ``split``.
"""

import re
from collections.abc import Iterable, Mapping

SPLIT_COLUMNS = ("split", "subset", "partition")
"""Names of a table's column that may hold a given split."""

_WORDS = {
    **dict.fromkeys(("train", "training", "trainval", "trainset", "trn"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "valset", "dev", "devel"), "validation"),
    **dict.fromkeys(("test", "testing", "testset", "tst", "holdout"), "test"),
    **dict.fromkeys(("eval", "evaluation"), "eval"),
}
_NOUNS = (
    r"(?:datas?|datasets?|sets?|images?|imgs?|pics?|pictures?|photos?|files?|samples?|folders?|dirs?|splits?|labels?)"
)
# "trainimages", "mytest", "imgval": no word that merely contains one, as "strainer", "valve" or "contest".
_JOINED = re.compile(rf"(?:my|cross|{_NOUNS})?({'|'.join(sorted(_WORDS, key=len, reverse=True))}){_NOUNS}?")


def split_words(name: str) -> set[str]:
    """The splits that words of a name stand for: train, validation, test, or eval, which may be either of the last two.

    ``Train-Images``, ``trainimages`` → train; ``train_val`` → train and validation; ``contrail`` → nothing.
    """
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    joined = (_JOINED.fullmatch(word) for word in re.findall(r"[a-z]+", spaced.lower()))
    return {_WORDS[found[1]] for found in joined if found}


def split_roles(names: Iterable[str]) -> dict[str, str]:
    """The split that each of several names stands for, as far as one does: train, validation or test.

    What names train and validation at once is for training. "eval" is the test split, or the validation split where
    another name says test.
    """
    found = {name: words for name in names if (words := split_words(name))}
    others = {word for words in found.values() for word in words}
    eval_means = "validation" if "test" in others and "validation" not in others else "test"

    def role(words: set[str]) -> str:
        if "train" in words:
            return "train"
        plain = {eval_means if word == "eval" else word for word in words}
        return "test" if "test" in plain else "validation"

    return {name: role(words) for name, words in found.items()}


def given_splits(names: Iterable[str]) -> Mapping[str, str]:
    """`split_roles` of names that are splits: two splits at least, and most of the names say one; else empty."""
    listed = list(names)
    roles = split_roles(listed)
    if len(set(roles.values())) < 2 or 2 * len(roles) <= len(listed):
        return {}
    return roles


def cell_split(value: object) -> str | None:
    """The split that a table's cell says; None for an empty cell. A word that is no split stays as it is."""
    if value is None or value != value or not str(value).strip():
        return None
    text = str(value).strip()
    return next(iter(split_roles([text]).values()), text)
