"""JSON into frozen dataclasses: all fields, each of its type, and no others; the first mistake is named by its path."""

import dataclasses
import math
import sys
import types
from collections.abc import Mapping
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from components.core.errors import UserError

T = TypeVar("T")

_MOST_CHARACTERS = 1_000_000
"""Of a text that `read_fields` reads."""

_NAMES = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}


def parse(kind: type[T], document: Any, path: str = "", *, others: bool = False) -> T:
    """An object of the dataclass `kind` from JSON.

    A field may be a dataclass, `tuple[X, ...]` (a list), `dict[str, X]` (an object), `X | None`, a plain type, or Any.

    Args:
        kind: the dataclass.
        document: parsed JSON.
        path: where the document stands, for messages: `candidate.latency[0]`.
        others: leave unknown fields alone, and give a missing field that has a default its default.

    Raises:
        ValueError: a field is missing, unknown or of another type; it names the first one. The dataclass's own refusal.
    """
    where = path or "the document"
    if not isinstance(document, Mapping):
        raise ValueError(f"{where} must be an object, got {_shown(document)}")
    hints, optional = _hints(kind), _optional(kind) if others else set()
    if not others and (unknown := sorted(set(document) - set(hints))):
        raise ValueError(f"{where} has the unknown field {unknown[0]!r}")
    if missing := [name for name in hints if name not in document and name not in optional]:
        raise ValueError(f"{where} has no {missing[0]!r}")
    prefix = f"{path}." if path else ""
    found = {name: hint for name, hint in hints.items() if name in document}
    return kind(**{name: _value(hint, document[name], f"{prefix}{name}", others) for name, hint in found.items()})


def read_fields(kind: type[T], document: Any, name: str) -> T:
    """The fields of the dataclass `kind` from a document that another task wrote, which may have more.

    Args:
        kind: the dataclass; a field with a default may be missing.
        document: parsed JSON.
        name: the document's, for messages.

    Raises:
        UserError: a field is missing, of another type, or a text of megabytes.
    """
    try:
        return parse(kind, document, others=True)
    except ValueError as error:
        raise UserError(f"{name} cannot be read: {error}; run the task that wrote it again") from None


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


def _optional(kind: Any) -> set[str]:
    """Names of the fields that have a default."""
    nothing = dataclasses.MISSING
    return {one.name for one in dataclasses.fields(kind) if (one.default, one.default_factory) != (nothing, nothing)}


def _value(hint: Any, value: Any, path: str, others: bool) -> Any:
    if hint is Any:
        return value
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (types.UnionType, Union):
        (inner,) = (one for one in arguments if one is not type(None))
        return None if value is None else _value(inner, value, path, others)
    if origin is tuple:
        if not isinstance(value, list):
            raise ValueError(f"{path} must be a list, got {_shown(value)}")
        return tuple(_value(arguments[0], item, f"{path}[{number}]", others) for number, item in enumerate(value))
    if origin is dict:
        if not isinstance(value, Mapping):
            raise ValueError(f"{path} must be an object, got {_shown(value)}")
        return {str(key): _value(arguments[1], item, f"{path}.{key}", others) for key, item in value.items()}
    if dataclasses.is_dataclass(hint):
        return parse(hint, value, path, others=others)  # type: ignore[arg-type]
    if others and isinstance(value, str) and len(value) > _MOST_CHARACTERS:
        raise ValueError(f"{path} has {len(value):,} characters, and at most {_MOST_CHARACTERS:,} are read")
    return _plain(hint, value, path)


def _plain(hint: type, value: Any, path: str) -> Any:
    number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    fits = number if hint is float else isinstance(value, hint) and (number or hint is not int)
    if not fits:
        raise ValueError(f"{path} must be {_NAMES[hint]}, got {_shown(value)}")
    return float(value) if hint is float else value


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
