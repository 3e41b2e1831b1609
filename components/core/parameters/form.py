"""The form of a pipeline: a few plain fields, and one field `advanced` for everything else."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from components.core.errors import UserError
from components.core.parameters.every_task import RELEASE
from components.core.parameters.given_network import of_given_network
from components.core.parameters.parameter import PARTS, Parameter, near
from components.core.parameters.race import of_race
from components.core.parameters.retraining import IN_ADVANCED, RETRAIN
from components.core.parameters.rules import check_between

ADVANCED = "advanced"
Kind = Literal["optimize", "retrain", "compress", "race"]
SETTINGS = {part: f"{part}_settings" for part in PARTS if part != "recipe"}
"""Parts that are handed to stages as one value each; what concerns recipes goes into every recipe."""
MOST_FIELDS = 14
"""Plain fields of one form, beside `advanced`; the pipeline UI shows one below the other."""


@dataclass(frozen=True, kw_only=True)
class Form:
    """The form of one pipeline for one task. Knows no task: it is given the task's parameters.

    Attributes:
        pipeline: the pipeline's name.
        task: the task's name, which nobody is asked for.
        parameters: all of them, plain and advanced.
        kind: what the pipeline does: searches for a first release, searches within a time box, retrains the
            champion, or compresses a network that its user has trained.
    """

    pipeline: str
    task: str
    parameters: tuple[Parameter, ...]
    kind: Kind = "optimize"

    def __post_init__(self) -> None:
        names = [parameter.name for parameter in self.parameters]
        assert len(set(names)) == len(names), f"a parameter is declared twice: {sorted(names)}"
        assert len(self.fields) <= MOST_FIELDS, f"{self.pipeline}: {len(self.fields)} fields"

    @property
    def fields(self) -> Mapping[str, Parameter]:
        """The plain fields by their names on the form, in the alphabet's order, which is the UI's."""
        plain = {parameter.field: parameter for parameter in self.parameters if parameter.field}
        return dict(sorted(plain.items()))

    @property
    def advanced(self) -> Mapping[str, Parameter]:
        """Parameters without a field of their own, by name."""
        hidden = {parameter.name: parameter for parameter in self.parameters if not parameter.field}
        return dict(sorted(hidden.items()))

    def resolve(self, fields: Mapping[str, Any], advanced: Mapping[str, Any]) -> dict[str, Any]:
        """Every parameter's value under its flat name, checked alone and against the others.

        Args:
            fields: values by field name; what is missing has its default.
            advanced: values by parameter name.

        Raises:
            UserError: an unknown key, a key that has a field of its own, a wrong type, or a value outside its rule.
        """
        for key in advanced:
            self._check_key(key)
        given = {parameter.name: fields[field] for field, parameter in self.fields.items() if field in fields}
        given |= advanced
        values = {
            parameter.name: parameter.check(given.get(parameter.name, parameter.default))
            for parameter in self.parameters
        }
        check_between(values)
        return values

    def settings(self, values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """The values that go to a part of the task, by name: `data_settings`, `network_settings`, …"""
        return {
            settings: {one.name: values[one.name] for one in self.parameters if one.part == part}
            for part, settings in SETTINGS.items()
        }

    def recipe(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The values that go into every recipe, by name."""
        return {one.name: values[one.name] for one in self.parameters if one.part == "recipe"}

    def _check_key(self, key: str) -> None:
        if key in self.advanced:
            return
        for field, parameter in self.fields.items():
            if key in (field, parameter.name):
                raise UserError(f"{key!r} does not belong in {ADVANCED}; give it in the field {field} of the form")
        known = sorted(self.advanced)
        raise UserError(f"unknown key {key!r} in {ADVANCED}{near(key, known)} (keys: {', '.join(known)})")

    def describe(self, summary: str) -> str:
        """The pipeline's description: `summary`, every field in plain words, and the names for `advanced`.

        The UI shows neither what a field means nor its choices, but it does show this text.
        """
        lines = [summary, "", "Fields:"]
        lines += [f"- {field}: {parameter.described}" for field, parameter in self.fields.items()]
        lines += [
            f'- {ADVANCED}: further parameters as JSON, for instance {{"learning_rate": 0.0005}}. The first task '
            "refuses unknown names.",
            "",
            "Names for advanced, with their defaults:",
        ]
        lines += [
            f"- {name} ({_shown(parameter.default)}): {parameter.described}"
            for name, parameter in self.advanced.items()
        ]
        return "\n".join(lines)


def first_form(task: str, parameters: Sequence[Parameter], *, pipeline: str) -> Form:
    """Of the pipeline that searches for a first release."""
    return Form(pipeline=pipeline, task=task, parameters=(*parameters, *RELEASE))


def race_form(task: str, parameters: Iterable[Parameter], *, pipeline: str) -> Form:
    """Of the pipeline that searches within a time box: what it plans is not asked."""
    return Form(pipeline=pipeline, task=task, parameters=(*of_race(parameters), *RELEASE), kind="race")


def retraining_form(task: str, parameters: Iterable[Parameter], *, pipeline: str) -> Form:
    """Of the pipeline that retrains the champion: the same parameters, some of them advanced here, and its own."""
    here = (replace(one, field=None) if one.name in IN_ADVANCED else one for one in parameters)
    return Form(pipeline=pipeline, task=task, parameters=(*here, *RETRAIN), kind="retrain")


def given_network_form(
    task: str, parameters: Iterable[Parameter], *, pipeline: str, defaults: Mapping[str, Any]
) -> Form:
    """Of the pipeline that compresses a trained network; `defaults` are the task's own for it."""
    here = (*of_given_network(parameters, defaults), *RELEASE)
    return Form(pipeline=pipeline, task=task, parameters=here, kind="compress")


def _shown(default: Any) -> str:
    return repr(default) if default == "" else f"{default:g}" if isinstance(default, float) else str(default)
