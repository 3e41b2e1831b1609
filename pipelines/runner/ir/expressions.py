"""Conditions and loop-item selectors: CEL (Common Expression Language), by Google's own implementation (cel-cpp).

    condition:  inputs.parameter_values['pipelinechannel--flip-Output'] == 'heads' && int(…) > 3
    selector:   parseJson(string_value)["a"]["b"]

KFP's driver does the same with cel-go, cel-cpp's sister: the same declarations are checked when the pipeline is read,
and values are handed over as the same protobuf messages, never as text. So every number is a double in here, as it is
on a cluster.
"""

import functools
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines.runner.ir.bounded import BYTES, SECONDS, OutOfBounds, in_child

_KNOWN = {
    "condition": "inputs.parameter_values, inputs.artifacts, parseJson",
    "selector": "string_value, number_value, bool_value, struct_value, list_value, parseJson",
}
_PROBLEM = re.compile(r"ERROR: <input>:\d+:(\d+): ([^\n]*)")
# Strings and comments are stepped over, so that what merely looks like a parameter inside them is not taken for one.
_PARAMETER = re.compile(
    r"""inputs\s*\.\s*parameter_values\s*\[\s*(?:'([^'\\\n]*)'|"([^"\\\n]*)")\s*\]
    | \b[rR][bB]?(?:'''.*?'''|\"\"\".*?\"\"\"|'[^'\n]*'|"[^"\n]*")
    | '''(?:\\.|[^\\])*?''' | \"\"\"(?:\\.|[^\\])*?\"\"\" | '(?:\\.|[^'\\])*' | "(?:\\.|[^"\\])*"
    | //[^\n]*""",
    re.VERBOSE | re.DOTALL,
)


# A loop over a list, or a pattern, may take more than what it is given; the SDK writes neither. By their names alone:
# CEL takes blanks and comments before and after each.
_GROWING = re.compile(r"\b(?:map|filter|all|exists|exists_one|transformList|transformMap|matches)\b")
# Sums and lists repeat a value, and each further part of an expression looks at it again.
_REPEATING = re.compile(r"[+,&|?]|\bparseJson\b")
_HARMLESS = 4 * 2**20


class ExpressionError(ValueError):
    """The expression cannot be read, or does not apply to the values it met. One line."""


@dataclass(frozen=True)
class Condition:
    """When a task runs. Checked when it is built; equality and repr are those of its text.

    Raises:
        ExpressionError: no CEL, an unknown name or function, or nothing that can be true or false.
    """

    text: str
    _program: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        program = _compiled(self.text, "condition")
        kind = program.return_type().name()
        if kind not in ("BOOL", "DYN"):
            raise ExpressionError(f"it gives {kind.lower()}, not true or false: {_short(self.text)}")
        object.__setattr__(self, "_program", program)

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names in `inputs.parameter_values['…']`."""
        found = (match[1] if match[1] is not None else match[2] for match in _PARAMETER.finditer(self.text))
        return tuple(dict.fromkeys(name for name in found if name is not None))

    def holds(self, parameters: Mapping[str, Any], artifacts: Mapping[str, list[dict[str, Any]]]) -> bool:
        """Whether the condition is true.

        Args:
            parameters: JSON values by name.
            artifacts: the artifacts of each input, with `name`, `uri`, `type` and `metadata`.

        Raises:
            ExpressionError: a name has no value, an operator does not apply to its operands, or the result is neither
                true nor false.
        """
        values = {
            "inputs.parameter_values": {name: _message(value, name) for name, value in parameters.items()},
            "inputs.artifacts": {
                name: _message({"artifacts": [_artifact(item) for item in items]}, name)
                for name, items in artifacts.items()
            },
        }
        found = _evaluate(self._program, values, self.text)
        if not isinstance(found, bool):
            said = json.dumps(found, default=str)[:60]
            raise ExpressionError(f"it is {said}, not true or false: {_short(self.text)}")
        return found


@dataclass(frozen=True)
class Selector:
    """Which part of a value a task gets. Checked when it is built; equality and repr are those of its text.

    Raises:
        ExpressionError: no CEL, or an unknown name or function.
    """

    text: str
    _program: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_program", _compiled(self.text, "selector"))

    def pick(self, value: Any) -> Any:
        """The part of a JSON value; a number without a fraction is an integer, as components on a cluster get it.

        Raises:
            ExpressionError: there is no such part, or it is nothing that JSON holds.
        """
        from google.protobuf import wrappers_pb2

        message = _message(value, "the value")
        try:
            values: dict[str, Any] = {"string_value": wrappers_pb2.StringValue(value=_as_text(value))}
        except ValueError:
            raise ExpressionError("the value holds half a surrogate pair, which is no text") from None
        kind = message.WhichOneof("kind")
        if kind in ("number_value", "bool_value", "struct_value", "list_value"):
            values[kind] = getattr(message, kind)
        return _as_json(_evaluate(self._program, values, self.text), self.text)


@functools.cache
def _environment(kind: str) -> Any:
    # Imported here: most pipelines have no condition, and the two libraries take 40 ms.
    from cel_expr_python import cel
    from google.protobuf import struct_pb2  # noqa: F401  (registers the messages that the declarations name)

    def message(name: str) -> Any:
        return cel.Type(f"google.protobuf.{name}")

    parse = cel.Overload("parse_json", cel.Type.DYN, [cel.Type.STRING], False, _parse_json)
    if kind == "condition":
        # In KFP these are fields of one message; declared with the dot, an unknown field is an unknown name as well.
        by_name = cel.Type.Map(cel.Type.STRING, cel.Type.DYN)
        variables = {"inputs.parameter_values": by_name, "inputs.artifacts": by_name}
    else:
        # A wrapper and not a plain string: those are cut at their first U+0000 (cel-expr-python 0.1.3).
        variables = {
            "string_value": message("StringValue"), "number_value": cel.Type.DOUBLE, "bool_value": cel.Type.BOOL,
            "struct_value": message("Struct"), "list_value": message("ListValue"),
        }  # fmt: skip
    return cel.NewEnv(variables=variables, functions=[cel.FunctionDecl("parseJson", [parse])])


def _compiled(text: str, kind: str) -> Any:
    if not text.isprintable() and any("\ud800" <= character <= "\udfff" for character in text):
        raise ExpressionError(f"it holds half a surrogate pair, which is no text: {ascii(text)[:80]}")
    try:
        return _environment(kind).compile(text)
    except RuntimeError as error:
        raise ExpressionError(f"{_problem(str(error), text, kind)} in the expression: {_short(text)}") from None


def _problem(message: str, text: str, kind: str) -> str:
    """The first problem that the library found, in one line."""
    found = _PROBLEM.search(message)
    if found is None:
        return _plain(message)
    problem = found[2].replace(" (in container '')", "").split(" expecting ")[0]
    if problem.startswith("undeclared reference"):
        return f"{problem} (known: {_KNOWN[kind]})"
    problem = f"{problem} at character {found[1]}"
    if problem.startswith("Syntax error") and text.count("'") % 2:
        # The SDK writes dsl.If(x == "it's") without escaping the quote; KFP's driver cannot read that either.
        problem += " (is a quote inside a text written without a backslash?)"
    return problem


def _plain(message: str) -> str:
    """A message of the library without its codes, in one line."""
    return " ".join(re.sub(r"^[A-Z_]+: | \[[A-Z_]+\]$", "", message.strip()).split())[:200]


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 300 else text[:297] + "..."


def _evaluate(program: Any, values: Mapping[str, Any], text: str) -> Any:
    """The plain value, as JSON knows it. What can make more of its values than they are runs with bounds."""
    size = sum(map(_size, values.values())) * len(_REPEATING.findall(text))
    if size < _HARMLESS and not _GROWING.search(text):
        return _evaluated(program, values, text)

    def answer() -> dict[str, Any]:
        try:
            return {"value": _as_json(_evaluated(program, values, text), text)}
        except ExpressionError as error:
            return {"error": str(error)}

    try:
        found = in_child(answer)
    except OutOfBounds:
        raise ExpressionError(
            f"it takes more than {SECONDS} s or {BYTES // 2**20} MB in the expression: {_short(text)}"
        ) from None
    if "error" in found:
        raise ExpressionError(found["error"])
    return found["value"]


def _size(value: Any) -> int:
    if isinstance(value, Mapping):
        return sum(map(_size, value.values()))
    return int(value.ByteSize()) if hasattr(value, "ByteSize") else 64


def _evaluated(program: Any, values: Mapping[str, Any], text: str) -> Any:
    try:
        result = program.eval(data=values)
        found = result.plain_value()
    except RuntimeError as error:  # what the library's budgets end
        raise ExpressionError(f"{_plain(str(error))} in the expression: {_short(text)}") from None
    if result.type().name() == "ERROR":
        problem = re.sub(r'^Key not found in map : "(.*)"$', r"there is no '\1'", _plain(str(found)))
        raise ExpressionError(f"{problem} in the expression: {_short(text)}")
    return found


def _message(value: Any, name: str) -> Any:
    """A JSON value as `google.protobuf.Value`, which is what KFP's driver holds."""
    from google.protobuf import struct_pb2

    holder = struct_pb2.Struct()
    try:
        holder.update({"value": value})
    except (ValueError, OverflowError, RecursionError) as error:
        raise ExpressionError(f"{name!r} cannot be part of an expression: {_plain(str(error))}") from None
    return holder.fields["value"]


def _artifact(item: Mapping[str, Any]) -> dict[str, Any]:
    """An artifact with the names of KFP's message."""
    kind = item.get("type", {})
    names = {"schemaTitle": "schema_title", "schemaVersion": "schema_version"}
    return {
        "name": item.get("name", ""), "uri": item.get("uri", ""), "metadata": item.get("metadata", {}),
        "type": {new: kind[old] for old, new in names.items() if old in kind},
    }  # fmt: skip


def _as_text(value: Any) -> str:
    """`string_value`: text as it is, nothing as the empty text, all else as JSON."""
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(_as_json(value, "string_value"))


def _parse_json(text: str) -> Any:
    # What is raised here comes back as the result of the expression, of type ERROR.
    def refuse(name: str) -> Any:
        raise ValueError(f"{name} is not valid JSON")

    return _message(json.loads(text, parse_constant=refuse), text[:40])


def _as_json(value: Any, text: str) -> Any:
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        # A protobuf map has no order; KFP's backend writes the keys sorted.
        return {key: _as_json(value[key], text) for key in sorted(value)}
    if isinstance(value, list):
        return [_as_json(item, text) for item in value]
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        return int(value)
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise ExpressionError(f"it gives {type(value).__name__}, which no parameter can hold: {_short(text)}")
