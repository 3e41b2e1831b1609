"""Figures on a KFP `Metrics` artifact, as the pipeline UI shows them: one line each, and all of a run side by side."""

from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

_DIGITS = 5


def log_metrics(metrics: Any, facts: Mapping[str, Any], *, recipe: str = "", data: str = "") -> None:
    """Logs every number in `facts`; what is no number is left out.

    Args:
        metrics: KFP's artifact.
        facts: by name; numbers that are not whole are rounded to five significant digits, booleans become 0 or 1.
        recipe: shown with them: tasks of a loop have the same name, and the UI may open another iteration's.
        data: what must be said of the rows that the figures are of (`Dataset.description`).
    """
    if recipe:
        metrics.metadata["recipe"] = recipe
    if data:
        metrics.metadata["data"] = data
    for name, value in facts.items():
        if isinstance(value, Integral):
            metrics.log_metric(name, int(value))
        elif isinstance(value, Real):
            metrics.log_metric(name, float(f"{float(value):.{_DIGITS}g}"))
