"""Recipes that fit a budget: how much of the network the limits of latency and size leave."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from components.core.pruning.students import Student
from components.core.recipe import Recipe

FRACTIONS = tuple(round(0.15 + 0.05 * step, 2) for step in range(18))
"""Of the multiply-accumulates: what is tried, from the least that makes sense to the whole network."""

MARGINS = (0.93, 0.8)
"""Parts of the limits that the recipes aim at, one recipe each. Pruning by importance keeps other channels than evenly,
and its network is up to a tenth slower at equal multiply-accumulates; the second is there in case the first misses."""


def fitted_recipes(
    recipe: Recipe,
    measured: Callable[[Sequence[float]], list[Student]],
    *,
    max_latency_ms: float | None,
    max_size_mb: float | None,
) -> list[Recipe]:
    """One recipe for each margin with the largest fraction whose student is within it, largest first.

    Args:
        recipe: all else that holds for each of them.
        measured: fractions → untrained students; latency and size grow with the fraction.
        max_latency_ms, max_size_mb: the limits; None is none.

    Returns:
        fewer where margins lead to one fraction; the least fraction where even that misses a margin.
    """
    known: dict[float, Student] = {}

    def holds(fraction: float, margin: float) -> bool:
        if fraction not in known:
            (known[fraction],) = measured([fraction])
        student = known[fraction]
        fast = max_latency_ms is None or student.latency_ms <= margin * max_latency_ms
        return fast and (max_size_mb is None or student.size_bytes <= margin * max_size_mb * 1e6)

    found = []
    for margin in MARGINS:
        low, high = 0, len(FRACTIONS) - 1
        while low < high:
            middle = (low + high + 1) // 2
            if holds(FRACTIONS[middle], margin):
                low = middle
            else:
                high = middle - 1
        found.append(FRACTIONS[low])
    size = f", {recipe.student_size} px" if recipe.student_size else ""
    return [
        replace(recipe, name=f"{fraction:.0%} MACs{size}", macs_fraction=fraction)
        for fraction in sorted(set(found), reverse=True)
    ]
