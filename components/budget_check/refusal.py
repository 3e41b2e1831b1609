"""Limits of latency and size that no recipe can meet."""

from components.core.pruning.students import Student
from components.core.recipe import Recipe

SLACK = 1.25
"""By how much the untrained student must miss a latency before it is refused: pruning by importance takes other
channels than evenly, and the machine is measured for a moment only."""


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
    # Importance takes other channels: slower ones by up to a tenth, but up to a third of the parameters more. So of a
    # size only what is smaller than anything pruning leaves is certain to be missed.
    if max_size_mb is not None and least.size_bytes > max_size_mb * 1e6:
        return (
            f"max_size_mb {max_size_mb:g} cannot be met: {backbone}, pruned as far as it can be, has "
            f"{least.size_bytes / 1e6:.3g} MB. Raise the limit, or give another backbone"
        )
    if max_latency_ms is None or asked.latency_ms <= SLACK * max_latency_ms:
        return ""
    if fits:
        said = f"{backbone}, pruned as far as it can be, takes {least.latency_ms:.3g} ms at batch 1 on this machine"
        instead = "Raise the limit, or give"
    else:
        said = (
            f"{backbone} with the smallest recipe ({recipe.name}) takes {asked.latency_ms:.3g} ms at batch 1 on this "
            f"machine, and {least.latency_ms:.3g} ms pruned as far as it can be"
        )
        instead = "Raise the limit, or give smaller prune_targets,"
    return (
        f"max_latency_ms {max_latency_ms:g} cannot be met: {said}. {instead} a smaller student_size or another backbone"
    )
