"""The plan of a race by what its first steps really took."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from components.core.recipe import Recipe
from components.core.time_box import Contender, Costs, bounded_pace, plan_first_rung


def planned_again(
    recipes: Sequence[Recipe], plan: Mapping[str, Any], *, deadline: float, now: float
) -> tuple[list[Recipe], dict[str, Any]]:
    """The recipes that the first rung has time for, and the plan with costs as this machine now has them.

    Args:
        recipes: those that were planned.
        plan: as the stage plan gives it.
        deadline, now: in seconds of Unix time.
    """
    time, spent = plan["time"], now - plan["made"]
    pace = bounded_pace(spent, time["teacher"])
    costs = Costs.from_json(plan["costs"]).at(pace)
    contenders, tuned = [Contender(**plan["contenders"][one.name]) for one in recipes], int(time["epochs"])
    students, epochs = plan_first_rung(deadline - now, costs, contenders, tuned=tuned)
    kept = [
        replace(one, more={**one.more, "distill_epochs": contender.epochs(epochs, tuned)})
        for one, contender in zip(recipes[:students], contenders, strict=False)
    ]
    said = (
        f"the teacher took {spent:.0f} s of {time['teacher']:.0f} planned; {deadline - now:.0f} s are left: {epochs} "
        f"epochs for each of {students} students"
    )
    first = costs.first_rung(contenders[:students], epochs, tuned=tuned)
    return kept, {
        **plan,
        "made": now,
        "costs": costs.to_json(),
        "time": {**time, "teacher": 0.0, "first": first, "first_epochs": epochs},
        "steps": [*plan["steps"], {"name": "teacher", "planned": time["teacher"], "real": spent, "said": said}],
    }
