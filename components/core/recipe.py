"""A recipe: one way to make a small model out of the tuned one. It travels through the pipeline as a whole."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from components.core.errors import UserError
from components.core.parameters import DECLARED, Parameter
from components.core.parameters.rules import SHARE

SCHEMES = ("int8", "float32")

CONTROL = "control"
"""In `more`: the stock backbone that this student is, in the place of the tuned model made smaller."""

_MACS = Parameter(
    name="macs_fraction", type=float, default=1.0, rule=SHARE, text="Fraction of the multiply-accumulates to keep."
)
_SCHEME = Parameter(name="scheme", type=str, default="int8", choices=SCHEMES, text="Number format of the ONNX file.")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The steps from the tuned model to a candidate. Each stage takes the whole recipe and reads what concerns it.

    Attributes:
        name: for tables and figures; not empty.
        macs_fraction: multiply-accumulates to keep, in (0, 1]; 1 leaves the model whole.
        student_size: side of the student's input in pixels, 0 for the teacher's.
        scheme: int8, or float32 to export only.
        more: what a technique adds, by name. A stage that does not know a name leaves it alone.

    Raises:
        UserError: a value that does not work, named.
    """

    name: str
    macs_fraction: float = 1.0
    student_size: int = 0
    scheme: str = "int8"
    more: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip():
            raise UserError(f"a recipe needs a name; got {self.name!r}")
        checked = {
            "macs_fraction": _MACS.check(self.macs_fraction),
            "student_size": DECLARED["student_size"].check(self.student_size),
            "scheme": _SCHEME.check(self.scheme),
        }
        for name, value in checked.items():
            # KFP hands 1.0 on as 1; a recipe is the same either way.
            object.__setattr__(self, name, value)
        if taken := sorted(set(self.more) & _OWN):
            raise UserError(f"the recipe {self.name!r} names {taken[0]!r} twice")

    def to_json(self) -> dict[str, Any]:
        """One flat object: its own fields, and beside them what `more` holds."""
        return {name: getattr(self, name) for name in sorted(_OWN)} | dict(self.more)

    @classmethod
    def from_json(cls, content: Any) -> "Recipe":
        """The recipe of such an object; what is left out has its default, what is unknown goes to `more`.

        Raises:
            UserError: no object, no name, or a value that does not work.
        """
        if not isinstance(content, Mapping):
            raise UserError(f"a recipe is an object with a name; got {content!r}")
        if "name" not in content:
            raise UserError(f"a recipe needs a name; got {dict(content)!r}")
        own = {name: content[name] for name in content if name in _OWN}
        return cls(**own, more={name: content[name] for name in content if name not in _OWN})


_OWN = frozenset(one.name for one in fields(Recipe)) - {"more"}
