"""Class names as people write them: one spelling for what looks the same, and what stands for "no label"."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from components.core.errors import UserError
from components.core.unicode_forms import composed

MOST_CHARACTERS = 200
"""Of a class's name: it stands in every report, card and release."""

LONGEST_STORED = 300
"""Of a name in an artifact: folders may have names of 255 characters, which are classes too."""

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")

MISSING = {"NaN", "nan", "NAN", "None", "null", "NULL", "Null", "<NA>", "N/A", "n/a", "-1", "-1.0"}
"""Texts that spreadsheets, pandas, JSON and Hugging Face write for a missing label."""


def class_name(text: str) -> str:
    """The name in Unicode's composed form (NFC): "Tür" is one class, whichever disk its folder comes from.

    Control characters become blanks: a name stands in logs and on terminals, as one line.
    """
    return without_controls(composed(text))


def without_controls(text: str) -> str:
    """Control characters, and Unicode's line and paragraph separators, as blanks."""
    return _CONTROLS.sub(" ", text)


def is_name(value: Any, most: int = LONGEST_STORED) -> bool:
    """Whether it is a text of at most so many characters without any that `without_controls` would change."""
    return isinstance(value, str) and len(value) <= most and _CONTROLS.search(value) is None


def check_lengths(names: Iterable[str], where: str) -> None:
    """Refuses a name of more than `MOST_CHARACTERS` characters; `where` begins the message.

    Raises:
        UserError: there is one.
    """
    for name in names:
        if len(name) > MOST_CHARACTERS:
            raise UserError(
                f"{where} has a class name of {len(name)} characters ({name[:40]!r}…); it has at most {MOST_CHARACTERS}"
            )


def label_of(text: str) -> str | None:
    """The class that a table's text names, without the blanks around it; None where it is `MISSING` or empty."""
    name = class_name(text).strip()
    return None if not name or name in MISSING else name


def twins(names: Iterable[str]) -> list[list[str]]:
    """Names that differ in case, blanks or number format only ("Bag" and "bag ", "0" and "0.0"), sorted."""
    alike: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        alike[_plain(name)].append(name)
    return sorted(sorted(group) for group in alike.values() if len(group) > 1)


def joined(names: Sequence[str]) -> list[str]:
    """Names such as "bag|boot" whose parts are names too: several labels of one row, in the order given."""
    known = set(names)
    apart = {name: [part.strip() for part in re.split(r"[|;,]", name)] for name in known}
    return [name for name in names if len(apart[name]) > 1 and known.issuperset(apart[name])]


def _plain(name: str) -> str:
    folded = "".join(composed(name, "NFKC").casefold().replace("_", " ").split())
    try:
        return f"{float(folded):g}" if folded.isascii() else folded
    except ValueError:
        return folded
