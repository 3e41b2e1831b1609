"""What a budget asks that no student of the recipes can give."""

from components.budget_check.students import Student
from components.core.recipe import Recipe

SLACK = 1.25
"""By how much the untrained student must miss a limit before it is refused: pruning by importance takes other channels
than evenly, and the machine is measured for a moment only."""


def refusal(
    asked: Student,
    least: Student,
    recipe: Recipe,
    *,
    backbone: str,
    fits: bool,
    max_latency_ms: float | None,
    max_size_mb: float | None,
) -> str:
    """Why the budget cannot be met, and what would help; empty if it may be.

    Args:
        asked, least: the student of the smallest recipe, and the smallest one that pruning can make.
        recipe: that recipe.
        backbone: its network's name.
        fits: recipes would be fitted to the limits, so that only the smallest possible student counts.
        max_latency_ms, max_size_mb: the limits; None is none.
    """
    limits = (
        (
            "max_latency_ms",
            max_latency_ms,
            asked.latency_ms,
            least.latency_ms,
            "takes",
            "ms at batch 1 on this machine",
        ),
        ("max_size_mb", max_size_mb, asked.size_bytes / 1e6, least.size_bytes / 1e6, "has", "MB"),
    )
    for name, limit, found, best, verb, unit in limits:
        if limit is not None and found > SLACK * limit:
            if fits:
                said = f"{backbone}, pruned as far as it can be, {verb} {best:.3g} {unit}. Allow more, or give"
            else:
                said = (
                    f"{backbone} by the smallest recipe ({recipe.name}) {verb} {found:.3g} {unit}; pruned as far as it "
                    f"can be {best:.3g}. Allow more, or give smaller prune_targets,"
                )
            return f"{name} {limit:g} cannot be met: {said} a smaller student_size or another backbone"
    return ""
