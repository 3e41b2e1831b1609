"""KFP face of planning the first rung again."""

from typing import List, NamedTuple

from kfp import dsl

from components.images import BASE_IMAGE, DATA_IMAGE


class Paced(NamedTuple):
    """The recipes of the first rung, and the plan by what the steps really took."""

    recipes: List[dict]
    plan: dict


@dsl.component(base_image=BASE_IMAGE, target_image=DATA_IMAGE)
def pace(recipes: List[dict], plan: dict = {}, deadline: float = 0.0) -> Paced:  # noqa: B006
    """Plans the first rung of a race again, when the teacher is trained: fewer students, or other epochs, if training
    took longer or shorter than it was measured to take.

    Args:
        recipes: The candidates' recipes (core.recipe), in the order in which to try them.
        plan: The plan of the race.
        deadline: End of the time box, in seconds of Unix time.

    Returns:
        The recipes that run, with their epochs, and the plan by what the steps really took.
    """
    import time

    from components.core.recipe import Recipe
    from components.pace.again import planned_again

    tried = [Recipe.from_json(recipe) for recipe in recipes]
    left, document = planned_again(tried, plan, deadline=deadline, now=time.time())
    print(document["steps"][-1]["said"])
    return Paced(recipes=[one.to_json() for one in left], plan=document)
