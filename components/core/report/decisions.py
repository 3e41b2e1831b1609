"""How a decision.json is shown, in the stage's page and in the run report: the Pareto figures, the table of recipes."""

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from components.core.report.figures import Point, scatter
from components.core.report.numbers import compact, megabytes, milliseconds, percent, points, times
from components.core.report.page import Cell, Columns, Table, figure, table


def pareto_figures(decision: Mapping[str, Any]) -> Columns:
    """Accuracy against latency and against size, of every recipe and the baseline, with the front and the budget."""
    budget = decision.get("budget") or {}
    by_latency = _pareto(
        decision,
        "latency_ms",
        title="Accuracy against latency",
        x="latency, batch 1, median (ms)",
        limit=budget.get("max_latency_ms"),
    )
    by_size = _pareto(
        decision,
        "size_mb",
        title="Accuracy against size",
        x="size of the ONNX file (MB)",
        limit=budget.get("max_size_mb"),
    )
    return Columns(
        (
            figure(
                by_latency,
                "Up and to the left is better. Ringed: chosen; filled: on the front over accuracy, latency and size; "
                "diamond: what the release is measured against. Milliseconds: a recipe's ratio to the baseline, timed "
                "in turn, times the baseline's median.",
            ),
            figure(by_size, "Whiskers: one standard error of the difference to the baseline (paired bootstrap)."),
        )
    )


def _pareto(decision: Mapping[str, Any], cost: str, *, title: str, x: str, limit: float | None) -> Markup:
    def x_of(model: Mapping[str, Any]) -> float:
        return model["size_bytes"] / 1e6 if cost == "size_mb" else model[cost]

    baseline, max_drop = decision["baseline"], (decision.get("budget") or {}).get("max_drop")
    shown = [
        Point(
            name=recipe["name"],
            x=x_of(recipe),
            y=recipe["top1"],
            error=recipe.get("drop_standard_error", 0.0) / 100,
            kind="chosen" if number == decision["chosen"] else "candidate",
            on_front=recipe["on_front"],
            detail=f"{recipe['name']}: {percent(recipe['top1'])}, {milliseconds(recipe['latency_ms'])}, "
            f"{megabytes(recipe['size_bytes'])}",
        )
        for number, recipe in enumerate(decision["recipes"])
    ]
    shown.append(Point(name="fp32 baseline", x=x_of(baseline), y=baseline["top1"], kind="baseline"))
    return scatter(
        shown,
        title=title,
        x=x,
        y="validation top-1",
        percent=True,
        x_limit=limit,
        y_limit=None if max_drop is None else baseline["top1"] - max_drop / 100,
    )


def recipe_table(decision: Mapping[str, Any]) -> Table:
    """Every recipe with what was measured; the chosen one is marked."""
    baseline = decision["baseline"]
    rows: list[list[Any]] = [
        [
            recipe["name"],
            Cell(percent(recipe["top1"]), points(-recipe["drop_points"])),
            Cell(milliseconds(recipe["latency_ms"]), f"{times(recipe['speedup'])} faster"),
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
            milliseconds(baseline["latency_ms"]),
            megabytes(baseline["size_bytes"]),
            compact(baseline["macs"]),
            "",
            "",
        ]
    )
    columns = ["recipe", "top-1", "latency", "size", "MACs", "on front", "in budget"]
    return table(columns, rows, marked=[decision["chosen"]], faint=[len(rows) - 1])
