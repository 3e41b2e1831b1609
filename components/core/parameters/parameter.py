"""One parameter of a pipeline, and a check of its value."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any, get_args, get_origin

from components.core.errors import UserError
from components.core.parameters.rules import Range

PARTS = ("data", "network", "training", "distillation", "recipe")
_WORDS = {str: "text", int: "an integer", float: "a number", bool: "true or false", list: "a list"}


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A parameter as it is declared, once, for forms, command line, checks and documents.

    Attributes:
        name: its flat name, as the command line and the stages know it.
        type: str, int, float, bool, list[str] or list[float].
        default: what holds if nobody says anything. It is valid.
        text: what it means, in one or two plain sentences.
        rule: what a number must be, or each number of a list.
        choices: the words that are allowed; empty for any text.
        field: its name on the form of the pipeline UI; None puts it into the field `advanced`.
        part: where the value goes if no stage has an input of this name: "data" (options of the task's rows), "network"
            (settings of its networks), "training" (settings of its loss), "distillation" (of its loss against a
            teacher, on which fine-tuning does not depend) or "recipe" (how a model is made small). For what a task adds
            of its own.

    Raises:
        UserError: the default breaks the rule.
    """

    name: str
    type: Any
    default: Any
    text: str
    rule: Range | None = None
    choices: tuple[str, ...] = ()
    field: str | None = None
    part: str | None = None

    def __post_init__(self) -> None:
        assert self.part in (None, *PARTS), self.part
        self.check(self.default)

    def check(self, value: Any, *, called: str = "") -> Any:
        """The value as its type (1.0 is the integer 1, which JSON does not tell apart).

        Args:
            called: what to call the parameter in a message; a stage may have a shorter name for it.

        Raises:
            UserError: a wrong type, or a value outside of rule or choices; names what would work.
        """
        called = called or self.name
        if get_origin(self.type) is list:
            if not isinstance(value, list | tuple):
                raise UserError(f"{called} must be a list; got {value!r}")
            (item,) = get_args(self.type)
            return [self._one(one, item, called) for one in value]
        return self._one(value, self.type, called)

    def _one(self, value: Any, kind: type, called: str) -> Any:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if self.rule is not None and not self.rule.holds(value):
            raise UserError(f"{called} must be {self.rule.words}; got {value!r}")
        if kind is int and number and float(value).is_integer():
            return int(value)
        if kind is float and number:
            return float(value)
        if kind in (str, bool) and isinstance(value, kind):
            if self.choices and value not in self.choices:
                raise UserError(
                    f"{called} must be one of {', '.join(self.choices)}; got {value!r}{near(value, self.choices)}"
                )
            return value
        raise UserError(f"{called} must be {_WORDS[kind]}; got {value!r}")

    @property
    def described(self) -> str:
        """The text with the choices, where the text does not name them, and the default."""
        choices = "" if all(choice in self.text for choice in self.choices) else f" One of {', '.join(self.choices)}."
        return f"{self.text}{choices}"


def with_defaults(parameters: Iterable[Parameter], **defaults: Any) -> tuple[Parameter, ...]:
    """The parameters with other defaults where a task needs them.

    Raises:
        KeyError: a name that none of them has.
    """
    declared = {parameter.name: parameter for parameter in parameters}
    changed = {name: replace(declared[name], default=default) for name, default in defaults.items()}
    return tuple((declared | changed).values())


def near(name: object, known: Sequence[str]) -> str:
    """`; did you mean 'epochs'?`, or nothing if no known name is similar."""
    close = get_close_matches(str(name), known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
