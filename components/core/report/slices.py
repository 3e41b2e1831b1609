"""How the slices of an evaluation.json are shown, in the stage's page and in the run report."""

from collections.abc import Mapping
from typing import Any

from components.core.report.numbers import MISSING, percent, points
from components.core.report.page import Block, Cell, Details, table
from components.core.retraining import FEWEST_ROWS

_UNFOLDED_SLICES = 20


def slice_table(evaluation: Mapping[str, Any], *, candidate: str = "candidate") -> Block | None:
    """Images, top-1 of both and the paired difference of each slice; None where there are none.

    Args:
        evaluation: evaluation.json.
        candidate: what the candidate is called, for the heading.
    """
    slices = evaluation["difference"].get("per_slice")
    if not slices:
        return None
    shown: Block = table(
        ["slice", "images", "baseline", candidate, "difference", ""],
        [_row(row) for row in slices],
        caption="Top-1 and difference in points, with the 95 % interval of the paired bootstrap. An image can be in a "
        f"slice of each column, or in none. On fewer than {FEWEST_ROWS} images no loss can be told from chance.",
    )
    return shown if len(slices) <= _UNFOLDED_SLICES else Details(f"All {len(slices)} slices", (shown,))


def _row(row: Mapping[str, Any]) -> list[Any]:
    if not row["support"]:
        return [row["slice"], 0, MISSING, MISSING, MISSING, "no image"]
    told = row["support"] >= FEWEST_ROWS
    spread = f"{row['low']:+.1f} to {row['high']:+.1f}".replace("-", "−")
    return [
        row["slice"],
        row["support"],
        percent(row["baseline_top1"], digits=1),
        percent(row["candidate_top1"], digits=1),
        Cell(points(row["points"], digits=1), sub=spread, tone="bad" if told and row["high"] < 0 else ""),
        "" if told else "too few images to tell",
    ]
