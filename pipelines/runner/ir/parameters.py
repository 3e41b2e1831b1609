"""Parameter values: typed as KFP declares them, read from the command line, checked before anything starts."""

import difflib
import json
import math
from collections.abc import Collection, Mapping
from typing import Any

from components.core.errors import UserError
from pipelines.runner.ir.pipeline import MISSING, Parameter

_WORDS = {
    "STRING": "text",
    "NUMBER_INTEGER": "an integer",
    "NUMBER_DOUBLE": "a number",
    "BOOLEAN": "true or false",
    "LIST": "a list",
    "STRUCT": "a JSON object",
    "TASK_FINAL_STATUS": "a task's final status",
}
MOST_DEPTH = 100  # of lists and structs inside each other; protobuf, which KFP's backend uses, ends there as well
_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def kind_in_words(parameter: Parameter) -> str:
    """The declared type as a person would say it."""
    return _WORDS.get(parameter.type, parameter.type)


def typed(value: Any, kind: str, what: str) -> Any:
    """`value` as its declared type; integers stay integers.

    Inside lists and structs a number without a fraction becomes an integer, because that is what a component on a
    cluster gets (KFP's backend writes 1.0 as 1), and a cache key must not depend on which of the two was written.

    Raises:
        UserError: the value is of another type; `what` names it.
    """
    match kind:
        case "NUMBER_INTEGER" if _is_number(value) and float(value).is_integer():
            return int(value)
        case "NUMBER_DOUBLE" if _is_number(value):
            return float(value)
        case "STRING" if isinstance(value, str):
            return plain(value, what)
        case "STRING" if value is not None:
            # KFP passes what is not text to a STRING parameter as its JSON (loop items, pipeline channels).
            return json.dumps(plain(value, what))
        case "BOOLEAN" if isinstance(value, bool):
            return value
        case "LIST" if isinstance(value, list | tuple):
            return plain(list(value), what)
        case "STRUCT" if isinstance(value, Mapping):
            return plain(dict(value), what)
        case "LIST" | "STRUCT" | "BOOLEAN" | "NUMBER_INTEGER" | "NUMBER_DOUBLE" if isinstance(value, str):
            return typed(_from_json(value, kind, what), kind, what)
        case "TASK_FINAL_STATUS" if isinstance(value, Mapping):
            return dict(value)
    raise UserError(f"{what} must be {_WORDS.get(kind, kind)}, got {_show(value)}")


def _from_json(text: str, kind: str, what: str) -> Any:
    try:
        value = _json(text)
    except ValueError:
        value = text
    if isinstance(value, str):
        raise UserError(f"{what} must be {_WORDS.get(kind, kind)}, got {_show(text)}")
    return value


def _json(text: str) -> Any:
    """The value of a JSON text. Raises ValueError if it is none; NaN and Infinity, which Python takes, are none."""

    def refuse(name: str) -> Any:
        raise ValueError(f"{name} is not valid JSON")

    try:
        return json.loads(text, parse_constant=refuse)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _is_number(value: Any) -> bool:
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an integer beyond every double
        return False


def plain(value: Any, what: str, depth: int = 0) -> Any:
    """A JSON value with integers for numbers without a fraction.

    Raises:
        UserError: what JSON cannot say (a date of YAML, NaN), half a surrogate pair, more than `MOST_DEPTH` levels.
    """
    if depth > MOST_DEPTH:
        raise UserError(f"{what} is nested more than {MOST_DEPTH} deep")
    if isinstance(value, float):
        if not math.isfinite(value):
            raise UserError(f"{what} holds {json.dumps(value)}, which JSON does not allow")
        return int(value) if value.is_integer() else value
    if isinstance(value, str):
        if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
            raise UserError(f"{what} holds something that is not UTF-8 text: {ascii(value)[:60]}")
        return value
    if isinstance(value, Mapping):
        return {plain(str(key), what): plain(item, what, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, what, depth + 1) for item in value]
    if value is not None and not isinstance(value, int):
        raise UserError(f"{what} holds a {type(value).__name__} ({value}), which JSON does not know; is it text?"[:300])
    return value


def _show(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def _quoted(text: str) -> str:
    return repr(text) if len(text) <= 60 else repr(text[:57]) + "..."


def from_text(text: str, parameter: Parameter, what: str) -> Any:
    """A value given on the command line, by its declared type; `MISSING` if it is empty and may be left out.

    Lists are JSON or separated by commas (`0.9,0.8`); booleans are true/false, yes/no, on/off, 1/0.

    Raises:
        UserError: the text is not of the type; the message shows what would be.
    """
    if text == "" and parameter.type != "STRING":
        if parameter.optional:
            return MISSING
        raise UserError(f"{what} is empty; it must be {kind_in_words(parameter)}")
    if text == "" and parameter.optional and parameter.default is MISSING:
        return MISSING
    match parameter.type:
        case "STRING":
            return typed(text, "STRING", what)
        case "BOOLEAN":
            if text.lower() in _TRUE:
                return True
            if text.lower() in _FALSE:
                return False
            raise UserError(f"{what} must be true or false, got {_quoted(text)}")
        case "NUMBER_INTEGER" | "NUMBER_DOUBLE":
            return _number(text, parameter.type, what)
        case "LIST":
            return typed(_list(text, what), "LIST", what)
    return typed(text, parameter.type, what)


def _number(text: str, kind: str, what: str) -> int | float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"{what} must be {_WORDS[kind]}, got {_quoted(text)}")
    if kind == "NUMBER_DOUBLE":
        return value
    if not value.is_integer():
        raise UserError(f"{what} must be an integer, got {_quoted(text)}")
    try:
        return int(text)  # exact beyond 2^53
    except ValueError:
        return int(value)


def _list(text: str, what: str) -> Any:
    if text.lstrip().startswith("["):
        try:
            return _json(text)
        except ValueError as error:
            raise UserError(f"{what} must be a list in JSON, got {_quoted(text)} ({error})"[:300]) from None
    items = []
    for word in text.split(","):
        try:
            items.append(_json(word))
        except ValueError:
            items.append(word.strip())
    return items


def pipeline_parameters(
    declared: Mapping[str, Parameter], given: Mapping[str, Any], *, others: Collection[str] = ()
) -> dict[str, Any]:
    """The pipeline's inputs: what was given, checked against what is declared, and the defaults.

    Args:
        declared: the root component's input parameters.
        given: name → text from the command line (a str), or an already typed value.
        others: names of inputs that are no parameters, for the list of what is known.

    Raises:
        UserError: an unknown name (the nearest is suggested), a wrong type, a value outside the literals, or required
            parameters that are missing (named with their types).
    """
    for name in given:
        if name not in declared:
            inputs = [*declared, *others]
            close = difflib.get_close_matches(name, inputs, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            known = ", ".join(sorted(inputs)) or "none"
            raise UserError(f"unknown parameter {name!r}{hint} (parameters: {known})")
    values: dict[str, Any] = {}
    for name, parameter in declared.items():
        what = f"parameter {name!r}"
        value: Any = MISSING
        if name in given:
            raw = given[name]
            value = from_text(raw, parameter, what) if isinstance(raw, str) else typed(raw, parameter.type, what)
        if value is MISSING and parameter.default is not MISSING:
            value = parameter.default
        if value is MISSING:
            continue
        if parameter.literals and value not in parameter.literals:
            choices = ", ".join(map(_show, parameter.literals))
            raise UserError(f"{what} must be one of {choices}, got {_show(value)}")
        values[name] = value
    missing = [name for name, parameter in declared.items() if name not in values and not parameter.optional]
    if missing:
        named = ", ".join(f"{name} ({kind_in_words(declared[name])}{_described(declared[name])})" for name in missing)
        raise UserError(f"missing parameter(s): {named}; give them with -p name=value")
    return values


def _described(parameter: Parameter) -> str:
    return f": {' '.join(parameter.description.split())[:80]}" if parameter.description else ""
