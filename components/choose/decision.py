"""decision.json: every recipe with what was measured, which one is chosen, and why."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from components.core.budget import Budget
from components.core.choice.measured import Measured, measure_recipes
from components.core.choice.misses import misses
from components.core.choice.pareto import on_front
from components.core.choice.rule import choose_recipe
from components.core.evaluation.document import Evaluation
from components.core.report.recipe_names import recipe_names

FORMAT = 2


def decide_recipe(
    evaluations: Sequence[Evaluation], recipes: Sequence[Mapping[str, Any]], budget: Budget
) -> dict[str, Any]:
    """The content of decision.json.

    Args:
        evaluations: of each recipe, on validation data.
        recipes: What was done, in the same order.
        budget: The user's limits.
    """
    measured = measure_recipes(evaluations)
    names = recipe_names(recipes)
    choice = choose_recipe(measured, budget, names)
    front = on_front([one.costs for one in measured])
    rows = [
        {**_row(recipe, name, one, kept, budget), "warnings": list(evaluation.warnings)}
        for recipe, name, one, kept, evaluation in zip(recipes, names, measured, front, evaluations, strict=True)
    ]
    first = evaluations[0]
    primary = first.primary
    return {
        "format": FORMAT,
        "recipes": rows,
        "chosen": choice.index,
        "meets_budget": choice.meets_budget,
        "reason": choice.reason,
        "split": first.split,
        "metric": {
            "name": primary.name,
            "label": primary.label,
            "percent": primary.percent,
            "points_per_unit": primary.points_per_unit,
            "higher_is_better": primary.higher_is_better,
        },
        "budget": {
            "max_latency_ms": budget.max_latency_ms,
            "max_size_mb": budget.max_size_mb,
            "max_drop": budget.max_drop,
        },
        "baseline": {
            "value": primary.baseline.value,
            "latency_ms": statistics.median(evaluation.baseline.at(1).p50_ms for evaluation in evaluations),
            "size_bytes": first.baseline.size_bytes,
            "macs": first.baseline.macs,
        },
    }


def _row(recipe: Mapping[str, Any], name: str, one: Measured, kept: bool, budget: Budget) -> dict[str, Any]:
    reasons = [miss.text for miss in misses(budget, one)]
    return {
        "recipe": dict(recipe),
        "name": name,
        "value": one.value,
        "drop_points": one.drop_points,
        "drop_standard_error": one.drop_error,
        "latency_ms": one.latency_ms,
        "speedup": 1 / one.relative_latency,
        "size_bytes": one.size_bytes,
        "macs": one.macs,
        "on_front": kept,
        "meets": not reasons,
        "reasons": reasons,
    }
