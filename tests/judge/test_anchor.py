"""What small losses add up to over a year, with and without an anchor."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from evaluation_documents import evaluation, metric_result

from components.core.errors import UserError
from components.core.evaluation.document import Difference, Evaluation
from components.core.evaluation.paired_proportions import score_interval
from components.core.retraining import PromotionPolicy
from components.core.split_part import SplitPart
from components.core.stage_pages.judgement import judgement_blocks
from components.judge.verdict import decide_promotion

IMAGES, DISCORDANT, LOSS, WEEKS = 50_000, 0.04, 0.005, 52
RETRAINING = {"champion": {"name": "m", "version": "1"}, "action": "fine-tune", "reason": "Grown.", "attention": False}


def against(loss: float, rng: np.random.Generator) -> Evaluation:
    """A challenger that is truly worse by `loss` (a share) than the other, measured on test images."""
    discordant = max(DISCORDANT, 1.5 * abs(loss))
    gained, lost, _ = rng.multinomial(
        IMAGES, [(discordant - loss) / 2, (discordant + loss) / 2, 1 - discordant]
    ).tolist()
    low, high = score_interval(gained, lost, IMAGES, 0.95)
    found = Difference(points=100 * (gained - lost) / IMAGES, low=100 * low, high=100 * high)
    return evaluation(rows=IMAGES, metrics=(replace(metric_result(0.9, 0.9), difference=found),))


def judged(duel: Evaluation, anchored: Evaluation | None, **changes: Any) -> dict[str, Any]:
    given = {"anchored": anchored, "anchor": "m/0", "part_uses": [6], **changes}
    return decide_promotion(evaluation(), duel, RETRAINING, PromotionPolicy(), **given)


def year(*, with_anchor: bool) -> float:
    """True loss of the champion after a year, as a share; each challenger is half a point worse than its champion."""
    rng, champion, anchor = np.random.default_rng(0), 0.0, 0.0
    for _ in range(WEEKS):
        challenger = champion + LOSS
        duel, anchored = against(LOSS, rng), against(challenger - anchor, rng)
        found = judged(duel, anchored if with_anchor else None)
        if found["promote"]:
            champion = challenger
            if with_anchor and found["next_anchor"] is None:
                anchor = champion
    return champion


def test_a_year_of_slightly_worse_challengers_adds_up_without_an_anchor_and_not_with_one():
    assert year(with_anchor=False) > 0.2
    assert year(with_anchor=True) <= 0.01


def test_a_loss_against_the_anchor_forbids_what_the_champion_would_let_pass():
    rng = np.random.default_rng(1)
    found = judged(against(0.005, rng), against(0.02, rng))
    assert found["promote"] is False
    assert [check["check"] for check in found["checks"] if not check["met"]] == ["anchor m/0"]
    assert "against anchor m/0: a loss of" in found["reason"]
    assert found["anchor"]["release"] == "m/0"
    assert found["next_anchor"] == {"name": "m", "version": "0"}


def test_who_is_proven_better_than_the_anchor_is_the_next_one():
    rng = np.random.default_rng(2)
    better, equal = judged(against(0.0, rng), against(-0.01, rng)), judged(against(0.0, rng), against(0.0, rng))
    assert better["promote"] is equal["promote"] is True
    assert better["next_anchor"] is None
    assert equal["next_anchor"] == {"name": "m", "version": "0"}


def test_the_judgement_says_how_often_the_test_split_has_been_used():
    rng = np.random.default_rng(3)
    assert judged(against(0.0, rng), against(0.0, rng))["test_uses"] == 7


def test_of_a_part_the_judgement_says_how_often_each_one_has_been_used():
    rng, part = np.random.default_rng(3), SplitPart(number=2, of=3)
    duel, anchored = (replace(against(0.0, rng), part=part) for _ in range(2))
    found = decide_promotion(
        evaluation(part=part), duel, RETRAINING, PromotionPolicy(), anchored=anchored, anchor="m/0", part_uses=[5, 4, 4]
    )
    assert found["test_uses"] == 5
    assert found["test_part"] == {"number": 2, "of": 3, "uses_before": [5, 4, 4]}
    html = "".join(map(str, judgement_blocks(found)))
    assert "Part 2 of 3 of the test split has measured 5 releases of this name" in html
    assert "Before this one its 3 parts had measured 5, 4 and 4." in html
    assert judged(against(0.0, rng), None)["test_part"] is None


def test_evaluations_of_other_parts_than_the_duels_are_refused():
    rng, part = np.random.default_rng(3), SplitPart(number=2, of=3)
    with pytest.raises(UserError, match="part 1 of 1 and of part 2 of 3 of the test split"):
        judged(replace(against(0.0, rng), part=part), None, part_uses=[1, 1, 1])
    with pytest.raises(UserError, match="uses of 1 parts of the test split are needed, got 3"):
        judged(against(0.0, rng), None, part_uses=[1, 1, 1])


def test_an_anchor_on_other_data_is_refused():
    rng = np.random.default_rng(4)
    other = against(0.0, rng)
    with pytest.raises(UserError, match="different data"):
        judged(against(0.0, rng), replace(other, dataset=replace(other.dataset, fingerprint="e" * 64)))
