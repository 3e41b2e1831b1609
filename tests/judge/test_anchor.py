"""Small losses that add up over a year, with and without anchors, and how these are shown."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from evaluation_documents import evaluation, metric_result

from components.core.errors import UserError
from components.core.evaluation.document import Difference, Evaluation
from components.core.evaluation.paired_proportions import score_interval
from components.core.retraining import Anchor, PromotionPolicy
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


def judged(
    duel: Evaluation, anchored: Evaluation | None, first: Evaluation | None = None, **changes: Any
) -> dict[str, Any]:
    """The judgement of a challenger of m/1, whose best proven release is m/0; the year's first release is m/00."""
    known = [Anchor(title="best proven release", release="m/0"), Anchor(title="first release of 2026", release="m/00")]
    anchors = [(anchor, found) for anchor, found in zip(known, (anchored, first), strict=True) if found]
    given = {"anchors": anchors, "part_uses": [6], **changes}
    return decide_promotion(evaluation(), duel, RETRAINING, PromotionPolicy(), **given)


def year(*, proven: bool, first: bool, lucky_week: int = -1) -> float:
    """True loss of the champion after a year, as a share; each challenger is half a point worse than its champion.

    In the lucky week the challenger is measured better than the best proven release by chance, and takes its place.
    """
    rng, champion, best = np.random.default_rng(0), 0.0, 0.0
    for week in range(WEEKS):
        challenger = champion + LOSS
        shown = -LOSS if week == lucky_week else challenger - best
        found = judged(
            against(LOSS, rng),
            against(shown, rng) if proven else None,
            against(challenger, rng) if first else None,
        )
        if found["promote"]:
            champion = challenger
            if found["next_anchor"] is None:
                best = champion
    return champion


def test_a_year_of_slightly_worse_challengers_adds_up_without_an_anchor_and_not_with_one():
    assert year(proven=False, first=False) > 0.2
    assert year(proven=True, first=False) <= 0.01
    assert year(proven=True, first=True) <= 0.01


def test_where_chance_proves_a_worse_release_the_first_of_the_year_still_holds():
    assert year(proven=True, first=False, lucky_week=1) > 0.015
    assert year(proven=True, first=True, lucky_week=1) <= 0.01


def test_a_loss_against_the_anchor_forbids_what_the_champion_would_let_pass():
    rng = np.random.default_rng(1)
    found = judged(against(0.005, rng), against(0.02, rng))
    assert found["promote"] is False
    assert [check["check"] for check in found["checks"] if not check["met"]] == ["best proven release, m/0"]
    assert "against the best proven release, m/0: a loss of" in found["reason"]
    assert [anchor["release"] for anchor in found["anchors"]] == ["m/0"]
    assert found["next_anchor"] == {"name": "m", "version": "0"}


def test_a_loss_since_the_first_release_of_the_year_forbids_what_the_others_would_let_pass():
    rng = np.random.default_rng(1)
    found = judged(against(0.005, rng), against(0.005, rng), against(0.02, rng))
    assert found["promote"] is False
    assert [check["check"] for check in found["checks"] if not check["met"]] == ["first release of 2026, m/00"]
    assert "against the first release of 2026, m/00: a loss of" in found["reason"]
    # It decides nothing about the best proven release, in neither direction.
    assert found["next_anchor"] == {"name": "m", "version": "0"}
    assert judged(against(0.0, rng), against(0.0, rng), against(-0.02, rng))["next_anchor"] is not None


def test_the_change_since_each_anchor_is_shown_with_its_interval():
    rng = np.random.default_rng(5)
    found = judged(against(0.0, rng), against(-0.002, rng), against(-0.004, rng))
    assert [(one["title"], one["release"], one["deleted"]) for one in found["anchors"]] == [
        ("best proven release", "m/0", ""), ("first release of 2026", "m/00", ""),
    ]  # fmt: skip
    html = page(found)
    for title, one in (("best proven release, m/0", 0), ("first release of 2026, m/00", 1)):
        change = found["anchors"][one]
        said = f"{change['points']:+.2f} points ({change['low']:+.2f} to {change['high']:+.2f})".replace("-", "−")
        assert f"Since the {title}: {said}." in html
    assert found["format"] == 4


def test_an_anchor_that_is_another_one_too_is_named_with_it_and_held_to_once():
    rng = np.random.default_rng(6)
    measured = against(-0.002, rng)
    both = [
        (Anchor(title=title, release="m/0"), measured) for title in ("best proven release", "first release of 2026")
    ]
    found = judged(against(0.0, rng), None, anchors=both)
    name = "best proven release and the first release of 2026"
    assert [check["check"] for check in found["checks"]][:2] == ["overall", f"{name}, m/0"]
    assert [check["check"] for check in found["checks"]].count("overall") == 1
    assert sum("m/0" in check["check"] for check in found["checks"]) == 1
    html = page(found)
    assert html.count("Since the") == 1
    assert f"Since the {name}, m/0: " in html


def test_an_anchor_that_is_the_champion_is_named_and_not_held_to_a_second_time():
    rng = np.random.default_rng(7)
    duel = against(-0.01, rng)
    anchors = [
        (Anchor(title="best proven release", release="m/1"), duel),
        (Anchor(title="first release of 2026", release="m/1"), duel),
    ]
    found = judged(duel, None, anchors=anchors)
    assert not [check for check in found["checks"] if "m/1" in check["check"]]
    assert found["next_anchor"] is None
    html = page(found)
    assert "The champion is the best proven release and the first release of 2026." in html
    assert "Since the" not in html


def test_a_deleted_anchor_is_said_and_the_champion_is_the_one_that_is_proven_from_then_on():
    rng = np.random.default_rng(8)
    duel = against(0.0, rng)
    anchors = [
        (Anchor(title="best proven release", release="m/1", deleted="m/0"), duel),
        (Anchor(title="first release of 2026", release="m/00"), against(0.0, rng)),
    ]
    found = judged(duel, None, anchors=anchors)
    assert found["promote"] is True
    assert found["next_anchor"] == {"name": "m", "version": "1"}
    assert "The best proven release, m/0, was deleted: the champion stands in for it." in page(found)
    assert "Since the first release of 2026, m/00: " in page(found)


def test_a_judgement_from_before_the_years_first_release_is_still_shown():
    found = judged(against(0.0, np.random.default_rng(9)), None)
    del found["anchors"]
    found["anchor"] = {"release": "m/0", "points": 0.4, "low": -0.1, "high": 0.9, "gained": 3, "lost": 1}
    assert "Since the best proven release, m/0: +0.40 points (−0.10 to +0.90)." in page(found)
    assert "Since the" not in page({**found, "anchor": None})


def page(found: dict[str, Any]) -> str:
    return "".join(map(str, judgement_blocks(found)))


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
    anchors = [(Anchor(title="best proven release", release="m/0"), anchored)]
    found = decide_promotion(
        evaluation(part=part), duel, RETRAINING, PromotionPolicy(), anchors=anchors, part_uses=[5, 4, 4]
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
