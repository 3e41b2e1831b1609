"""The rules of promotion, each broken alone."""

from copy import deepcopy
from typing import Any

import pytest

from components.core.errors import UserError
from components.core.retraining import FEWEST_ROWS, PromotionPolicy
from components.judge.verdict import judge

POLICY = PromotionPolicy(max_loss=1.0, max_class_loss=5.0, max_slice_loss=2.0)
RETRAINING = {"champion": {"name": "m", "version": "1"}, "action": "fine-tune", "reason": "Grown.", "attention": False}


def measured() -> dict[str, Any]:
    """Against the float32 network: within the budget."""
    check = {"limit": "max_size_mb", "allowed": 2.0, "measured": 1.5, "met": True}
    return {
        "split": "test",
        "dataset": {"fingerprint": "f"},
        "candidate": {"digest": "c", "top1": 0.9},
        "verdict": {"meets": True, "checks": [check]},
    }


def duel() -> dict[str, Any]:
    """Against the champion: half a point better, at worst 0.9 points worse, no class worse."""
    return {
        "split": "test",
        "rows": 1000,
        "dataset": {"fingerprint": "f"},
        "candidate": {"digest": "c", "top1": 0.905},
        "baseline": {"digest": "b", "top1": 0.9},
        "difference": {
            "top1_points": 0.5,
            "low": -0.9,
            "high": 1.9,
            "confidence": 0.95,
            "method": "paired bootstrap",
            "per_class": [
                {"class": "coat", "support": 100, "points": 1.0, "low": -1.0, "high": 3.0},
                {"class": "bag", "support": 20, "points": -5.0, "low": -15.0, "high": 0.0},
                {"class": "hat", "support": 0, "points": None, "low": None, "high": None},
            ],
        },
        "speedup": {"batch1": 1.0},
        "size_ratio": 1.0,
    }


def test_what_is_better_and_within_its_budget_may_take_the_place():
    found = judge(measured(), duel(), RETRAINING, POLICY)
    assert found["promote"] is True
    assert found["reason"] == (
        "+0.50 points against the champion on 1,000 test images (95 % interval -0.90 to +1.90); every check holds."
    )
    assert [check["check"] for check in found["checks"]] == ["max_size_mb", "overall", "class coat", "class bag"]
    assert found["champion"] == {"name": "m", "version": "1", "digest": "b", "top1": 0.9}
    assert found["retraining"]["reason"] == "Grown."


@pytest.mark.parametrize(("low", "promote"), [(-1.0, True), (-1.01, False)])
def test_a_loss_that_cannot_be_excluded_forbids_even_where_the_mean_is_better(low, promote):
    document = duel()
    document["difference"]["low"] = low
    found = judge(measured(), document, RETRAINING, POLICY)
    assert found["promote"] is promote
    assert promote or "a loss of 1.01 points cannot be excluded where 1 is allowed" in found["reason"]


@pytest.mark.parametrize(
    ("points", "high", "promote"),
    [(-5.1, -0.1, False), (-5.1, 0.0, True), (-5.0, -0.1, True), (-40.0, -20.0, False)],
)
def test_a_class_that_really_loses_more_than_its_margin_forbids(points, high, promote):
    document = duel()
    document["difference"]["per_class"][1] |= {"points": points, "high": high}
    found = judge(measured(), document, RETRAINING, POLICY)
    assert found["promote"] is promote
    assert promote or "class bag loses" in found["reason"]


def sliced(**changes: Any) -> dict[str, Any]:
    """The duel on two slices, the second of which is changed."""
    document = duel()
    night = {"slice": "camera=night", "support": 40, "points": 0.5, "low": -1.0, "high": 2.0} | changes
    document["difference"]["per_slice"] = [
        {"slice": "camera=day", "support": 900, "points": 0.5, "low": -0.5, "high": 1.5},
        night,
    ]
    return document


def test_slices_that_lose_nothing_are_listed_after_the_classes_and_forbid_nothing():
    found = judge(measured(), sliced(), RETRAINING, POLICY)
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
    found = judge(measured(), sliced(points=points, high=high), RETRAINING, POLICY)
    assert found["promote"] is promote
    said = f"camera=night: a loss of {-points:.1f} points on 40 images where 2 is allowed."
    assert found["reason"].endswith("every check holds." if promote else said)


def test_a_loss_of_a_slice_that_may_be_chance_does_not_forbid_and_that_is_said():
    found = judge(measured(), sliced(points=-12.0, high=0.0), RETRAINING, POLICY)
    assert found["promote"] is True
    assert found["checks"][-1]["note"] == "may be chance on so few images: does not forbid"


@pytest.mark.parametrize(("group", "name"), [("per_slice", "slice camera=night"), ("per_class", "class bag")])
@pytest.mark.parametrize(("rows", "promote"), [(1, True), (FEWEST_ROWS - 1, True), (FEWEST_ROWS, False)])
def test_fewer_images_than_the_test_needs_decide_nothing_for_a_slice_as_for_a_class(group, name, rows, promote):
    document = sliced()
    document["difference"][group][1] |= {"support": rows, "points": -100.0, "low": -100.0, "high": -100.0}
    found = judge(measured(), document, RETRAINING, POLICY)
    assert found["promote"] is promote
    check = next(check for check in found["checks"] if check["check"] == name)
    assert check.get("note") == ("too few images for the test: nothing is decided" if promote else None)


def test_the_fewest_images_are_those_of_a_sign_test_that_can_tell_a_loss_at_all():
    chance = [2 * 0.5**rows for rows in (FEWEST_ROWS - 1, FEWEST_ROWS)]
    assert chance[0] > 0.05 >= chance[1]


def test_a_slice_without_a_test_image_is_said_to_be_undecided():
    found = judge(measured(), sliced(support=0, points=None, low=None, high=None), RETRAINING, POLICY)
    assert found["promote"] is True
    assert found["checks"][-1] | {"said": ""} == {
        "check": "slice camera=night", "allowed": -2.0, "measured": None, "rows": 0, "met": True, "said": "",
        "note": "no test image: nothing is decided",
    }  # fmt: skip


def test_a_challenger_that_misses_its_budget_is_not_promoted_however_good_it_is():
    document = measured()
    document["verdict"]["checks"][0] |= {"measured": 2.5, "met": False}
    found = judge(document, duel(), RETRAINING, POLICY)
    assert found["promote"] is False
    assert "max_size_mb is 2.5 where 2 is allowed" in found["reason"]


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("split",), "validation", "judged on the test split"),
        (("candidate", "digest"), "x", "different challengers"),
        (("dataset", "fingerprint"), "x", "different data"),
    ],
)
def test_measurements_that_do_not_belong_together_are_refused(path, value, words):
    document = deepcopy(duel())
    target = document
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    with pytest.raises(UserError, match=words):
        judge(measured(), document, RETRAINING, POLICY)


@pytest.mark.parametrize("name", ["max_loss", "max_class_loss", "max_slice_loss"])
def test_a_margin_out_of_range_is_refused_by_name(name):
    with pytest.raises(UserError, match=f"{name} must be between 0 and 100; got -1"):
        PromotionPolicy(**{name: -1})
