"""Scripts and languages of texts: which script a language is written in, and which language a text is in."""

import re
import unicodedata
from collections import Counter
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING, Any

from components.core.errors import UserError

if TYPE_CHECKING:
    from components.core.data.dataset import Dataset

MIN_LETTERS = 40
"""Shorter texts are not identified: on interface texts the identifier is wrong as often as the translator."""
MIN_PROBABILITY = 0.9

_LONGEST = 100
"""Characters of a language's code."""

_SCRIPTS = {
    "CYRILLIC": "be bg kk ky mk mn ru tg uk",
    "GREEK": "el",
    "ARABIC": "ar fa ps ug ur",
    "HEBREW": "he yi",
    "DEVANAGARI": "hi mr ne sa",
    "BENGALI": "as bn",
    "TAMIL": "ta",
    "TELUGU": "te",
    "THAI": "th",
    "GEORGIAN": "ka",
    "ARMENIAN": "hy",
    "HANGUL": "ko",
    "CJK": "ja zh",
    "HIRAGANA": "ja",
    "KATAKANA": "ja",
    "LATIN": (
        "af ca cs cy da de en es et eu fi fr ga gl hr hu id is it lt lv ms mt nb nl nn no pl pt ro sk sl sq sv sw tr vi"
    ),
}


def languages_of(dataset: "Dataset") -> tuple[str, str]:
    """Source and target language of the data set, as its manifest says.

    Raises:
        UserError: it does not say, or not by two short names.
    """
    stated = dataset.manifest.metadata.get("languages")
    if not isinstance(stated, list) or len(stated) != 2 or not all(map(is_language, stated)):
        raise UserError("the data set does not state its languages; prepare it again")
    return stated[0], stated[1]


def is_language(value: Any) -> bool:
    """Whether it can be a language's code: one short line."""
    return isinstance(value, str) and len(value) <= _LONGEST and value.isprintable()


def code_of(name: str) -> str:
    """A language's code in one spelling: "pt_BR" and "pt-br" are "pt-br"; what follows "@" or "." is left out."""
    return re.split(r"[@.]", name.strip())[0].replace("_", "-").lower()


@cache
def codes_of(language: str) -> tuple[str, ...]:
    """Codes by which files and columns may name the language, the exact one first: "pt-br", "pt"."""
    code = code_of(language)
    return tuple(dict.fromkeys((code, code.split("-")[0])))


@cache
def expected_scripts(language: str) -> frozenset[str]:
    """Scripts that the language is written in, by the names of `script_of`; empty when it is not known here."""
    code = language.split("-")[0].lower()
    return frozenset(script for script, codes in _SCRIPTS.items() if code in codes.split())


_COMMON = ("MASCULINE", "FEMININE", "MICRO", "MODIFIER", "SCRIPT", "DOUBLE-STRUCK", "INFORMATION")
"""Letters of no script in particular: º, ª, µ, ℹ."""


@cache
def script_of(letter: str) -> str:
    """The script as the first word of the letter's Unicode name: "LATIN", "CYRILLIC", "CJK"; empty for º, ª, µ."""
    word = unicodedata.name(letter, "UNKNOWN").split()[0]
    return "" if word in _COMMON else word


def mixes_scripts(text: str) -> bool:
    """Whether more than a tenth of the letters are of other scripts than most of them; Japanese's three are one."""
    scripts = (script_of(char) for char in text if char.isalpha())
    found = Counter("CJK" if script in ("HIRAGANA", "KATAKANA") else script for script in scripts if script)
    return bool(found) and 10 * (found.total() - max(found.values())) > found.total()


_LOADING = Lock()


def _identifier() -> Any:
    # Rows are checked in many threads; without the lock each of the first ones would load the model.
    with _LOADING:
        return _loaded()


@cache
def _loaded() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def identified(text: str) -> str | None:
    """Two-letter code of the text's language; None when it is too short or the answer uncertain.

    langid.py's method, in the package py3langid (Lui and Baldwin 2012, P12-3005).
    """
    if sum(char.isalpha() for char in text) < MIN_LETTERS:
        return None
    language, probability = _identifier().classify(text)
    return str(language) if probability >= MIN_PROBABILITY else None
