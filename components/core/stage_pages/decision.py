"""How a decision.json is shown, in the stage's page and in the run report: the Pareto figures, the table of recipes."""

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from components.core.numbers import (
    capitalized,
    compact,
    duration,
    figure_of_merit,
    megabytes,
    milliseconds,
    points,
    times,
)
from components.core.report.figures import Point, scatter
from components.core.report.page import Block, Callout, Cell, Columns, Table, figure, table

RACE_NOTE = (
    "All students were pruned, distilled for a few epochs and measured; the best were trained on while time allowed."
)


def pareto_figures(decision: Mapping[str, Any]) -> Columns:
    """The metric against latency and against size, of every recipe and the baseline, with the front and the budget."""
    budget = decision["budget"]
    by_latency = _pareto(
        decision,
        "latency_ms",
        title=f"{_title(decision)} against latency",
        x="latency, batch 1, median (ms)",
        limit=budget["max_latency_ms"],
    )
    by_size = _pareto(
        decision,
        "size_mb",
        title=f"{_title(decision)} against size",
        x="size of what is shipped (MB)",
        limit=budget["max_size_mb"],
    )
    return Columns(
        (
            figure(
                by_latency,
                "Up and to the left is better. Ringed: chosen; filled: on the front over quality, latency and size; "
                "diamond: what the release is measured against. Milliseconds: a recipe's ratio to the baseline, timed "
                "in alternating blocks, times the baseline's median.",
            ),
            figure(by_size, "Whiskers: one standard error of the difference to the baseline, on the same rows."),
        )
    )


def recipe_warnings(decision: Mapping[str, Any]) -> list[Callout]:
    """Warnings about the measurements, by recipe; empty if there are none."""
    said = [f"{recipe['name']}: {warning}" for recipe in decision["recipes"] for warning in recipe.get("warnings", ())]
    return [Callout("Not measured as it should be", " ".join(said), "bad")] if said else []


def _pareto(decision: Mapping[str, Any], cost: str, *, title: str, x: str, limit: float | None) -> Markup:
    def x_of(model: Mapping[str, Any]) -> float:
        return model["size_bytes"] / 1e6 if cost == "size_mb" else model[cost]

    baseline, max_drop, metric = decision["baseline"], decision["budget"]["max_drop"], decision["metric"]
    # Up is better in this figure: of a metric of which less is better the change is shown, in points.
    absolute = metric["higher_is_better"]

    def y_of(model: Mapping[str, Any]) -> float:
        return model["value"] if absolute else -model.get("drop_points", 0.0)

    unit = metric["points_per_unit"] if absolute else 1.0
    shown = [
        Point(
            name=recipe["name"],
            x=x_of(recipe),
            y=y_of(recipe),
            error=(recipe["drop_standard_error"] or 0.0) / unit,
            kind="chosen" if number == decision["chosen"] else "candidate",
            on_front=recipe["on_front"],
            detail=f"{recipe['name']}: {_value(recipe, metric)}, {milliseconds(recipe['latency_ms'])}, "
            f"{megabytes(recipe['size_bytes'])}",
        )
        for number, recipe in enumerate(decision["recipes"])
    ]
    shown.append(Point(name="fp32 baseline", x=x_of(baseline), y=y_of(baseline), kind="baseline"))
    return scatter(
        shown,
        title=title,
        x=x,
        y=f"validation {metric['label']}" + ("" if absolute else ", points gained"),
        percent=metric["percent"] and absolute,
        x_limit=limit,
        y_limit=None if max_drop is None else y_of(baseline) - max_drop / unit,
    )


def recipe_table(decision: Mapping[str, Any]) -> Table:
    """Every recipe with what was measured; the chosen one is marked."""
    baseline, metric = decision["baseline"], decision["metric"]
    rows: list[list[Any]] = [
        [
            recipe["name"],
            Cell(_value(recipe, metric), points(-recipe["drop_points"])),
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
            _value(baseline, metric),
            milliseconds(baseline["latency_ms"]),
            megabytes(baseline["size_bytes"]),
            compact(baseline["macs"]),
            "",
            "",
        ]
    )
    columns = ["recipe", metric["label"], "latency", "size", "MACs", "on front", "in budget"]
    return table(columns, rows, marked=[decision["chosen"]], faint=[len(rows) - 1])


def race_blocks(decision: Mapping[str, Any]) -> list[Block]:
    """Of a search in a time box: who continued and who was stopped, and the time of each step; else nothing."""
    race = decision.get("race")
    if not race:
        return []
    rows = [
        [recipe["name"], f"{rung}", _fate(rung, stopped)]
        for recipe, rung, stopped in zip(decision["recipes"], race["rungs"], race["stopped"], strict=True)
    ]
    spent = [[step["name"], duration(step["planned"]), duration(step["real"])] for step in race["steps"]]
    known = sum(step["real"] or 0.0 for step in race["steps"])
    return [
        Callout("Control", race["control"]),
        table(["recipe", "rung", "what became of it"], rows, marked=[decision["chosen"]]),
        table(
            ["step", "planned", "took"], spent,
            caption=f"Of {race['minutes']:g} minutes, {duration(known)} were spent when the recipe was chosen.",
        ),
    ]  # fmt: skip


def _fate(rung: int, stopped: str) -> str:
    if rung > 1:
        return "trained to the end"
    return f"stopped: {stopped}" if stopped else "continued to the second rung"


def _value(model: Mapping[str, Any], metric: Mapping[str, Any]) -> str:
    return figure_of_merit(model["value"], percent=metric["percent"])


def _title(decision: Mapping[str, Any]) -> str:
    return capitalized(str(decision["metric"]["label"]))
