"""How a decision.json is shown, in the stage's page and in the run report: the Pareto figure, the table of recipes."""

from collections.abc import Mapping
from typing import Any

from components.core.report.figures import Point, scatter
from components.core.report.numbers import compact, megabytes, milliseconds, percent, points, times
from components.core.report.page import Cell, Figure, Table, figure, table


def pareto_figure(decision: Mapping[str, Any]) -> Figure:
    """Accuracy against latency of every recipe and the baseline, with the front and the budget."""
    baseline, budget = decision["baseline"], decision.get("budget") or {}
    shown = [
        Point(
            name=recipe["name"],
            x=recipe["latency_ms"],
            y=recipe["top1"],
            kind="chosen" if number == decision["chosen"] else "candidate",
            on_front=recipe["on_front"],
            detail=f"{recipe['name']}: {percent(recipe['top1'])}, {milliseconds(recipe['latency_ms'])}, "
            f"{megabytes(recipe['size_bytes'])}",
        )
        for number, recipe in enumerate(decision["recipes"])
    ]
    shown.append(Point(name="fp32 baseline", x=baseline["latency_ms"], y=baseline["top1"], kind="baseline"))
    max_drop = budget.get("max_drop")
    svg = scatter(
        shown,
        title="Accuracy against latency",
        x="latency, batch 1, median (ms)",
        y="validation top-1",
        percent=True,
        x_limit=budget.get("max_latency_ms"),
        y_limit=None if max_drop is None else baseline["top1"] - max_drop / 100,
    )
    return figure(
        svg,
        "Up and to the left is better. Filled: on the front over accuracy, latency and size; ringed: chosen; "
        "diamond: what the release is measured against. Latencies are each recipe's ratio to the baseline, timed in "
        "turn, times the baseline's median.",
    )


def recipe_table(decision: Mapping[str, Any]) -> Table:
    """Every recipe with what was measured; the chosen one is marked."""
    baseline = decision["baseline"]
    rows: list[list[Any]] = [
        [
            recipe["name"],
            percent(recipe["top1"]),
            points(-recipe["drop_points"]),
            milliseconds(recipe["latency_ms"]),
            times(recipe["speedup"]),
            megabytes(recipe["size_bytes"]),
            compact(recipe["macs"]),
            "yes" if recipe["on_front"] else "no",
            Cell("yes", tone="good") if recipe["meets"] else Cell("no", "; ".join(recipe["reasons"]), tone="bad"),
        ]
        for recipe in decision["recipes"]
    ]
    rows.append(
        [
            "fp32 baseline",
            percent(baseline["top1"]),
            None,
            milliseconds(baseline["latency_ms"]),
            None,
            megabytes(baseline["size_bytes"]),
            compact(baseline["macs"]),
            "",
            "",
        ]
    )
    columns = ["recipe", "top-1", "change", "latency", "faster", "size", "MACs", "on front", "in budget"]
    return table(columns, rows, marked=[decision["chosen"]], faint=[len(rows) - 1])
