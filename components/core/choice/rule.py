"""The rule by which one recipe is chosen; see components/choose/README.md for the reasons.

Deterministic as far as its inputs are: metrics, sizes and MACs are equal in every run of a seed, latencies are not.
Therefore two latencies within `LATENCY_TOLERANCE` count as equal, and then MACs decide.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from components.core.budget import Budget
from components.core.choice.measured import Measured
from components.core.choice.misses import misses
from components.core.choice.pareto import on_front

LATENCY_TOLERANCE = 0.10
"""Relative difference below which two measured latencies are taken for equal."""


@dataclass(frozen=True, kw_only=True)
class ChosenRecipe:
    """The number of the chosen recipe, whether it keeps the whole budget, and why it was taken."""

    index: int
    meets_budget: bool
    reason: str


def choose_recipe(measured: Sequence[Measured], budget: Budget, names: Sequence[str]) -> ChosenRecipe:
    """One recipe of the Pareto front over (lost points, latency, size).

    1. Of the recipes that keep every limit, with `max_drop` given: the fastest of those that keep it with one standard
       error to spare (a loss measured on few images may be larger in truth); if none has that margin, the most
       accurate.
    2. Without `max_drop`: the fastest of those within one standard error of the most accurate one that keeps the limits
       (the one-standard-error rule; Breiman, Friedman, Olshen, Stone 1984, section 3.4.3).
    3. If none keeps the limits: the one with the smallest sum of relative excesses.

    Args:
        measured: The recipes; at least one.
        budget: The limits.
        names: For the reason, in the order of `measured`.

    Raises:
        ValueError: There is no recipe, or names are missing.
    """
    if not measured or len(names) != len(measured):
        raise ValueError(f"{len(measured)} recipes with {len(names)} names; at least one recipe, each with a name")
    front = [index for index, kept in enumerate(on_front([one.costs for one in measured])) if kept]
    # A dominated recipe that meets the budget is dominated by one that meets it too: nothing is lost here.
    meeting = [index for index in front if not misses(budget, measured[index])]
    if not meeting:
        return _nearest(measured, budget, names, front)
    if budget.max_drop is not None:
        return _within_drop(measured, budget.max_drop, names, meeting)
    return _without_drop(measured, budget, names, meeting)


def fastest(measured: Sequence[Measured], indices: Sequence[int]) -> int:
    """Of the recipes `indices`, the fastest; among those about as fast, the one with the fewest MACs, then bytes."""
    limit = (1 + LATENCY_TOLERANCE) * min(measured[index].relative_latency for index in indices)
    near = [index for index in indices if measured[index].relative_latency <= limit]

    return min(near, key=lambda index: (*_order(measured[index]), index))


def most_accurate(measured: Sequence[Measured], indices: Sequence[int]) -> int:
    """Of the recipes `indices`, the one that loses least; among equals the one with the fewest MACs."""
    return min(indices, key=lambda index: (measured[index].drop_points, *_order(measured[index]), index))


def _order(one: Measured) -> tuple[int, int, float, float]:
    # What is the same in every run comes first, so that ties do not fall to the clock.
    return (one.macs, one.size_bytes, one.drop_points, one.relative_latency)


def _within_drop(
    measured: Sequence[Measured], max_drop: float, names: Sequence[str], meeting: list[int]
) -> ChosenRecipe:
    # An error that is not known may be of any size: such a recipe has nothing to spare.
    safe = [index for index in meeting if _worse_by_error(measured[index], math.inf) <= max_drop]
    if safe:
        index = fastest(measured, safe)
        why = f"is the fastest that keeps the budget with one standard error ({_error(measured[index])}) to spare"
    else:
        index = most_accurate(measured, meeting)
        why = "is the most accurate that keeps the budget; none keeps max_drop with one standard error to spare"
    return ChosenRecipe(index=index, meets_budget=True, reason=f"{names[index]} {why}: {_facts(measured[index])}.")


def _without_drop(
    measured: Sequence[Measured], budget: Budget, names: Sequence[str], meeting: list[int]
) -> ChosenRecipe:
    best = most_accurate(measured, meeting)
    limit = _worse_by_error(measured[best], 0.0)
    index = fastest(measured, [one for one in meeting if measured[one].drop_points <= limit])
    within = " that keeps the budget" if budget.given else ""
    if index == best:
        why = f"is the most accurate{within}, and no faster one is within one standard error ({_error(measured[best])})"
    else:
        why = (
            f"is the fastest within one standard error ({_error(measured[best])}) of the most accurate one"
            f"{within} ({names[best]})"
        )
    return ChosenRecipe(index=index, meets_budget=True, reason=f"{names[index]} {why}: {_facts(measured[index])}.")


def _nearest(measured: Sequence[Measured], budget: Budget, names: Sequence[str], front: list[int]) -> ChosenRecipe:
    def excess(index: int) -> float:
        return sum(miss.excess for miss in misses(budget, measured[index]))

    index = min(front, key=lambda index: (excess(index), *_order(measured[index]), index))
    missed = "; ".join(miss.text for miss in misses(budget, measured[index]))
    reason = f"No recipe keeps the budget. {names[index]} comes nearest: {missed}."
    return ChosenRecipe(index=index, meets_budget=False, reason=reason)


def _worse_by_error(one: Measured, unknown: float) -> float:
    """Lost points, and one standard error more; `unknown` stands for an error that is not known."""
    return one.drop_points + (unknown if one.drop_error is None else one.drop_error)


def _error(one: Measured) -> str:
    return "unknown on so few rows" if one.drop_error is None else f"{one.drop_error:.2f} points"


def _facts(one: Measured) -> str:
    # The sentence stands in reports beside test figures, so it says where its own come from.
    change = f"loses {one.drop_points:.2f} points" if one.drop_points >= 0 else f"gains {-one.drop_points:.2f} points"
    speed = f"{1 / one.relative_latency:.2f}× as fast as the baseline"
    return f"on validation data it {change} and is {speed}, {one.size_bytes / 1e6:.2f} MB"
