"""Operators and functions of the CEL subset on JSON values. `expressions.py` parses; here is what the words mean."""

import json
from collections.abc import Callable
from typing import Any


class ExpressionError(ValueError):
    """The expression cannot be read, or does not apply to the values it met. One line."""


def kind_of(value: Any) -> str:
    """bool, number, string, list, struct or null."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    if isinstance(value, list):
        return "list"
    return "struct" if isinstance(value, dict) else "null"


def boolean(value: Any, operator: str) -> bool:
    """The value, which must be a boolean: CEL knows no truthiness."""
    if not isinstance(value, bool):
        raise ExpressionError(f"'{operator}' needs a boolean, got {show(value)}")
    return value


def show(value: Any) -> str:
    """The value for a message, shortened."""
    return json.dumps(value)[:60]


def _equal(left: Any, right: Any) -> bool:
    kind = kind_of(left)
    if kind != kind_of(right):
        return False
    if kind == "list":
        return len(left) == len(right) and all(map(_equal, left, right))
    if kind == "struct":
        return left.keys() == right.keys() and all(_equal(left[key], right[key]) for key in left)
    return bool(left == right)


def apply(operator: str, left: Any, right: Any) -> Any:
    """A binary operator on two values. Raises ExpressionError if it does not apply to them."""
    if operator in ("==", "!="):
        return _equal(left, right) is (operator == "==")
    if operator == "in":
        if kind_of(right) == "list":
            return any(_equal(left, item) for item in right)
        if kind_of(right) == "struct":
            return isinstance(left, str) and left in right
        raise ExpressionError(f"'in' needs a list or a struct on its right, got {show(right)}")
    kind = kind_of(left)
    if kind != kind_of(right) or kind not in ("number", "string", "bool", "list"):
        raise ExpressionError(f"'{operator}' does not apply to {show(left)} and {show(right)}")
    if operator in ("<", "<=", ">", ">="):
        if kind == "list":
            raise ExpressionError(f"'{operator}' does not apply to lists")
        below, same = bool(left < right), bool(left == right)
        return {"<": below, "<=": below or same, ">": not below and not same, ">=": not below}[operator]
    return _arithmetic(operator, left, right, kind)


def _arithmetic(operator: str, left: Any, right: Any, kind: str) -> Any:
    if operator == "+" and kind in ("number", "string", "list"):
        return left + right
    if kind != "number":
        raise ExpressionError(f"'{operator}' does not apply to {show(left)} and {show(right)}")
    if operator == "-":
        return left - right
    if operator == "*":
        return left * right
    if right == 0:
        raise ExpressionError("division by zero")
    integers = isinstance(left, int) and isinstance(right, int)
    if operator == "/":
        # CEL's integer division truncates towards zero; Python's rounds down.
        quotient = abs(left) // abs(right) if integers else left / right
        return quotient if not integers or (left < 0) is (right < 0) else -quotient
    if not integers:
        raise ExpressionError("'%' needs integers")
    return abs(left) % abs(right) * (-1 if left < 0 else 1)


def _int(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        raise ExpressionError(f"int() cannot convert {show(value)}") from None


def _double(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise ExpressionError(f"double() cannot convert {show(value)}") from None


def _string(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, str | int | float):
        return str(value)
    raise ExpressionError(f"string() cannot convert {show(value)}")


def _bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if value in ("true", "True", "TRUE", "t", "1"):
        return True
    if value in ("false", "False", "FALSE", "f", "0"):
        return False
    raise ExpressionError(f"bool() cannot convert {show(value)}")


def _size(value: Any) -> int:
    if not isinstance(value, str | list | dict):
        raise ExpressionError(f"size() does not apply to {show(value)}")
    return len(value)


def _parse_json(text: Any) -> Any:
    if not isinstance(text, str):
        raise ExpressionError(f"parseJson() needs a string, got {show(text)}")
    try:
        return json.loads(text)
    except ValueError:
        raise ExpressionError(f"parseJson() got no JSON: {text[:60]!r}") from None


def _of_strings(function: Callable[[str, str], bool], name: str) -> Callable[[Any, Any], bool]:
    def checked(text: Any, part: Any) -> bool:
        if not isinstance(text, str) or not isinstance(part, str):
            raise ExpressionError(f"{name}() applies to strings only")
        return function(text, part)

    return checked


FUNCTIONS: dict[str, tuple[Callable[..., Any], int]] = {
    "int": (_int, 1),
    "double": (_double, 1),
    "string": (_string, 1),
    "bool": (_bool, 1),
    "size": (_size, 1),
    "parseJson": (_parse_json, 1),
}
METHODS: dict[str, tuple[Callable[..., Any], int]] = {
    "size": (_size, 1),
    "startsWith": (_of_strings(str.startswith, "startsWith"), 2),
    "endsWith": (_of_strings(str.endswith, "endsWith"), 2),
    "contains": (_of_strings(str.__contains__, "contains"), 2),
}
