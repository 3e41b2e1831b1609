"""The part of CEL (Common Expression Language) that KFP's compiler writes: conditions and loop-item selectors.

A real parser and evaluator: nothing is ever handed to `eval`, and a value is never pasted into the text, so quotes
in a parameter are harmless. Names, operators and functions outside the subset are refused when the pipeline is read.

    condition:  inputs.parameter_values['pipelinechannel--flip-Output'] == 'heads' && int(…) > 3
    selector:   parseJson(string_value)["a"]["b"]

Numbers compare across integer and double; values of different kinds are unequal; ordering them is an error, as in
cel-go, which KFP's driver uses.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.runner.expression_values import FUNCTIONS, METHODS, ExpressionError, apply, boolean, kind_of, show

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<number>(?:\d+\.\d*|\.\d+|\d+)(?:[eE][+-]?\d+)?)
    | (?P<string>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
    | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<symbol>&&|\|\||==|!=|<=|>=|[<>!+\-*/%?:.,()\[\]])
    )""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", "'": "'", '"': '"', "`": "`", "?": "?"}
_LITERALS = {"true": True, "false": False, "null": None}
_COMPARISONS = ("==", "!=", "<=", ">=", "<", ">", "in")
_DEEPEST = 40

Node = Callable[[Mapping[str, Any]], Any]


@dataclass(frozen=True)
class Expression:
    """A parsed expression. Equality and repr are those of its text."""

    text: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "_node", _Parser(self.text).parse())

    def evaluate(self, variables: Mapping[str, Any]) -> Any:
        """The value of the expression.

        Raises:
            ExpressionError: a name is not given, or an operator does not apply to its operands.
        """
        node: Node = object.__getattribute__(self, "_node")
        try:
            return node(variables)
        except ExpressionError as error:
            raise ExpressionError(f"{error} in the expression: {self.text}") from None
        except RecursionError:
            raise ExpressionError(f"nested too deeply: {self.text[:80]}") from None


class _Parser:
    """Recursive descent by CEL's precedence: ?:  ||  &&  comparisons  + -  * / %  unary  member."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = _tokenize(text)
        self.at = 0
        self.depth = 0

    def parse(self) -> Node:
        node = self.ternary()
        if self.at < len(self.tokens):
            raise ExpressionError(f"unexpected '{self.tokens[self.at][1]}' in the expression: {self.text}")
        return node

    def peek(self) -> str:
        kind, value = self.tokens[self.at] if self.at < len(self.tokens) else ("end", "")
        return "" if kind == "string" else value

    def take(self, *symbols: str) -> str:
        """The next token if it is one of these, consumed; else nothing."""
        found = self.peek()
        if found and found in symbols:
            self.at += 1
            return found
        return ""

    def expect(self, symbol: str) -> None:
        if not self.take(symbol):
            found = self.tokens[self.at][1] if self.at < len(self.tokens) else "the end"
            raise ExpressionError(f"expected '{symbol}', found {found} in the expression: {self.text}")

    def ternary(self) -> Node:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise ExpressionError(f"nested too deeply: {self.text[:80]}")
        test = self.logical("||")
        if self.take("?"):
            then = self.ternary()
            self.expect(":")
            other = self.ternary()
            condition = test
            test = lambda v: then(v) if boolean(condition(v), "?:") else other(v)  # noqa: E731
        self.depth -= 1
        return test

    def logical(self, operator: str) -> Node:
        operand = self.comparison if operator == "&&" else lambda: self.logical("&&")
        left = operand()
        while self.take(operator):
            left = _logical(operator, left, operand())
        return left

    def comparison(self) -> Node:
        left = self.sum()
        while operator := self.take(*_COMPARISONS):
            left = _binary(operator, left, self.sum())
        return left

    def sum(self) -> Node:
        left = self.product()
        while operator := self.take("+", "-"):
            left = _binary(operator, left, self.product())
        return left

    def product(self) -> Node:
        left = self.unary()
        while operator := self.take("*", "/", "%"):
            left = _binary(operator, left, self.unary())
        return left

    def unary(self) -> Node:
        signs = []
        while sign := self.take("!", "-"):
            signs.append(sign)
        node = self.member()
        for sign in reversed(signs):
            node = _unary(sign, node)
        return node

    def member(self) -> Node:
        node = self.primary()
        while symbol := self.take(".", "["):
            if symbol == "[":
                key = self.ternary()
                self.expect("]")
                node = _index(node, key)
                continue
            name = self.name()
            if self.take("("):
                node = _call(name, METHODS, [node, *self.arguments()], self.text)
            else:
                node = _index(node, lambda _, name=name: name)  # type: ignore[misc]
        return node

    def arguments(self) -> list[Node]:
        found: list[Node] = []
        while not self.take(")"):
            if found:
                self.expect(",")
            found.append(self.ternary())
        return found

    def name(self) -> str:
        kind, value = self.tokens[self.at] if self.at < len(self.tokens) else ("end", "the end")
        if kind != "name":
            raise ExpressionError(f"expected a name, found {value} in the expression: {self.text}")
        self.at += 1
        return value

    def primary(self) -> Node:
        if self.at >= len(self.tokens):
            raise ExpressionError(f"it ends too early: {self.text!r}")
        kind, value = self.tokens[self.at]
        if self.take("("):
            node = self.ternary()
            self.expect(")")
            return node
        if self.take("["):
            return self.list_literal()
        self.at += 1
        if kind == "number":
            number: Any = int(value) if value.isdigit() else float(value)
            return lambda _: number
        if kind == "string":
            text = _unquote(value)
            return lambda _: text
        if kind == "name" and value in _LITERALS:
            literal = _LITERALS[value]
            return lambda _: literal
        if kind == "name" and self.take("("):
            return _call(value, FUNCTIONS, self.arguments(), self.text)
        if kind == "name" and value in ("inputs", "string_value"):
            return lambda variables: _variable(variables, value)
        raise ExpressionError(f"unexpected {value!r} in the expression: {self.text}")

    def list_literal(self) -> Node:
        items: list[Node] = []
        while not self.take("]"):
            if items:
                self.expect(",")
            items.append(self.ternary())
        return lambda variables: [item(variables) for item in items]


def _tokenize(text: str) -> list[tuple[str, str]]:
    tokens, at = [], 0
    stripped = text.rstrip()
    while at < len(stripped):
        match = _TOKEN.match(stripped, at)
        if match is None or match.lastgroup is None:
            raise ExpressionError(f"cannot read {stripped[at:].strip()[:20]!r} in the expression: {text}")
        tokens.append((match.lastgroup, match[match.lastgroup]))
        at = match.end()
    return tokens


def _unquote(text: str) -> str:
    def replace(match: re.Match[str]) -> str:
        character = match[1]
        if character.startswith(("u", "x")) and len(character) > 1:
            return chr(int(character[1:], 16))
        if character not in _ESCAPES:
            raise ExpressionError(f"unknown escape '\\{character}' in the string {text}")
        return _ESCAPES[character]

    return re.sub(r"\\(u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|.)", replace, text[1:-1], flags=re.DOTALL)


def _variable(variables: Mapping[str, Any], name: str) -> Any:
    if name not in variables:
        raise ExpressionError(f"'{name}' is not known here")
    return variables[name]


def _logical(operator: str, left: Node, right: Node) -> Node:
    settles = operator == "||"

    def node(variables: Mapping[str, Any]) -> bool:
        if boolean(left(variables), operator) is settles:
            return settles
        return boolean(right(variables), operator)

    return node


def _unary(sign: str, operand: Node) -> Node:
    def node(variables: Mapping[str, Any]) -> Any:
        value = operand(variables)
        if sign == "!":
            return not boolean(value, "!")
        if kind_of(value) != "number":
            raise ExpressionError(f"'-' needs a number, got {show(value)}")
        return -value

    return node


def _binary(operator: str, left: Node, right: Node) -> Node:
    return lambda variables: apply(operator, left(variables), right(variables))


def _index(container: Node, key: Node) -> Node:
    def node(variables: Mapping[str, Any]) -> Any:
        value, name = container(variables), key(variables)
        if isinstance(value, Mapping):
            if name not in value:
                raise ExpressionError(f"there is no {name!r} (there is: {', '.join(map(str, value)) or 'nothing'})")
            return value[name]
        if isinstance(value, list) and kind_of(name) == "number" and name == int(name):
            if not 0 <= name < len(value):
                raise ExpressionError(f"index {name} is outside a list of {len(value)}")
            return value[int(name)]
        raise ExpressionError(f"{show(value)} has no element {name!r}")

    return node


def _call(name: str, table: Mapping[str, Any], arguments: list[Node], text: str) -> Node:
    if name not in table:
        raise ExpressionError(f"unknown function '{name}' (known: {', '.join(table)}) in the expression: {text}")
    function, count = table[name]
    if len(arguments) != count:
        raise ExpressionError(f"'{name}' takes {count} argument(s), got {len(arguments)} in the expression: {text}")
    return lambda variables: function(*(argument(variables) for argument in arguments))
