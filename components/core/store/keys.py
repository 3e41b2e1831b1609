"""The one key function: equal work has equal keys, on a laptop and on a cluster."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

_LARGEST_EXACT = 2**53  # above it a float no longer names one integer


def canonical_json(obj: Any) -> bytes:
    """The same bytes for equal values: sorted keys, no spaces, UTF-8, an integral float written as an integer.

    `1.0` and `1` (and `-0.0` and `0`) give the same bytes, as in RFC 8785: a parameter that went through protobuf
    comes back as a float, and must not change a key. `True` stays apart from `1`; a tuple equals a list.

    Raises:
        TypeError: a value that JSON cannot hold, or a key that is not a string.
        ValueError: NaN, an infinity, or a string that is not valid Unicode (a lone surrogate).
    """
    text = json.dumps(_canonical(obj), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8")


def cache_key(*, component: str, code: str, parameters: Mapping[str, Any], inputs: Mapping[str, Any]) -> str:
    """`sha256(canonical_json({component, code, parameters, inputs}))` in hex, 64 characters.

    Args:
        component: the stage's name.
        code: digest of the code that does the work.
        parameters: every parameter the stage gets, defaults filled in.
        inputs: name to digest (or list of digests) of the input artifacts; never a path or a URI that moves.
    """
    key = {
        "format": 1,
        "component": component,
        "code": code,
        "parameters": dict(parameters),
        "inputs": dict(inputs),
    }
    return hashlib.sha256(canonical_json(key)).hexdigest()


def _canonical(value: Any) -> Any:
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < _LARGEST_EXACT else value
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in value]
    if isinstance(value, Mapping):
        for key in value:
            # json.dumps would quietly write 1 and "1" as the same key.
            if not isinstance(key, str):
                raise TypeError(f"a JSON key must be a string, got {key!r}")
        return {key: _canonical(item) for key, item in value.items()}
    raise TypeError(f"{type(value).__name__} has no canonical JSON; use str, int, float, bool, None, list or dict")
