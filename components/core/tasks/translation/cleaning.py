"""Rules that a sentence pair must pass; each has a name under which what it refuses is counted.

Texts are normalised first (`normalized`), so that a rule sees what training would see. The limits are those of
Mozilla's pipeline (mozilla/translations, clean_parallel.py) where it has one.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from components.core.data.ingestion.items import Rejection
from components.core.tasks.translation.languages import expected_scripts, identified, script_of
from components.core.tasks.translation.pairs import Pair
from components.core.tasks.translation.parameters import MAX_WORDS
from components.core.tasks.translation.shifts import SHIFTED
from components.core.unicode_forms import composed

MAX_CHARACTERS = 4000
"""At `MAX_WORDS`; more words may have more characters."""
LENGTH_RATIO, LETTER_SHARE = 0.5, 0.5
_SHORT = 10
"""Added to both lengths before they are compared: "OK" and "Aceitar" are no mistake."""

REASONS = {
    "no source": "there is no source sentence",
    "no target": "there is no translation",
    "identical": "source and target are the same",
    "control characters": "a text holds characters that are no text",
    "encoding damage": "a text was decoded in the wrong encoding (Ã© for é), or holds replacement characters",
    "too long": f"more words than max_words ({MAX_WORDS} unless said), or too many characters",
    "length ratio": f"one side has less than {LENGTH_RATIO:g} of the other's length",
    "few letters": f"less than {LETTER_SHARE:g} of the characters are letters",
    "numbers differ": "the two sides hold other numbers",
    "URLs differ": "the two sides hold other web or mail addresses",
    "placeholders differ": "the two sides hold other placeholders or tags",
    "wrong script": "most letters belong to another script than the language's",
    "wrong language": "the text is in another language",
}

_URL = re.compile(r"\b(?:https?|ftp)://[^\s<>\"'»”)\]]+|\bwww\.[^\s<>\"'»”)\]]+|(?<![\w.+-])[\w.+-]+@[\w-]+\.[\w.-]*\w")
_PLACEHOLDER = re.compile(
    r"(?<![\d%])%(?:\(\w+\)|\{\w+\}|\d+\$)?[-+#0]*\d*(?:\.\d+)?(?:hh|h|ll|l|z)?[diouxXeEfFgGcsr](?![a-z])"
    r"|%[A-Z][A-Z0-9_]{2,}"
    r"|\$?\{[\w.:-]*\}|\$\(\w+\)|\$\w+"
    r"|</?[A-Za-z][\w:-]*(?=[\s/>])|&[a-z]+;"
)
_DIGITS = re.compile(r"\d+(?:[.,'\u00a0\u202f]\d+)*")
_NOT_DIGITS = re.compile(r"\D")
_DAMAGED_RUN = re.compile(r"[ÂÃâÄÅÐÑ][^\x00-\x7f]+")
_WHITESPACE = re.compile(r"\s+")
_TAG = re.compile(r"<[^<>]*>")


def normalized(text: str) -> str:
    """NFC, with every run of white space as one space, and none at the ends."""
    return _WHITESPACE.sub(" ", composed(text)).strip()


@dataclass(frozen=True, kw_only=True)
class CleaningRules:
    """Which rules are applied, and to which languages.

    Attributes:
        source, target: language codes, "en", "pt-BR"; empty: scripts and languages are not checked.
        skipped: names of rules that are left out. "no source" and "no target" cannot be.
        max_words: of either side.

    Raises:
        ValueError: an unknown rule, or `max_words` below 1.
    """

    source: str = ""
    target: str = ""
    skipped: tuple[str, ...] = ()
    max_words: int = MAX_WORDS

    def __post_init__(self) -> None:
        known = [*(name for name, _ in _RULES), SHIFTED]
        for name in self.skipped:
            if name not in known:
                raise ValueError(f"unknown cleaning rule {name!r}; rules: {', '.join(known)}")
        if self.max_words < 1:
            raise ValueError(f"max_words must be at least 1, got {self.max_words}")

    def check(self, pair: Pair) -> tuple[str, str] | Rejection:
        """Source and target, normalised; or the first rule that refuses them, the cheap ones first."""
        if pair.problem is not None and pair.problem.reason not in self.skipped:
            return pair.problem
        source, target = normalized(pair.source or ""), normalized(pair.target or "")
        if not source or not target:
            return Rejection("no target", source[:80]) if source else Rejection("no source", target[:80])
        for name, refused in _RULES:
            if name not in self.skipped and (detail := refused(source, target, self)) is not None:
                return Rejection(name, detail)
        return source, target


def content_key(source: str) -> str:
    """Equal for sources that differ in case, digits, punctuation and white space only: near duplicates.

    Rows of one key belong into one split; so do all translations of one source.
    """
    folded = composed(source, "NFKC").casefold()
    kept = "".join("0" if char.isdigit() else char if char.isalpha() else " " for char in folded)
    return re.sub("0+", "0", " ".join(kept.split())) or folded


def same_markup(first: str, second: str) -> bool:
    """Whether two texts hold the same placeholders, tags and addresses."""
    return _difference(_markup(first), _markup(second)) is None


def same_numbers(first: str, second: str) -> bool:
    """Whether two texts hold the same numbers, however they are written."""
    return _difference(_numbers_of(first), _numbers_of(second)) is None


def _bare(url: str) -> str:
    """Without the punctuation around it."""
    return url.rstrip(".,;:!?").lstrip(".+-")


def _markup(text: str) -> list[str]:
    urls = [_bare(url) for url in _URL.findall(text)]
    return [*urls, *_PLACEHOLDER.findall(_URL.sub(" ", text))]


# Rules: the detail of a refusal, or None.


def _identical(source: str, target: str, _: CleaningRules) -> str | None:
    return source[:80] if source == target else None


def _control(source: str, target: str, _: CleaningRules) -> str | None:
    for char in source + target:
        if unicodedata.category(char) in ("Cc", "Co", "Cs", "Cn"):
            return f"U+{ord(char):04X}"
    return None


def _damaged(source: str, target: str, _: CleaningRules) -> str | None:
    for text in (source, target):
        if "\ufffd" in text:
            return "U+FFFD"
        for run in _DAMAGED_RUN.findall(text):
            # What UTF-8 becomes when it is read as Windows-1252 turns back into fewer characters.
            if (mended := _mended(run)) is not None:
                return f"{run[:20]!r} for {mended[:20]!r}"
    return None


def _mended(run: str) -> str | None:
    data = bytearray()
    for char in run:
        try:
            data += char.encode("cp1252")
        except UnicodeEncodeError:
            if ord(char) > 255:
                return None
            data.append(ord(char))
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _too_long(source: str, target: str, rules: CleaningRules) -> str | None:
    for text in (source, target):
        words = text.count(" ") + 1
        if words > rules.max_words or len(text) > MAX_CHARACTERS * max(1, rules.max_words / MAX_WORDS):
            return f"{words} words, {len(text)} characters"
    return None


def _ratio(source: str, target: str, _: CleaningRules) -> str | None:
    shorter, longer = sorted((_width(source), _width(target)))
    return f"{shorter} against {longer}" if (shorter + _SHORT) / (longer + _SHORT) < LENGTH_RATIO else None


def _width(text: str) -> int:
    """Characters, an ideograph or syllable as two: it says as much as that many letters."""
    return len(text) + sum(unicodedata.east_asian_width(char) in "WF" for char in text)


def _few_letters(source: str, target: str, _: CleaningRules) -> str | None:
    for text in (source, target):
        # Marks belong to letters: Hindi's vowels are marks.
        bare = _TAG.sub("", _PLACEHOLDER.sub("", _URL.sub("", text))).replace(" ", "")
        letters = sum(unicodedata.category(char)[0] in "LM" for char in bare)
        if letters < LETTER_SHARE * len(bare) or not letters:
            return text[:80]
    return None


def _numbers(source: str, target: str, _: CleaningRules) -> str | None:
    return _difference(*(_numbers_of(text) for text in (source, target)))


def _numbers_of(text: str) -> list[str]:
    bare = _PLACEHOLDER.sub(" ", _URL.sub(" ", text))
    # 1,000.5 and 1.000,5 are one number; so are ٣ and 3.
    runs = (_NOT_DIGITS.sub("", run) for run in _DIGITS.findall(bare))
    return ["".join(str(unicodedata.digit(digit)) for digit in run) for run in runs]


def _urls(source: str, target: str, _: CleaningRules) -> str | None:
    return _difference(*([_bare(url) for url in _URL.findall(text)] for text in (source, target)))


def _placeholders(source: str, target: str, _: CleaningRules) -> str | None:
    return _difference(*(_PLACEHOLDER.findall(_URL.sub(" ", text)) for text in (source, target)))


def _difference(ours: Iterable[str], theirs: Iterable[str]) -> str | None:
    first, second = Counter(ours), Counter(theirs)
    if first == second:
        return None
    missing, more = sorted(first - second), sorted(second - first)
    said = [f"{words}: {', '.join(items)}" for words, items in (("only in source", missing), ("only in target", more))]
    return "; ".join(text[:60] for text, items in zip(said, (missing, more), strict=True) if items)


def _script(source: str, target: str, rules: CleaningRules) -> str | None:
    for text, language in ((source, rules.source), (target, rules.target)):
        expected = expected_scripts(language)
        found = Counter(script for char in text if char.isalpha() and (script := script_of(char)))
        if expected and sum(found[script] for script in expected) < 0.5 * found.total():
            return f"{found.most_common(1)[0][0].lower()} for {language}: {text[:60]}"
    return None


def _language(source: str, target: str, rules: CleaningRules) -> str | None:
    for text, language in ((source, rules.source), (target, rules.target)):
        if language and (found := identified(text)) is not None and found != language.split("-")[0].lower():
            return f"{found} for {language}: {text[:60]}"
    return None


_RULES: tuple[tuple[str, Callable[[str, str, CleaningRules], str | None]], ...] = (
    ("identical", _identical), ("too long", _too_long), ("control characters", _control),
    ("encoding damage", _damaged), ("length ratio", _ratio), ("few letters", _few_letters),
    ("URLs differ", _urls), ("placeholders differ", _placeholders), ("numbers differ", _numbers),
    ("wrong script", _script), ("wrong language", _language),
)  # fmt: skip
