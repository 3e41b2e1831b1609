"""The plan of a search, and whether its budget can be met; checked before anything expensive starts."""

from collections.abc import Mapping, Sequence
from typing import Any

from components.core.errors import UserError
from components.core.recipe import Recipe

MAX_RECIPES = 16


def plan_recipes(
    prune_targets: Sequence[float], *, student_size: int, price: str = "macs", more: Mapping[str, Any] | None = None
) -> list[Recipe]:
    """One recipe for each pruning target, largest model first.

    Args:
        prune_targets: fractions of the tuned model's MACs or latency to keep, each in (0, 1]; 1 leaves it whole.
        price: macs or latency.
        student_size: input size of the students in pixels; 0 keeps the teacher's.
        more: what the task's user chose for every recipe, by name.

    Raises:
        UserError: no target, too many, or a duplicate.
    """
    if not prune_targets:
        raise UserError("prune_targets is empty; give at least one fraction of MACs to keep, for instance [0.8, 0.6]")
    if len(prune_targets) > MAX_RECIPES:
        raise UserError(f"prune_targets has {len(prune_targets)} entries; a run tries at most {MAX_RECIPES}")
    if len(set(prune_targets)) != len(prune_targets):
        raise UserError(f"prune_targets names a fraction twice: {list(prune_targets)}")
    size = f", {student_size} px" if student_size else ""
    unit = "MACs" if price == "macs" else price
    return [
        Recipe(
            name=f"{target:.0%} {unit}{size}", macs_fraction=float(target), student_size=student_size, more=more or {}
        )
        for target in sorted(prune_targets, reverse=True)
    ]


def plan_parts(count: int) -> list[dict[str, Any]]:
    """One entry for each part of the data, in the words of `data_part`; the `name` is for people."""
    return [{"name": f"part {number + 1} of {count}", "number": number, "of": count} for number in range(count)]


def check_size_budget(
    *, max_size_mb: float | None, parameters: Mapping[str, int | None], prune_targets: Sequence[float]
) -> None:
    """Refuse a size budget that no recipe can reach.

    A weight takes one byte after quantization, and pruning channels to a fraction f of the MACs leaves at least f² of
    the parameters (both ends of every layer cut). The backbone's published count includes its ImageNet head; a third
    is taken off for that, so that only what is truly impossible is refused.

    Args:
        max_size_mb: allowed file size in megabytes (10⁶ bytes); None is no limit.
        parameters: published parameter count of each candidate, None where the catalog does not know it.
        prune_targets: fractions of MACs to keep.
    """
    known = {name: count for name, count in parameters.items() if count}
    if max_size_mb is None or len(known) < len(parameters):
        return
    name, count = min(known.items(), key=lambda item: item[1])
    smallest_mb = count * (2 / 3) * min(prune_targets) ** 2 / 1e6
    if max_size_mb < smallest_mb:
        raise UserError(
            f"max_size_mb {max_size_mb:g} cannot be met: even with {min(prune_targets):.0%} of its MACs, the "
            f"smallest backbone, {name}, needs about {smallest_mb:.2g} MB as int8; raise the limit, prune further "
            "or add a smaller backbone"
        )


def distinct_names(names: Sequence[str]) -> list[str]:
    """The backbones to compare, in order, without blanks and repeats.

    Raises:
        UserError: nothing is named.
    """
    distinct = list(dict.fromkeys(name.strip() for name in names if name.strip()))
    if not distinct:
        raise UserError("backbones is empty; name at least one, for instance efficientnet_lite0")
    return distinct
