"""The model card: what a reader must know before using the file, in Markdown."""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from components.core.budget import Check
from components.core.evaluation.blocks import cost_note
from components.core.evaluation.document import Comparison, Estimate, Evaluation, MetricResult
from components.core.evaluation.robustness_blocks import mean_drop, robustness_sentence
from components.core.evaluation.runtime_blocks import runtime_sentence, runtime_table
from components.core.numbers import compact, cost, figure_of_merit, megabytes, milliseconds, percent, points, spread
from components.core.report.markdown import Raw, code, escape
from components.core.stage_pages.judgement import amount, since_anchors
from components.core.tasks.card import CardText

_LIMITS = {
    "max_latency_ms": ("latency, batch 1", "ms"),
    "max_size_mb": ("size", "MB"),
    "max_drop": ("loss", "points"),
}


def write_card(evaluation: Evaluation, card: CardText, facts: Mapping[str, Any]) -> str:
    """The card as Markdown.

    Args:
        evaluation: of the released files.
        card: what the task says.
        facts: `name`, `version`, `digest`, `digests`, `decision`, `provenance`, `verification`, `licence` (of the
            backbone's weights), `trimtab`, `retraining` (judgement.json, or None).
    """
    text = _template().render(
        **facts,
        evaluation=evaluation,
        card=CardText(
            intro=Raw(card.intro),
            figures=Raw(card.figures),
            use=Raw(card.use),
            limits=tuple(Raw(limit) for limit in card.limits),
        ),
        ours=evaluation.candidate,
        theirs=evaluation.baseline,
        checks=[_check(check) for check in evaluation.verdict.checks],
        recipe=_recipe(facts["decision"]),
        percent_confidence=f"{100 * evaluation.confidence:g} %",
    )
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _check(check: Check) -> dict[str, str]:
    name, unit = _LIMITS[check.limit]
    return {
        "name": name,
        "allowed": f"{check.allowed:g} {unit}",
        "measured": f"{check.measured:.3g} {unit}",
        "met": "met" if check.met else "MISSED",
    }


def _merit(estimate: Estimate, metric: MetricResult) -> str:
    """A value with its interval."""
    value = figure_of_merit(estimate.value, percent=metric.percent)
    if estimate.low is None or estimate.high is None:
        return value
    low, high = (figure_of_merit(end, percent=metric.percent) for end in (estimate.low, estimate.high))
    return f"{value} ({low} to {high})"


def _merit_value(value: float | None, metric: MetricResult) -> str:
    return figure_of_merit(value, percent=metric.percent, digits=1)


def _part(value: float | None, of: Comparison | Mapping[str, Any]) -> str:
    """A value of a comparison, or of a metric as judgement.json describes it."""
    return figure_of_merit(value, percent=of.percent if isinstance(of, Comparison) else bool(of["percent"]))


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
        "spread": spread,
        "amount": amount,
        "since_anchors": since_anchors,
        "merit": _merit,
        "part": _part,
        "megabytes": megabytes,
        "milliseconds": milliseconds,
        "compact": compact,
        "cost": cost,
        "cost_note": cost_note,
        "robustness_sentence": robustness_sentence,
        "runtime_table": runtime_table,
        "runtime_sentence": runtime_sentence,
        "merit_value": _merit_value,
        "drop": mean_drop,
    }
    return environment.get_template("card.md.jinja")
