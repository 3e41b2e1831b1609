"""Markdown in which values from outside stay text."""

import re
from typing import Any

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#~!&])")


class Raw(str):
    """Text that is Markdown already."""

    __slots__ = ()


def escape(value: Any) -> str:
    """A value as inert Markdown text on one line: no markup, no HTML, no table cell can come out of it."""
    if isinstance(value, Raw):
        return value
    if value is None:
        return "not known"
    return _SPECIAL.sub(r"\\\1", " ".join(str(value).split()))


def code(value: Any) -> Raw:
    """A value in code style."""
    return Raw("`" + " ".join(str(value).split()).replace("`", "'").replace("|", "\\|") + "`")


def markdown_table(columns: list[str], rows: list[list[Any]]) -> Raw:
    """A table; every cell is escaped."""
    lines = [columns, ["---"] * len(columns), *([escape(cell) for cell in row] for row in rows)]
    return Raw("\n".join("| " + " | ".join(line) + " |" for line in lines))
