"""The Pareto front: what remains when everything that is worse in all respects is taken away."""

from collections.abc import Sequence


def dominates(a: Sequence[float], b: Sequence[float]) -> bool:
    """Whether `a` is nowhere worse than `b` and somewhere better; smaller is better in every coordinate.

    Raises:
        ValueError: The two have different lengths.
    """
    pairs = list(zip(a, b, strict=True))
    return all(x <= y for x, y in pairs) and any(x < y for x, y in pairs)


def on_front(costs: Sequence[Sequence[float]]) -> list[bool]:
    """For each cost vector, whether no other one dominates it; equal vectors stay together.

    Quadratic in the number of vectors, which is the number of recipes of a run (at most a few dozen).
    """
    return [not any(dominates(other, cost) for other in costs) for cost in costs]
