"""The page of the stage."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.core.report.page import Callout, Section, write_page
from components.core.stage_pages.decision import RACE_NOTE, pareto_figures, race_blocks, recipe_table, recipe_warnings


def write_decision_page(path: str | Path, decision: Mapping[str, Any], *, data: str = "") -> None:
    """The verdict, the Pareto figures and the table of recipes; `data`: `Dataset.description`."""
    winner = decision["recipes"][decision["chosen"]]["name"]
    meets = decision["meets_budget"]
    title = f"{winner} is chosen" if meets else f"{winner} is chosen, and misses the budget"
    sections = [
        Section("", [Callout(title, decision["reason"], "good" if meets else "warn"), *recipe_warnings(decision)]),
        Section("Recipes", [pareto_figures(decision), recipe_table(decision)], note="Measured on validation data."),
    ]
    if race := race_blocks(decision):
        sections.append(Section("Race", race, note=RACE_NOTE))
    write_page(path, "Choice of the recipe", sections, data=data)
