"""Whether a challenger may take the champion's place, from measurements on the same test rows."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from components.core.errors import UserError
from components.core.evaluation.document import Comparison, Evaluation
from components.core.evaluation.parsing import read_fields
from components.core.evaluation.stage_documents import Retraining
from components.core.numbers import points, spread
from components.core.retraining import Anchor, PromotionPolicy
from components.core.stage_pages.judgement import POINTS
from components.judge.family import detectable_loss, p_value, rejected

FORMAT = 4
TEST = "test"


def decide_promotion(
    evaluation: Evaluation,
    duel: Evaluation,
    retraining: Mapping[str, Any],
    policy: PromotionPolicy,
    *,
    anchors: Sequence[tuple[Anchor, Evaluation]] = (),
    part_uses: Sequence[int] = (0,),
) -> dict[str, Any]:
    """The content of judgement.json: `promote`, the `reason`, and every check with what was measured.

    Four kinds of check, all of which must hold:

    - the budget's limits, as the evaluation against the float32 network judged them;
    - overall: the lower end of the paired interval of challenger − champion is at or above −`max_loss`, so that the
      test says "not worse by more than that", not merely "nothing found";
    - anchors: the same against the best release that is proven and against the first one of the year, so that small
      losses do not add up from champion to champion. A challenger that is proven better than the best proven release
      takes its place in the next contest. An anchor that is the champion is held to by the overall check;
    - each group of the task (a class) and each slice: not (its loss is proven to be above `max_class_loss` or
      `max_slice_loss`, by a test of the margin itself, under Holm's correction for all groups and slices together).
      They have few test rows; a test that asked for proof of no loss there would refuse every challenger. How large a
      loss would have been found is in `caught_points`; where not even the loss of all rows would, the `note` says so.

    Args:
        evaluation: the challenger against the float32 network, on test data.
        duel: the challenger against the champion, on the same test data.
        retraining: retraining.json, which led to this challenger.
        policy: the margins.
        anchors: the challenger against each anchor, on the same test data; the best proven release first. None: the
            challenger is held against the champion alone, and will be its own anchor.
        part_uses: of each part of the test split, how many releases it has measured before; one number for the whole.

    Raises:
        UserError: the evaluations are not of one challenger on the same part of one test split, or retraining.json does
            not name the champion.
    """
    read_fields(Retraining, retraining, "retraining.json")
    part = duel.part
    if len(part_uses) != part.of:
        raise UserError(f"uses of {part.of} parts of the test split are needed, got {len(part_uses)}")
    for document in (evaluation, duel, *(found for _, found in anchors)):
        if document.split != TEST:
            raise UserError(f"a champion is judged on the test split, this evaluation is of {document.split!r}")
        if evaluation.candidate.digest != document.candidate.digest:
            raise UserError("the evaluations are of different challengers")
        if evaluation.dataset.fingerprint != document.dataset.fingerprint:
            raise UserError("champion and challenger were evaluated on different data")
        if document.part != part:
            raise UserError(f"the evaluations are of {document.part.said} and of {part.said} of the test split")
    distinct = _distinct(anchors)
    champion = "{name}/{version}".format(**retraining["champion"])
    others = [(_said(anchor), found) for anchor, found in distinct if anchor.release != champion]
    held = [_overall(found, policy, said) for said, found in others]
    checks = [*_budget(evaluation), _overall(duel, policy, "overall"), *held, *_parts(duel, policy)]
    missed = [check["said"] for check in checks if not check["met"]]
    primary, difference = duel.primary, duel.primary.difference
    compared = f"{points(primary.points)} against the champion on {duel.rows:,} test {duel.row_noun}"
    if difference.low is not None:
        compared += f" ({100 * duel.confidence:g} % interval {spread(difference.low, difference.high)})"
    return {
        "format": FORMAT,
        "promote": not missed,
        "reason": f"{compared}; {'; '.join(missed) or 'every check holds'}.",
        "metric": {"name": primary.name, "label": primary.label, "percent": primary.percent},
        "row_noun": duel.row_noun,
        "champion": {
            **retraining["champion"], "digest": duel.baseline.digest, "value": primary.baseline.value,
        },
        "challenger": {"digest": duel.candidate.digest, "value": primary.candidate.value},
        "rows": duel.rows,
        "left_out": duel.left_out,
        "test_uses": part_uses[part.number - 1] + 1,
        "test_part": None if part.is_whole else {"number": part.number, "of": part.of, "uses_before": list(part_uses)},
        "anchors": [{**asdict(anchor), **asdict(found.primary.difference)} for anchor, found in distinct],
        "next_anchor": _next_anchor(*anchors[0]) if anchors else None,
        "difference": {
            **asdict(difference), "confidence": duel.confidence, "method": duel.paired,
        },
        "speedup_batch1": duel.speedup,
        "size_ratio": duel.size_ratio,
        "checks": checks,
        "warnings": _warnings(evaluation, duel, others),
        "policy": asdict(policy),
        "retraining": dict(retraining),
    }  # fmt: skip


def _distinct(anchors: Sequence[tuple[Anchor, Evaluation]]) -> list[tuple[Anchor, Evaluation]]:
    """Each release once, under all that it is."""
    found: dict[tuple[str, str], tuple[Anchor, Evaluation]] = {}
    for anchor, measured in anchors:
        key = (anchor.release, anchor.deleted)
        title = f"{found[key][0].title} and the {anchor.title}" if key in found else anchor.title
        found[key] = (replace(anchor, title=title), measured)
    return list(found.values())


def _said(anchor: Anchor) -> str:
    return f"{anchor.title}, {anchor.release}"


def _warnings(evaluation: Evaluation, duel: Evaluation, others: Sequence[tuple[str, Evaluation]]) -> list[str]:
    """Each fault of a measurement once, with the model that the challenger was measured against."""
    measured = [("float32 network", evaluation), ("champion", duel), *others]
    return list(dict.fromkeys(f"Against the {against}: {said}" for against, one in measured for said in one.warnings))


def _budget(evaluation: Evaluation) -> list[dict[str, Any]]:
    return [
        {
            "check": check.limit,
            "allowed": check.allowed,
            "measured": check.measured,
            "met": check.met,
            "said": f"{check.limit} is {check.measured:.4g} where {check.allowed:g} is allowed",
        }
        for check in evaluation.verdict.checks
    ]


def _next_anchor(proven: Anchor, measured: Evaluation) -> dict[str, str] | None:
    """The best proven release for a challenger of this one: the same, or None for this one itself."""
    if (measured.primary.difference.low or 0.0) > 0:
        return None
    name, _, version = proven.release.partition("/")
    return {"name": name, "version": version}


def _overall(duel: Evaluation, policy: PromotionPolicy, name: str) -> dict[str, Any]:
    low, allowed = duel.primary.difference.low, f"{policy.max_loss:g} points"
    prefix = "" if name == "overall" else f"against the {name}: "
    return {
        "check": name,
        "allowed": -policy.max_loss,
        "measured": low,
        "unit": POINTS,
        "rows": duel.rows,
        "met": low is not None and low >= -policy.max_loss,
        "said": f"{prefix}{duel.rows:,} {duel.row_noun} are too few to exclude a loss of more than {allowed}"
        if low is None
        else f"{prefix}a loss of {-low:.2f} points cannot be excluded where {policy.max_loss:g} is allowed",
    }


def _parts(duel: Evaluation, policy: PromotionPolicy) -> list[dict[str, Any]]:
    """One check per group that has rows and per slice; all of them are one family of tests."""
    parts = [
        *((group, f"{group.kind} {group.name} loses", policy.max_class_loss) for group in duel.groups if group.support),
        *((one, f"{one.name}: a loss of", policy.max_slice_loss) for one in duel.slices),
    ]
    p_values = [p_value(part, margin, duel.confidence) for part, _, margin in parts]
    tested = [number for number, found in enumerate(p_values) if found is not None]
    level = (1 - duel.confidence) / 2
    losing = rejected([value for value in p_values if value is not None], level)
    lost = {number for number, found in zip(tested, losing, strict=True) if found}
    strictest = level / max(1, len(tested))
    return [
        _part(
            part, loses, duel.row_noun, margin, lost=number in lost,
            caught=detectable_loss(part, margin, strictest, duel.confidence, _changed(duel)),
        )
        for number, (part, loses, margin) in enumerate(parts)
    ]  # fmt: skip


def _changed(duel: Evaluation) -> float:
    """Share of the rows that one model gets right and the other wrong, over all groups."""
    rows = sum(group.support for group in duel.groups)
    return sum(group.gained + group.lost for group in duel.groups) / rows if rows else 0.0


def _part(
    part: Comparison, loses: str, row_noun: str, margin: float, *, lost: bool, caught: float | None
) -> dict[str, Any]:
    check = {
        "check": f"{part.kind} {part.name}",
        "allowed": -margin,
        "measured": part.points,
        "unit": POINTS,
        "rows": part.support,
        "met": not lost,
        "caught_points": caught,
        "said": f"{loses} {-(part.points or 0):.1f} points on {part.support} {row_noun} where {margin:g} is allowed",
    }
    if not part.support:
        check["note"] = f"no test {row_noun}: nothing is decided"
    elif part.points is None:
        check["note"] = f"{part.metric} is not defined on these {row_noun}: nothing is decided"
    elif caught is None:
        check["note"] = f"too few {row_noun} for the test: nothing is decided"
    elif part.points < -margin and not lost:
        check["note"] = f"may be chance on so few {row_noun}: does not forbid"
    return check
