"""The middle of a race: from what the first rung measured, and the time that is left, to the second one."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from components.core.budget import Budget
from components.core.choice.measured import measure_recipes
from components.core.evaluation.document import Evaluation
from components.core.recipe import Recipe
from components.core.report.recipe_names import recipe_names
from components.core.time_box import Costs, bounded_pace, explained, plan_second_rung
from components.halve.halving import halve_students


def costs_now(
    recipes: Sequence[Recipe], plan: Mapping[str, Any], epoch_seconds: Sequence[float | None], *, spent: float
) -> tuple[Costs, list[float]]:
    """Costs of the remaining steps on this machine as it is now, and of an epoch of each student.

    Epochs take what they took in the first rung. Where that is not known, as where several processes train, they are
    stretched as the whole rung was; what was done beside training always is.

    Args:
        recipes: of the first rung, with their epochs.
        plan: as the stage plan gives it.
        epoch_seconds: of each student, or None.
        spent: seconds that the rung took.
    """
    planned = Costs.from_json(plan["costs"])
    stretched = planned.at(bounded_pace(spent, plan["time"]["first"]))
    lessons = [
        stretched.lesson(plan["contenders"][one.name]["work"]) if seconds is None else seconds
        for one, seconds in zip(recipes, epoch_seconds, strict=True)
    ]
    epochs = [int(one.more["distill_epochs"]) for one in recipes]
    return explained(planned, lessons, epochs, spent=spent), lessons


def go_on(
    evaluations: Sequence[Evaluation],
    recipes: Sequence[Recipe],
    budget: Budget,
    plan: Mapping[str, Any],
    *,
    epoch_seconds: Sequence[float | None],
    deadline: float,
    now: float,
) -> tuple[list[Recipe], dict[str, Any]]:
    """The recipes of the second rung, and race.json: who was stopped, and how the time was spent.

    Args:
        evaluations: of each student, on validation data.
        recipes: their recipes, in the same order.
        budget: the limits.
        plan: as the stage plan gives it.
        epoch_seconds: what an epoch of each really took; None where it is not known.
        deadline, now: in seconds of Unix time. From the deadline on nothing is trained.
    """
    first, spent = plan["time"]["first"], now - plan["made"]
    costs, lessons = costs_now(recipes, plan, epoch_seconds, spent=spent)
    names = recipe_names([one.to_json() for one in recipes])

    def fits(ranked: Sequence[int]) -> tuple[int, int]:
        return plan_second_rung(
            deadline - now, costs, [lessons[one] for one in ranked], students=len(recipes),
            first_epochs=int(plan["time"]["first_epochs"]),
        )  # fmt: skip

    halved = halve_students(measure_recipes(evaluations), budget, names, fits)
    finalists = [
        replace(
            recipes[one],
            name=f"{names[one]}, trained on",
            more={**recipes[one].more, "distill_epochs": halved.epochs, "student": one},
        )
        for one in halved.going_on
    ]
    kept = ", ".join(names[one] for one in halved.going_on)
    said = [f"{names[one]} stops: {reason}" for one, reason in halved.stopped.items()]
    said.append(
        f"{deadline - now:.0f} s are left: {halved.epochs} more epochs for {kept}"
        if halved.epochs
        else f"{deadline - now:.0f} s are left, too few for an epoch: nothing more is trained"
    )
    second = costs.rung([lessons[one] for one in halved.going_on], halved.epochs)
    return finalists, {
        "students": [
            {"recipe": one.to_json(), "stopped": halved.stopped.get(number, "")} for number, one in enumerate(recipes)
        ],
        "more_epochs": halved.epochs,
        "minutes": plan["minutes"],
        "control": plan["control"],
        "began": plan["began"],
        "at": now,
        "steps": [
            *plan["steps"],
            {"name": "first rung", "planned": first, "real": spent, "epoch_seconds": lessons},
            {"name": "second rung", "planned": second, "real": None},
            {"name": "test and release", "planned": costs.release, "real": None},
        ],
        "said": said,
    }
