"""Cron expressions as KFP reads them: six fields, seconds first (robfig/cron v1).

KFP also takes five fields, but as seconds to months: `0 3 * * 1` would run all January. Here five fields are what
everybody means by them, and become six.
"""

import calendar
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from components.core.errors import UserError

_EXAMPLE = "for instance '0 3 * * 1' (Mondays at 3:00) or, with seconds, '0 0 3 * * 1'"
_SHORT = {
    "@hourly": "0 0 * * * *", "@daily": "0 0 0 * * *", "@midnight": "0 0 0 * * *", "@weekly": "0 0 0 * * 0",
    "@monthly": "0 0 0 1 * *", "@yearly": "0 0 0 1 1 *", "@annually": "0 0 0 1 1 *",
}  # fmt: skip
_MONTHS = {
    "jan": 1, "feb": 2, "mar": 3, "apr": 4, "may": 5, "jun": 6,
    "jul": 7, "aug": 8, "sep": 9, "oct": 10, "nov": 11, "dec": 12,
}  # fmt: skip
_WEEKDAYS = {"sun": 0, "mon": 1, "tue": 2, "wed": 3, "thu": 4, "fri": 5, "sat": 6}
_PART = re.compile(r"(?P<all>\*|\?)|(?P<first>\w+)(?:-(?P<last>\w+))?")


@dataclass(frozen=True, kw_only=True)
class _Field:
    name: str
    least: int
    most: int
    words: Mapping[str, int] = field(default_factory=dict)


_FIELDS = (
    _Field(name="seconds", least=0, most=59),
    _Field(name="minutes", least=0, most=59),
    _Field(name="hours", least=0, most=23),
    _Field(name="day of month", least=1, most=31),
    _Field(name="month", least=1, most=12, words=_MONTHS),
    _Field(name="day of week", least=0, most=6, words=_WEEKDAYS),
)


@dataclass(frozen=True, kw_only=True)
class Cron:
    """`text` has six fields; `converted` says that it was written with five, or as a word."""

    text: str
    converted: bool


def parse_cron(text: str) -> Cron:
    """A cron expression of five or six fields, or @daily and the like.

    Raises:
        UserError: no such expression, more than one run a minute by its seconds, or a day that never comes.
    """
    words = _SHORT.get(text.strip().lower(), text).split()
    if len(words) == 5:
        words = ["0", *words]
    if len(words) != 6:
        raise UserError(f"--cron {text!r} has {len(words)} fields; write five or six, {_EXAMPLE}")
    values = [_values(word, kind, text) for word, kind in zip(words, _FIELDS, strict=True)]
    seconds, *_, days, months, _weekdays = values
    if len(seconds) > 1:
        raise UserError(f"--cron {text!r} starts {len(seconds)} runs per minute; its first field is seconds: write 0")
    # KFP reads two restricted days as "either", so only a free day of week leaves it to the month.
    if _is_free(words[5]) and all(day > _longest(month) for day in days for month in months):
        raise UserError(f"--cron {text!r} never runs: none of its months has such a day")
    found = " ".join(words)
    return Cron(text=found, converted=found != " ".join(text.split()))


def _values(word: str, kind: _Field, text: str) -> set[int]:
    """The values that one field stands for."""
    found: set[int] = set()
    for part in word.split(","):
        span, slash, step_text = part.partition("/")
        match = _PART.fullmatch(span)
        if not match or (slash and not (step_text.isdigit() and int(step_text))):
            raise UserError(
                f"--cron {text!r}: {part!r} is not valid for {kind.name} ({_range_of(kind)}; *, a-b, a,b or */n)"
            )
        if match["all"]:
            first, last = kind.least, kind.most
        else:
            first = _number(match["first"], kind, text)
            last = _number(match["last"], kind, text) if match["last"] else kind.most if slash else first
        if last < first:
            raise UserError(f"--cron {text!r}: {kind.name} {part!r} runs backwards; write it as two ranges")
        found.update(range(first, last + 1, int(step_text) if slash else 1))
    return found


def _number(word: str, kind: _Field, text: str) -> int:
    number = int(word) if word.isdigit() else kind.words.get(word.lower(), -1)
    if not kind.least <= number <= kind.most:
        hint = "; Sunday is 0" if kind.name == "day of week" and word == "7" else ""
        raise UserError(f"--cron {text!r}: {kind.name} must be {_range_of(kind)}, got {word!r}{hint}")
    return number


def _range_of(kind: _Field) -> str:
    words = f" or {next(iter(kind.words))} to {list(kind.words)[-1]}" if kind.words else ""
    return f"{kind.least} to {kind.most}{words}"


def _is_free(word: str) -> bool:
    return any(part.partition("/")[0] in ("*", "?") for part in word.split(","))


def _longest(month: int) -> int:
    return calendar.monthrange(2024, month)[1]  # a leap year
