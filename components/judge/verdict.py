"""Whether a challenger may take the champion's place, from measurements on the same test images."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from components.core.errors import UserError
from components.core.retraining import FEWEST_ROWS, PromotionPolicy

FORMAT = 1
TEST = "test"


def judge(
    evaluation: Mapping[str, Any], duel: Mapping[str, Any], retraining: Mapping[str, Any], policy: PromotionPolicy
) -> dict[str, Any]:
    """The content of judgement.json: `promote`, the `reason`, and every check with what was measured.

    Three kinds of check, all of which must hold:

    - the budget's limits, as the evaluation against the float32 network judged them;
    - overall: the lower end of the paired interval of challenger − champion is at or above −`max_loss`, so that the
      test says "not worse by more than that", not merely "nothing found";
    - each class and each slice: not (loss above `max_class_loss` or `max_slice_loss`, and the upper end of its interval
      below 0). They have few test images; a test that asked for proof of no loss there would refuse every challenger.
      Below `FEWEST_ROWS` images nothing is decided, and the check's `note` says so. There is no correction for their
      number: it would let larger losses pass, and what it guards against, a false alarm, only keeps the champion.

    Args:
        evaluation: evaluation.json of the challenger against the float32 network, on test data.
        duel: evaluation.json of the challenger against the champion, on the same test data.
        retraining: retraining.json, which led to this challenger.
        policy: the margins.

    Raises:
        UserError: the two are not of one challenger on one test split.
    """
    for document in (evaluation, duel):
        if document["split"] != TEST:
            raise UserError(f"a champion is judged on the test split, this evaluation is of {document['split']!r}")
    if evaluation["candidate"]["digest"] != duel["candidate"]["digest"]:
        raise UserError("the two evaluations are of different challengers")
    if evaluation["dataset"]["fingerprint"] != duel["dataset"]["fingerprint"]:
        raise UserError("champion and challenger were evaluated on different data")
    checks = [*_budget(evaluation), _overall(duel, policy), *_classes(duel, policy), *_slices(duel, policy)]
    missed = [check["said"] for check in checks if not check["met"]]
    difference = duel["difference"]
    compared = (
        f"{difference['top1_points']:+.2f} points against the champion on {duel['rows']:,} test images "
        f"(95 % interval {difference['low']:+.2f} to {difference['high']:+.2f})"
    )
    return {
        "format": FORMAT,
        "promote": not missed,
        "reason": f"{compared}; {'; '.join(missed) or 'every check holds'}.",
        "champion": {**retraining["champion"], "digest": duel["baseline"]["digest"], "top1": duel["baseline"]["top1"]},
        "challenger": {"digest": duel["candidate"]["digest"], "top1": duel["candidate"]["top1"]},
        "rows": duel["rows"],
        "difference": {key: difference[key] for key in ("top1_points", "low", "high", "confidence", "method")},
        "speedup_batch1": duel["speedup"]["batch1"],
        "size_ratio": duel["size_ratio"],
        "checks": checks,
        "policy": asdict(policy),
        "retraining": dict(retraining),
    }


def _budget(evaluation: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "check": check["limit"],
            "allowed": check["allowed"],
            "measured": check["measured"],
            "met": check["met"],
            "said": f"{check['limit']} is {check['measured']:.4g} where {check['allowed']:g} is allowed",
        }
        for check in evaluation["verdict"]["checks"]
    ]


def _overall(duel: Mapping[str, Any], policy: PromotionPolicy) -> dict[str, Any]:
    low = duel["difference"]["low"]
    return {
        "check": "overall",
        "allowed": -policy.max_loss,
        "measured": low,
        "met": low >= -policy.max_loss,
        "said": f"a loss of {-low:.2f} points cannot be excluded where {policy.max_loss:g} is allowed",
    }


def _classes(duel: Mapping[str, Any], policy: PromotionPolicy) -> list[dict[str, Any]]:
    return [
        _group(f"class {row['class']}", f"class {row['class']} loses", row, policy.max_class_loss)
        for row in duel["difference"]["per_class"]
        if row["support"]
    ]


def _slices(duel: Mapping[str, Any], policy: PromotionPolicy) -> list[dict[str, Any]]:
    return [
        _group(f"slice {row['slice']}", f"{row['slice']}: a loss of", row, policy.max_slice_loss)
        for row in duel["difference"].get("per_slice", [])
    ]


def _group(name: str, loses: str, row: Mapping[str, Any], margin: float) -> dict[str, Any]:
    rows, points = row["support"], row["points"]
    beyond = rows > 0 and points < -margin
    told = rows >= FEWEST_ROWS and row["high"] < 0
    check = {
        "check": name,
        "allowed": -margin,
        "measured": points,
        "rows": rows,
        "met": not (beyond and told),
        "said": f"{loses} {-(points or 0):.1f} points on {rows} images where {margin:g} is allowed",
    }
    if not rows:
        check["note"] = "no test image: nothing is decided"
    elif rows < FEWEST_ROWS:
        check["note"] = "too few images for the test: nothing is decided"
    elif beyond and not told:
        check["note"] = "may be chance on so few images: does not forbid"
    return check
