"""Files in table cells: embedded bytes, base64 text, or a path."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_LONGEST_PATH = 4096
_SHORTEST_BASE64 = 64
# The first bytes of JPEG, PNG, GIF, WebP, BMP and both kinds of TIFF, as base64 writes them.
_BASE64_STARTS = ("/9j/", "iVBORw0KGgo", "R0lGOD", "UklGR", "Qk0", "Qk1", "Qk2", "SUkqA", "TU0AK")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A file in a row: its `data`, with a path only to show, or the `path` of it; else the `problem`, or nothing."""

    data: bytes | None = None
    path: str | None = None
    problem: str | None = None


def cell_of(value: Any) -> Cell:
    """The file of a cell: bytes, text, or Hugging Face's mapping of both."""
    path = None
    if isinstance(value, Mapping):
        value, path = value.get("bytes"), value.get("path")
    if isinstance(value, bytes):
        return Cell(data=value, path=path if isinstance(path, str) else None)
    reference = value if isinstance(value, str) else path
    if not isinstance(reference, str) or not reference.strip():
        return Cell()
    return _text(reference.strip())


def _text(reference: str) -> Cell:
    head, comma, _ = reference[:200].partition("base64,")
    if head.startswith("data:") and comma:
        return _decoded(reference[len(head) + len(comma) :])
    if len(reference) >= _SHORTEST_BASE64 and reference.startswith(_BASE64_STARTS):
        decoded = _decoded(reference)
        if decoded.data is not None or len(reference) > _LONGEST_PATH:
            return decoded
    if len(reference) > _LONGEST_PATH:
        return Cell(problem=f"the cell is no path: it has {len(reference):,} characters")
    return Cell(path=reference)


def _decoded(text: str) -> Cell:
    try:
        return Cell(data=base64.b64decode("".join(text.split()), validate=True))
    except (binascii.Error, ValueError):
        return Cell(problem="the cell looks like base64, and is not valid base64")
