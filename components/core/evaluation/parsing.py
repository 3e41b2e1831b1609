"""JSON into frozen dataclasses: all fields, each of its type, and no others; the first mistake is named by its path."""

import dataclasses
import math
import sys
import types
from collections.abc import Mapping
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")

_NAMES = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}


def parse(kind: type[T], document: Any, path: str = "") -> T:
    """An object of the dataclass `kind` from JSON.

    A field may be a dataclass, `tuple[X, ...]` (a list), `dict[str, X]` (an object), `X | None`, a plain type, or Any.

    Args:
        kind: the dataclass.
        document: parsed JSON.
        path: where the document stands, for messages: `candidate.latency[0]`.

    Raises:
        ValueError: a field is missing, unknown or of another type; it names the first one. The dataclass's own refusal.
    """
    where = path or "the document"
    if not isinstance(document, Mapping):
        raise ValueError(f"{where} must be an object, got {_shown(document)}")
    hints = _hints(kind)
    if unknown := sorted(set(document) - set(hints)):
        raise ValueError(f"{where} has the unknown field {unknown[0]!r}")
    if missing := [name for name in hints if name not in document]:
        raise ValueError(f"{where} has no {missing[0]!r}")
    prefix = f"{path}." if path else ""
    return kind(**{name: _value(hint, document[name], f"{prefix}{name}") for name, hint in hints.items()})


def to_json(value: Any) -> Any:
    """The inverse of `parse`: dataclasses become objects, tuples lists.

    Raises:
        ValueError: a number that JSON cannot hold (nan, infinity).
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"a document holds no {value}; None stands for what is not known")
    return value


def _hints(kind: type) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _value(hint: Any, value: Any, path: str) -> Any:
    if hint is Any:
        return value
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (types.UnionType, Union):
        (inner,) = (one for one in arguments if one is not type(None))
        return None if value is None else _value(inner, value, path)
    if origin is tuple:
        if not isinstance(value, list):
            raise ValueError(f"{path} must be a list, got {_shown(value)}")
        return tuple(_value(arguments[0], item, f"{path}[{number}]") for number, item in enumerate(value))
    if origin is dict:
        if not isinstance(value, Mapping):
            raise ValueError(f"{path} must be an object, got {_shown(value)}")
        return {str(key): _value(arguments[1], item, f"{path}.{key}") for key, item in value.items()}
    if dataclasses.is_dataclass(hint):
        return parse(hint, value, path)  # type: ignore[arg-type]
    return _plain(hint, value, path)


def _plain(hint: type, value: Any, path: str) -> Any:
    number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    fits = number if hint is float else isinstance(value, hint) and (hint is bool or not isinstance(value, bool))
    if not fits:
        raise ValueError(f"{path} must be {_NAMES[hint]}, got {_shown(value)}")
    return float(value) if hint is float else value


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
