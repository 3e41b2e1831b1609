"""The model card: what a reader must know before using the file, in Markdown."""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from components.core.report.numbers import compact, megabytes, milliseconds, percent, points
from components.core.retraining import FEWEST_ROWS

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#~!&])")
_LIMITS = {
    "max_latency_ms": ("latency, batch 1", "ms"),
    "max_size_mb": ("size of the file", "MB"),
    "max_drop": ("lost top-1", "points"),
}


class Raw(str):
    """Text that is Markdown already."""

    __slots__ = ()


def escape(value: Any) -> str:
    """A value as inert Markdown text on one line: no markup, no HTML, no table cell can come out of it."""
    if isinstance(value, Raw):
        return value
    if value is None:
        return "not known"
    return _SPECIAL.sub(r"\\\1", " ".join(str(value).split()))


def code(value: Any) -> Raw:
    """A value in code style."""
    return Raw("`" + " ".join(str(value).split()).replace("`", "'").replace("|", "\\|") + "`")


def write_card(facts: Mapping[str, Any]) -> str:
    """The card as Markdown.

    Args:
        facts: `name`, `version`, `digest`, `evaluation`, `decision`, `provenance`, `verification`, `licence` (of the
            backbone's weights), `labels`, `preprocess`, `retraining` (judgement.json, or None).
    """
    evaluation = facts["evaluation"]
    text = _template().render(
        **facts,
        ours=evaluation["candidate"],
        theirs=evaluation["baseline"],
        difference=evaluation["difference"],
        checks=[_check(check) for check in evaluation["verdict"]["checks"]],
        recipe=_recipe(facts["decision"]),
        fewest_rows=FEWEST_ROWS,
    )
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _check(check: Mapping[str, Any]) -> dict[str, str]:
    name, unit = _LIMITS[check["limit"]]
    return {
        "name": name,
        "allowed": f"{check['allowed']:g} {unit}",
        "measured": f"{check['measured']:.3g} {unit}",
        "met": "met" if check["met"] else "MISSED",
    }


def _recipe(decision: Mapping[str, Any]) -> Mapping[str, Any]:
    recipes = decision.get("recipes") or []
    return recipes[decision["chosen"]].get("recipe", {}) if recipes else {}


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        finalize=escape,
        # HTML escaping would be wrong in Markdown; `finalize` escapes every value instead.
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "code": code,
        "percent": percent,
        "points": points,
        "megabytes": megabytes,
        "milliseconds": milliseconds,
        "compact": compact,
    }
    return environment.get_template("card.md.jinja")
