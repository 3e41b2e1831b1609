"""The rules of promotion, each broken alone."""

from dataclasses import replace
from typing import Any

import pytest
from evaluation_documents import comparison, evaluation, metric_result, model, verdict

from components.core.budget import Check
from components.core.errors import UserError
from components.core.evaluation.document import Difference, Evaluation
from components.core.retraining import FEWEST_ROWS, PromotionPolicy
from components.judge.verdict import decide_promotion

POLICY = PromotionPolicy(max_loss=1.0, max_class_loss=5.0, max_slice_loss=2.0)
RETRAINING = {"champion": {"name": "m", "version": "1"}, "action": "fine-tune", "reason": "Grown.", "attention": False}


def measured(**changes: Any) -> Evaluation:
    """Against the float32 network: within the budget."""
    check = Check(limit="max_size_mb", allowed=2.0, measured=1.5, met=True)
    return evaluation(verdict=verdict(check), **changes)


def duel(**changes: Any) -> Evaluation:
    """Against the champion: half a point better, at worst 0.9 points worse, no class worse."""
    groups = (
        comparison("coat", kind="class", points=1.0, low=-1.0, high=3.0),
        comparison("bag", kind="class", support=20, points=-5.0, low=-15.0, high=0.0),
        comparison("hat", kind="class", support=0, points=None),
    )
    return evaluation(**{"metrics": (metric_result(0.905, 0.9, spread=1.4),), "groups": groups} | changes)


def judged(first: Evaluation, second: Evaluation) -> dict[str, Any]:
    return decide_promotion(first, second, RETRAINING, POLICY)


def test_what_is_better_and_within_its_budget_may_take_the_place():
    found = judged(measured(), duel())
    assert found["promote"] is True
    assert found["reason"] == (
        "+0.50 points against the champion on 1,000 test images (95 % interval −0.90 to +1.90); every check holds."
    )
    assert [check["check"] for check in found["checks"]] == ["max_size_mb", "overall", "class coat", "class bag"]
    assert found["metric"] == {"name": "top1", "label": "top-1", "percent": True}
    assert found["champion"] == {"name": "m", "version": "1", "digest": "b" * 64, "value": 0.9}
    assert found["challenger"] == {"digest": "c" * 64, "value": 0.905}
    assert found["retraining"]["reason"] == "Grown."


@pytest.mark.parametrize(("low", "promote"), [(-1.0, True), (-1.01, False)])
def test_a_loss_that_cannot_be_excluded_forbids_even_where_the_mean_is_better(low, promote):
    metric = replace(metric_result(0.905, 0.9), difference=Difference(points=0.5, low=low, high=1.9))
    document = duel(metrics=(metric,))
    found = judged(measured(), document)
    assert found["promote"] is promote
    assert promote or "a loss of 1.01 points cannot be excluded where 1 is allowed" in found["reason"]


@pytest.mark.parametrize(
    ("points", "high", "promote"),
    [(-5.1, -0.1, False), (-5.1, 0.0, True), (-5.0, -0.1, True), (-40.0, -20.0, False)],
)
def test_a_class_that_really_loses_more_than_its_margin_forbids(points, high, promote):
    coat, bag, hat = duel().groups
    document = duel(groups=(coat, replace(bag, points=points, high=high), hat))
    found = judged(measured(), document)
    assert found["promote"] is promote
    assert promote or "class bag loses" in found["reason"]


def sliced(**changes: Any) -> Evaluation:
    """The duel on two slices, the second of which is changed."""
    night = comparison("camera=night", **{"support": 40, "points": 0.5, "low": -1.0, "high": 2.0} | changes)
    return duel(slices=(comparison("camera=day", support=900, points=0.5, low=-0.5, high=1.5), night))


def test_slices_that_lose_nothing_are_listed_after_the_classes_and_forbid_nothing():
    found = judged(measured(), sliced())
    assert found["promote"] is True
    checks = found["checks"][-2:]
    assert [(check["check"], check["rows"], check["allowed"]) for check in checks] == [
        ("slice camera=day", 900, -2.0), ("slice camera=night", 40, -2.0),
    ]  # fmt: skip
    assert not any("note" in check for check in checks)
    assert found["policy"] == {"max_loss": 1.0, "max_class_loss": 5.0, "max_slice_loss": 2.0}


@pytest.mark.parametrize(
    ("points", "high", "promote"), [(-2.1, -0.1, False), (-2.0, -0.1, True), (-40.0, -20.0, False)]
)
def test_a_slice_that_really_loses_more_than_its_margin_forbids_and_is_named(points, high, promote):
    found = judged(measured(), sliced(points=points, high=high))
    assert found["promote"] is promote
    said = f"camera=night: a loss of {-points:.1f} points on 40 images where 2 is allowed."
    assert found["reason"].endswith("every check holds." if promote else said)


def test_a_loss_of_a_slice_that_may_be_chance_does_not_forbid_and_that_is_said():
    found = judged(measured(), sliced(points=-12.0, high=0.0))
    assert found["promote"] is True
    assert found["checks"][-1]["note"] == "may be chance on so few images: does not forbid"


@pytest.mark.parametrize(("group", "name"), [("slices", "slice camera=night"), ("groups", "class bag")])
@pytest.mark.parametrize(("rows", "promote"), [(1, True), (FEWEST_ROWS - 1, True), (FEWEST_ROWS, False)])
def test_fewer_images_than_the_test_needs_decide_nothing_for_a_slice_as_for_a_class(group, name, rows, promote):
    parts = list(getattr(sliced(), group))
    parts[1] = replace(parts[1], support=rows, points=-100.0, low=-100.0, high=-100.0)
    document = replace(sliced(), **{group: tuple(parts)})
    found = judged(measured(), document)
    assert found["promote"] is promote
    check = next(check for check in found["checks"] if check["check"] == name)
    assert check.get("note") == ("too few images for the test: nothing is decided" if promote else None)


def test_the_fewest_images_are_those_of_a_sign_test_that_can_tell_a_loss_at_all():
    chance = [2 * 0.5**rows for rows in (FEWEST_ROWS - 1, FEWEST_ROWS)]
    assert chance[0] > 0.05 >= chance[1]


def test_a_slice_without_a_test_image_is_said_to_be_undecided():
    found = judged(measured(), sliced(support=0, points=None))
    assert found["promote"] is True
    assert found["checks"][-1] | {"said": ""} == {
        "check": "slice camera=night", "allowed": -2.0, "measured": None, "unit": "points", "rows": 0, "met": True,
        "said": "", "note": "no test images: nothing is decided",
    }  # fmt: skip


def test_a_challenger_that_misses_its_budget_is_not_promoted_however_good_it_is():
    document = evaluation(verdict=verdict(Check(limit="max_size_mb", allowed=2.0, measured=2.5, met=False)))
    found = judged(document, duel())
    assert found["promote"] is False
    assert "max_size_mb is 2.5 where 2 is allowed" in found["reason"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"split": "validation"}, "judged on the test split"),
        ({"candidate": model(digest="d" * 64)}, "different challengers"),
        ({"dataset": replace(duel().dataset, fingerprint="e" * 64)}, "different data"),
    ],
)
def test_measurements_that_do_not_belong_together_are_refused(change, words):
    with pytest.raises(UserError, match=words):
        judged(measured(), replace(duel(), **change))


def test_a_group_whose_metric_its_rows_say_nothing_of_decides_nothing():
    absent = comparison("tree", kind="class", support=30, points=None, metric="overlap")
    found = judged(measured(), duel(groups=(absent,)))
    assert found["promote"] is True
    assert found["checks"][-1]["note"] == "overlap is not defined on these images: nothing is decided"


@pytest.mark.parametrize("name", ["max_loss", "max_class_loss", "max_slice_loss"])
def test_a_margin_out_of_range_is_refused_by_name(name):
    with pytest.raises(UserError, match=f"{name} must be between 0 and 100; got -1"):
        PromotionPolicy(**{name: -1})
