"""Markdown in which untrusted values are escaped."""

import re
from typing import Any

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#~!&])")


class Raw(str):
    """Text that is already Markdown and is not escaped."""

    __slots__ = ()


def escape(value: Any) -> str:
    """Escape a value as one line of plain Markdown text, without markup, HTML or table separators."""
    if isinstance(value, Raw):
        return value
    if value is None:
        return "not known"
    return _SPECIAL.sub(r"\\\1", " ".join(str(value).split()))


def code(value: Any) -> Raw:
    """Format a value as inline code."""
    return Raw("`" + " ".join(str(value).split()).replace("`", "'").replace("|", "\\|") + "`")


def markdown_table(columns: list[str], rows: list[list[Any]]) -> Raw:
    """A table; every cell is escaped."""
    lines = [columns, ["---"] * len(columns), *([escape(cell) for cell in row] for row in rows)]
    return Raw("\n".join("| " + " | ".join(line) + " |" for line in lines))
