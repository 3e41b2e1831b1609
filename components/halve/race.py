"""The middle of a race: from what the first rung measured, and the time that is left, to the second one."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from components.core.budget import Budget
from components.core.choice.measured import measure_recipes
from components.core.evaluation.document import Evaluation
from components.core.recipe import Recipe
from components.core.report.recipe_names import recipe_names
from components.core.time_box import Costs, plan_second_rung
from components.halve.halving import halve_students

PACES = (0.8, 4.0)
"""Bounds of how many times as long as planned the steps may have taken: results from a cache take no time and say
nothing of what comes, and a run that was resumed has stood still in between."""


def go_on(
    evaluations: Sequence[Evaluation],
    recipes: Sequence[Recipe],
    budget: Budget,
    plan: Mapping[str, Any],
    *,
    deadline: float,
    now: float,
) -> tuple[list[Recipe], dict[str, Any]]:
    """The recipes of the second rung, and race.json: who was stopped, and how the time was spent.

    Args:
        evaluations: of each student, on validation data.
        recipes: their recipes, in the same order.
        budget: the limits.
        plan: as the stage plan gives it.
        deadline, now: in seconds of Unix time. From the deadline on nothing is trained.
    """
    costs, planned = Costs.from_json(plan["costs"]), plan["time"]
    names = recipe_names([one.to_json() for one in recipes])
    works = [plan["works"][one.name] for one in recipes]
    until_now = planned["teacher"] + planned["first"]
    spent = now - plan["made"]
    pace = min(max(spent / until_now, PACES[0]), PACES[1])

    def fits(ranked: Sequence[int]) -> tuple[int, int]:
        return plan_second_rung(
            deadline - now, costs, [works[one] for one in ranked], students=len(recipes),
            first_epochs=int(planned["first_epochs"]), pace=pace,
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
    second = pace * costs.rung([works[one] for one in halved.going_on], halved.epochs)
    return finalists, {
        "students": [
            {"recipe": one.to_json(), "stopped": halved.stopped.get(number, "")} for number, one in enumerate(recipes)
        ],
        "more_epochs": halved.epochs,
        "minutes": plan["minutes"],
        "began": plan["began"],
        "at": now,
        "steps": [
            {"name": "data, backbone and plan", "planned": None, "real": plan["made"] - plan["began"]},
            {"name": "teacher and first rung", "planned": until_now, "real": spent},
            {"name": "second rung", "planned": second, "real": None},
            {"name": "test and release", "planned": pace * planned["release"], "real": None},
        ],
        "said": said,
    }
