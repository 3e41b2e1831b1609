"""Whether a challenger may take the champion's place, from measurements on the same test rows."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from components.core.errors import UserError
from components.core.evaluation.document import Comparison, Evaluation
from components.core.report.numbers import points, spread
from components.core.retraining import FEWEST_ROWS, PromotionPolicy
from components.core.stage_pages.judgement import POINTS

FORMAT = 2
TEST = "test"


def decide_promotion(
    evaluation: Evaluation, duel: Evaluation, retraining: Mapping[str, Any], policy: PromotionPolicy
) -> dict[str, Any]:
    """The content of judgement.json: `promote`, the `reason`, and every check with what was measured.

    Three kinds of check, all of which must hold:

    - the budget's limits, as the evaluation against the float32 network judged them;
    - overall: the lower end of the paired interval of challenger − champion is at or above −`max_loss`, so that the
      test says "not worse by more than that", not merely "nothing found";
    - each group of the task (a class) and each slice: not (loss above `max_class_loss` or `max_slice_loss`, and the
      upper end of its interval below 0). They have few test rows; a test that asked for proof of no loss there would
      refuse every challenger. Below `FEWEST_ROWS` rows nothing is decided, and the check's `note` says so. There is no
      correction for their number: it would let larger losses pass, and what it guards against, a false alarm, only
      keeps the champion.

    Args:
        evaluation: the challenger against the float32 network, on test data.
        duel: the challenger against the champion, on the same test data.
        retraining: retraining.json, which led to this challenger.
        policy: the margins.

    Raises:
        UserError: the two are not of one challenger on one test split.
    """
    for document in (evaluation, duel):
        if document.split != TEST:
            raise UserError(f"a champion is judged on the test split, this evaluation is of {document.split!r}")
    if evaluation.candidate.digest != duel.candidate.digest:
        raise UserError("the two evaluations are of different challengers")
    if evaluation.dataset.fingerprint != duel.dataset.fingerprint:
        raise UserError("champion and challenger were evaluated on different data")
    checks = [*_budget(evaluation), _overall(duel, policy), *_groups(duel, policy), *_slices(duel, policy)]
    missed = [check["said"] for check in checks if not check["met"]]
    primary, difference = duel.primary, duel.primary.difference
    compared = (
        f"{points(primary.points)} against the champion on {duel.rows:,} test {duel.row_noun} "
        f"({100 * duel.confidence:g} % interval {spread(difference.low, difference.high)})"
    )
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
        "difference": {
            **asdict(difference), "confidence": duel.confidence, "method": duel.paired,
        },
        "speedup_batch1": duel.speedup,
        "size_ratio": duel.size_ratio,
        "checks": checks,
        "policy": asdict(policy),
        "retraining": dict(retraining),
    }  # fmt: skip


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


def _overall(duel: Evaluation, policy: PromotionPolicy) -> dict[str, Any]:
    low = duel.primary.difference.low
    assert low is not None, "a difference that is known has an interval"
    return {
        "check": "overall",
        "allowed": -policy.max_loss,
        "measured": low,
        "unit": POINTS,
        "rows": duel.rows,
        "met": low >= -policy.max_loss,
        "said": f"a loss of {-low:.2f} points cannot be excluded where {policy.max_loss:g} is allowed",
    }


def _groups(duel: Evaluation, policy: PromotionPolicy) -> list[dict[str, Any]]:
    return [
        _part(group, f"{group.kind} {group.name} loses", duel.row_noun, policy.max_class_loss)
        for group in duel.groups
        if group.support
    ]


def _slices(duel: Evaluation, policy: PromotionPolicy) -> list[dict[str, Any]]:
    return [_part(one, f"{one.name}: a loss of", duel.row_noun, policy.max_slice_loss) for one in duel.slices]


def _part(part: Comparison, loses: str, row_noun: str, margin: float) -> dict[str, Any]:
    known = part.points is not None and part.high is not None
    beyond = part.points is not None and part.points < -margin
    told = part.support >= FEWEST_ROWS and part.high is not None and part.high < 0
    check = {
        "check": f"{part.kind} {part.name}",
        "allowed": -margin,
        "measured": part.points,
        "unit": POINTS,
        "rows": part.support,
        "met": not (beyond and told),
        "said": f"{loses} {-(part.points or 0):.1f} points on {part.support} {row_noun} where {margin:g} is allowed",
    }
    if not part.support:
        check["note"] = f"no test {row_noun}: nothing is decided"
    elif not known:
        check["note"] = f"{part.metric} is not defined on these {row_noun}: nothing is decided"
    elif part.support < FEWEST_ROWS:
        check["note"] = f"too few {row_noun} for the test: nothing is decided"
    elif beyond and not told:
        check["note"] = f"may be chance on so few {row_noun}: does not forbid"
    return check
