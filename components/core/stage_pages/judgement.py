"""How a judgement.json and a retraining.json are shown, in the stage's page and in the run report."""

from collections.abc import Mapping, Sequence
from typing import Any

from components.core.numbers import MISSING, capitalized, figure_of_merit, points, spread
from components.core.report.page import Block, Callout, Cell, Details, table

POINTS = "points"
"""The unit of a check that is a difference of the primary metric."""

_UNFOLDED_CHECKS = 20
_TITLES = {"skip": "Nothing is trained", "fine-tune": "The champion is fine-tuned", "optimize": "A new search is made"}


def decision_callout(retraining: Mapping[str, Any]) -> Callout:
    """Skip, fine-tune or optimize, and why."""
    return Callout(_TITLES[retraining["action"]], retraining["reason"], "warn" if retraining["attention"] else "info")


def judgement_blocks(judgement: Mapping[str, Any]) -> list[Block]:
    """The verdict, both models, every check."""
    champion, challenger = judgement["champion"], judgement["challenger"]
    promote, difference = judgement["promote"], judgement["difference"]
    warnings = judgement.get("warnings", ())
    title = "The challenger may take the champion's place" if promote else "The champion stays"
    metric, noun = judgement["metric"], judgement["row_noun"]
    values = [figure_of_merit(side["value"], percent=metric["percent"]) for side in (champion, challenger)]
    rows = [[metric["label"], *values, points(difference["points"])]]
    checks: Block = table(
        ["check", noun, "allowed", "measured", "found in 80 %", ""],
        [
            [
                check["check"],
                check.get("rows", ""),
                amount(check, "allowed"),
                amount(check, "measured"),
                _caught(check),
                _outcome(check),
            ]
            for check in judgement["checks"]
        ],
        caption=f"Differences in {metric['label']}, challenger minus champion; overall the lower end of the interval. "
        f"{capitalized(difference['method'])}. Found in 80 %: the true loss of a class or slice that its test, at the "
        "level that all of them together leave it, finds in four of five contests.",
    )
    if len(judgement["checks"]) > _UNFOLDED_CHECKS:
        checks = Details(f"All {len(judgement['checks'])} checks", (checks,))
    return [
        Callout(title, judgement["reason"], "good" if promote else "warn"),
        *([Callout("Not measured as it should be", " ".join(warnings), "bad")] if warnings else []),
        table(
            [f"{judgement['rows']:,} test {noun}", "champion", "challenger", "change"],
            rows,
            caption=_history_of_the_test_split(judgement),
        ),
        checks,
    ]


def amount(check: Mapping[str, Any], which: str) -> str:
    """The value of "allowed" or "measured": a signed difference in points, or a limit in its own unit."""
    value = check[which]
    if value is None:
        return MISSING
    return points(value) if check.get("unit") == POINTS else f"{value:.4g}"


def which_rows(part: Mapping[str, Any] | None) -> str:
    """Which test rows decide: "the test split", or "part 2 of 4 of the test split"."""
    return "the test split" if part is None else f"part {part['number']} of {part['of']} of the test split"


def _listed(uses: Sequence[int]) -> str:
    """1, 2 and 1"""
    return ", ".join(map(str, uses[:-1])) + f" and {uses[-1]}"


def since_anchors(judgement: Mapping[str, Any]) -> list[str]:
    """A sentence for each anchor: the change since, with its interval."""
    champion = "{name}/{version}".format(**judgement["champion"])
    return [_since(anchor, champion) for anchor in judgement.get("anchors") or _earlier_anchors(judgement)]


def _earlier_anchors(judgement: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Of a judgement before format 4, which knew the best proven release only."""
    anchor = judgement.get("anchor")
    return [{"title": "best proven release", "deleted": "", **anchor}] if anchor else []


def _since(anchor: Mapping[str, Any], champion: str) -> str:
    if anchor["deleted"]:
        return f"The {anchor['title']}, {anchor['deleted']}, was deleted: the champion stands in for it."
    if anchor["release"] == champion:
        return f"The champion is the {anchor['title']}."
    between = spread(anchor["low"], anchor["high"])
    change = points(anchor["points"]) + (f" ({between})" if between else "")
    return f"Since the {anchor['title']}, {anchor['release']}: {change}."


def _history_of_the_test_split(judgement: Mapping[str, Any]) -> str:
    """The change since the anchors, and how often the test split has been used."""
    said = since_anchors(judgement)
    if uses := judgement.get("test_uses"):
        part = judgement.get("test_part")
        said.append(
            f"{capitalized(which_rows(part))} has measured {uses:,} releases of this name, and each promotion was "
            "decided on it: the best of them looks a little better than it is."
        )
        if part:
            said.append(f"Before this one its {part['of']} parts had measured {_listed(part['uses_before'])}.")
    if left_out := judgement.get("left_out"):
        said.append(f"{left_out:,} test {judgement['row_noun']} that a contestant had seen before were left out.")
    return " ".join(said)


def _caught(check: Mapping[str, Any]) -> str:
    """Of a class or slice the loss that is found most of the time; other checks have none."""
    if "caught_points" not in check:
        return ""
    return MISSING if check["caught_points"] is None else f"−{check['caught_points']:.1f}"


def _outcome(check: Mapping[str, Any]) -> Cell:
    if not check["met"]:
        return Cell("does not hold", tone="bad")
    return Cell("does not forbid", check["note"], tone="warn") if "note" in check else Cell("holds", tone="good")
