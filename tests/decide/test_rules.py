"""The policy, rule by rule: what drift.json says on the left, what is done on the right."""

from typing import Any

import pytest

from components.core.errors import UserError
from components.core.recipe import Recipe
from components.core.retraining import RetrainPolicy
from components.decide.rules import decide, fine_tuned_recipe

POLICY = RetrainPolicy()


def drift(**changes: Any) -> dict[str, Any]:
    """A quiet week: 200 new images on 1,000, no drift, nothing put aside."""
    return {
        "images": {"reference": 1000, "dataset": 1200, "new": 200, "gone": 0, "moved_to_test": 0},
        "classes": {"added": [], "gone": [], "reordered": False},
        "quarantine": {"new": 0, "share": 0.0},
        "labels": {"distance": 0.02, "p_value": 0.7},
        "features": {"auc": 0.52, "p_value": 0.4},
        **changes,
    }


def images(**changes: int) -> dict[str, int]:
    return {**drift()["images"], **changes}


@pytest.mark.parametrize(
    ("found", "action", "words"),
    [
        ({}, "skip", "grown by 20 % only"),
        ({"images": images(new=250)}, "fine-tune", "grown by 25 %"),
        ({"images": images(new=99)}, "skip", "99 images are new; retraining starts at 100"),
        ({"images": images(new=99), "noun": "sentences"}, "skip", "99 sentences are new; retraining starts at 100"),
        ({"labels": {"distance": 0.1, "p_value": 0.01}, "mixed": "lengths"}, "fine-tune", "lengths by 10 %"),
        ({"labels": {"distance": 0.1, "p_value": 0.01}}, "fine-tune", "labels by 10 %"),
        ({"labels": {"distance": 0.1, "p_value": 0.011}}, "skip", "No drift"),
        ({"labels": {"distance": 0.099, "p_value": 0.001}}, "skip", "No drift"),
        ({"labels": {"distance": 0.3, "p_value": 0.001}}, "optimize", "much: labels by 30 %"),
        ({"features": {"auc": 0.6, "p_value": 0.01}}, "fine-tune", "AUC 0.60"),
        ({"features": {"auc": 0.8, "p_value": 0.01}}, "optimize", "AUC 0.80"),
        ({"features": {"auc": 0.9, "p_value": 0.02}}, "skip", "No drift"),
        ({"features": None, "labels": None}, "skip", "No drift"),
        ({"images": images(new=0), "labels": None, "features": None}, "skip", "0 images are new"),
    ],
)
def test_the_first_rule_that_applies_decides(found, action, words):
    decision = decide(drift(**found), POLICY)
    assert decision.action == action
    assert words in decision.reason
    assert not decision.attention


def test_few_new_images_are_waited_for_whatever_they_look_like():
    shifted = {"images": images(new=50), "labels": {"distance": 0.9, "p_value": 0.0005}}
    assert decide(drift(**shifted), POLICY).action == "skip"


@pytest.mark.parametrize(("share", "action"), [(0.1, "fine-tune"), (0.11, "skip")])
def test_a_week_with_too_many_broken_files_is_skipped_and_a_person_called(share, action):
    found = drift(images=images(new=300), quarantine={"new": 30, "share": share})
    decision = decide(found, POLICY)
    assert decision.action == action
    assert decision.attention is (action == "skip")


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        ({"added": ["bag"], "gone": [], "reordered": False}, "new bag"),
        ({"added": [], "gone": ["coat"], "reordered": False}, "gone coat"),
        ({"added": [], "gone": [], "reordered": True}, "another order"),
    ],
)
@pytest.mark.parametrize("action", ["auto", "fine-tune", "optimize"])
def test_with_other_classes_nothing_is_trained_even_if_it_was_asked_for(classes, words, action):
    decision = decide(drift(classes=classes), RetrainPolicy(action=action))
    assert decision.action == "skip"
    assert decision.attention
    assert words in decision.reason


@pytest.mark.parametrize("action", ["skip", "fine-tune", "optimize"])
def test_what_was_asked_for_is_done(action):
    assert decide(drift(images=images(new=0)), RetrainPolicy(action=action)).action == action


def test_a_challenger_is_not_judged_on_images_that_the_champion_has_learnt():
    decision = decide(drift(images=images(new=300, moved_to_test=4)), POLICY)
    assert decision.action == "optimize"
    assert "4 test images" in decision.reason


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"action": "tune"}, "action must be one of auto, skip, fine-tune, optimize"),
        ({"min_new_images": 0}, "min_new_images must be at least 1"),
        ({"max_quarantined": 1.5}, "max_quarantined must be between 0 and 1"),
        ({"feature_drift": 0.3}, "feature_drift must be between 0.5 and 1"),
        ({"drift_alpha": 0.0}, "drift_alpha must be greater than 0"),
        ({"label_shift": 0.4}, "label_shift 0.4 must be at most large_label_shift 0.3"),
        ({"min_growth": float("nan")}, "min_growth must be at least 0"),
    ],
)
def test_a_threshold_out_of_range_is_refused_by_name(changes, words):
    with pytest.raises(UserError, match=words):
        RetrainPolicy(**changes)


@pytest.mark.parametrize(
    ("asked", "of_champion", "scaled"),
    [
        ({}, {}, None),
        ({"temperature_scaling": False}, {}, False),
        ({"temperature_scaling": True}, {}, True),
        ({"temperature_scaling": False}, {"temperature": {"value": 0.95}}, True),
        ({}, {"temperature": {"value": None, "why": "too few rows"}}, True),
    ],
)
def test_a_fine_tuned_champion_keeps_its_size_and_is_made_as_asked_and_as_it_was(asked, of_champion, scaled):
    searched = [
        Recipe(
            name=f"{share:.0%}", macs_fraction=share, student_size=64, more={"int8_kind": "weights", **asked}
        ).to_json()
        for share in (0.8, 0.5)
    ]
    recipe = fine_tuned_recipe(searched, {"scheme": "int8", **of_champion})
    assert (recipe.name, recipe.macs_fraction, recipe.student_size) == ("the champion's network", 1.0, 0)
    assert recipe.more["int8_kind"] == "weights"
    assert recipe.more.get("temperature_scaling") == scaled
