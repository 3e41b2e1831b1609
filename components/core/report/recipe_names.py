"""Short names for the recipes of a run, for tables and figures."""

from collections.abc import Mapping, Sequence
from typing import Any


def recipe_names(recipes: Sequence[Mapping[str, Any]]) -> list[str]:
    """Each recipe's own `name`, else the settings in which it differs from the others, else its number.

    Names are made unique, because figures and tables are keyed by them.
    """
    varying = [key for key in sorted({key for recipe in recipes for key in recipe}) if _varies(key, recipes)]
    names: list[str] = []
    for number, recipe in enumerate(recipes, start=1):
        settings = ", ".join(f"{key} {recipe[key]}" for key in varying if key in recipe and key != "name")
        name = str(recipe.get("name") or settings or f"recipe {number}")
        names.append(f"{name} ({number})" if name in names else name)
    return names


def _varies(key: str, recipes: Sequence[Mapping[str, Any]]) -> bool:
    return len({repr(recipe.get(key)) for recipe in recipes}) > 1
