"""Markdown in which untrusted values are escaped."""

import re
from typing import Any

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#~!&])")


_JOINERS = "\u200c\u200d"
"""Invisible, and part of how some languages are written."""


class Raw(str):
    """Text that is already Markdown and is not escaped."""

    __slots__ = ()


def escape(value: Any) -> str:
    """Escape a value as one line of plain Markdown text, without markup, HTML or table separators."""
    if isinstance(value, Raw):
        return value
    if value is None:
        return "not known"
    return _SPECIAL.sub(r"\\\1", _one_line(value))


def code(value: Any) -> Raw:
    """Format a value as inline code."""
    return Raw("`" + _one_line(value).replace("`", "'").replace("|", "\\|") + "`")


def _one_line(value: Any) -> str:
    """Without characters that move a terminal's cursor, or turn the direction of the text around them."""
    line = " ".join(str(value).split())
    return "".join(one if one.isprintable() or one in _JOINERS else ascii(one)[1:-1] for one in line)


def markdown_table(columns: list[str], rows: list[list[Any]]) -> Raw:
    """A table; every cell is escaped."""
    lines = [
        [_one_line(column) for column in columns],
        ["---"] * len(columns),
        *([escape(cell) for cell in row] for row in rows),
    ]
    return Raw("\n".join("| " + " | ".join(line) + " |" for line in lines))
