"""Facts in a data set's manifest, checked when it is opened: whoever may write to the store may write others."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from components.core.data.ingestion.labels import LONGEST_STORED, is_name
from components.core.data.slices import MAX_CHARACTERS, MAX_VALUES
from components.core.errors import UserError

_KINDS = {"task": str, "classes": list, "counts": dict, "class_counts": dict, "fingerprint": str}
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
_SHORT = 300
"""Characters of a remark that stands beside each figure."""

_LARGEST = 2**53
"""Above it a float no longer names one whole number."""


def check_facts(facts: Mapping[str, Any], splits: Sequence[str]) -> None:
    """Refuses facts that stages could not use, or that are no names and remarks to be shown.

    Args:
        facts: the manifest's metadata. A task's own facts (levels, colours, languages) are checked by the task.
        splits: names of the splits.

    Raises:
        UserError: the first fact that is missing or wrong, by name.
    """
    for name, kind in _KINDS.items():
        if not isinstance(facts.get(name), kind):
            raise UserError(f"the dataset's manifest has no {name}, or another kind of it; prepare the data again")
    if not _counts_splits(facts["counts"], splits):
        raise UserError("the dataset's manifest does not count the rows of each split; prepare the data again")
    for name in ("description", "licence"):
        if not is_remark(facts.get(name, "")):
            raise _wrong(name, f"one line of at most {_SHORT} characters")
    classes, counted = facts["classes"], facts["class_counts"]
    if not all(is_name(name) for name in classes) or len(set(classes)) < len(classes):
        raise _wrong("list of classes", f"one of different names of at most {LONGEST_STORED} characters")
    if counted.keys() != (set(splits) if classes or counted else set()) or not all(
        isinstance(numbers, list) and len(numbers) == len(classes) and all(map(_is_count, numbers))
        for numbers in counted.values()
    ):
        raise _wrong("class_counts", "a number for each class in each split")
    if not _FINGERPRINT.fullmatch(facts["fingerprint"]):
        raise _wrong("fingerprint", "a sha256 in hex")
    if not _is_slices(facts.get("slices", {}), splits):
        raise _wrong("list of slices", "one that counts the rows of each value in each split")


def is_remark(value: Any) -> bool:
    """Whether it is one printable line of at most 300 characters."""
    return isinstance(value, str) and len(value) <= _SHORT and value.isprintable()


def _wrong(name: str, wanted: str) -> UserError:
    return UserError(f"the dataset's manifest has a {name} that is not {wanted}; prepare the data again")


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _LARGEST


def _counts_splits(counts: Any, splits: Sequence[str]) -> bool:
    return isinstance(counts, dict) and counts.keys() == set(splits) and all(map(_is_count, counts.values()))


def _is_slices(slices: Any, splits: Sequence[str]) -> bool:
    return isinstance(slices, dict) and all(
        is_name(column)
        and isinstance(values, dict)
        and len(values) <= MAX_VALUES
        and all(is_name(value, MAX_CHARACTERS) and _counts_splits(counts, splits) for value, counts in values.items())
        for column, values in slices.items()
    )
