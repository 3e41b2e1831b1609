"""Parameters of the search in a time box, which plans what the other pipelines ask."""

from collections.abc import Iterable

from components.core.parameters.parameter import Parameter
from components.core.parameters.rules import POSITIVE

TIME_LIMIT = "time_limit_minutes"

RACE = (
    Parameter(
        name=TIME_LIMIT, field="budget_time_limit_minutes", type=float, default=15.0, rule=POSITIVE,
        text="Time limit of the whole run, in minutes. Epochs, pruning and input sizes are planned to fit it.",
    ),
)  # fmt: skip

PLANNED = ("prune_targets", "prune_to_fit", "prune_price", "student_size", "epochs", "distill_epochs")
"""Parameters that nobody is asked for, since they follow from limits and time."""


def of_race(parameters: Iterable[Parameter]) -> tuple[Parameter, ...]:
    """A task's parameters without those that are planned, with this form's own."""
    return (*(one for one in parameters if one.name not in PLANNED), *RACE)
