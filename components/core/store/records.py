"""Small JSON documents as objects."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from components.core.json_documents import parse_json
from components.core.store.backends.objects import Objects
from components.core.store.errors import Damaged, StoreError


def encode(record: Mapping[str, Any], *, what: str) -> bytes:
    """JSON for people and machines: sorted, indented. Refuses what JSON cannot hold, and NaN."""
    try:
        text = json.dumps(record, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
        return text.encode() + b"\n"
    except (TypeError, ValueError) as error:
        raise StoreError(f"{what} cannot be written as JSON: {error}") from error


def decode(data: bytes, *, objects: Objects, key: str) -> dict[str, Any]:
    """The JSON object in `data`. `Damaged` if it is none."""
    try:
        record = parse_json(data)
    except ValueError as error:
        raise Damaged(f"{objects.address(key)} is damaged: not JSON") from error
    if not isinstance(record, dict):
        raise Damaged(f"{objects.address(key)} is damaged: not a JSON object")
    return record
