import dataclasses
import random

import pytest

from components.backbone_selection.ranking import Candidate, rank_and_choose
from components.core.errors import UserError


def candidate(name: str, *, macs: int, knn: float | None, parameters: int = 1, **fields: object) -> Candidate:
    base = Candidate(
        name=name,
        architecture=f"timm:{name}",
        input="64 × 64 px",
        parameters=parameters,
        macs=macs,
        size_mb=1.0,
        latency_ms=1.0,
        top1_published=None,
        knn_accuracy=knn,
        knn_standard_error=None if knn is None else 0.01,
        logme=None if knn is None else 0.0,
    )
    return dataclasses.replace(base, **fields)  # type: ignore[arg-type]


def test_fewest_macs_within_one_standard_error_of_the_best_win() -> None:
    choice = rank_and_choose(
        [
            candidate("tiny", macs=1, knn=0.80, parameters=1),
            candidate("light", macs=2, knn=0.895, parameters=2),
            candidate("heavy", macs=9, knn=0.90, parameters=9),
        ]
    )
    assert choice.chosen == "light"
    assert choice.winner().name == "light"
    assert (
        "2 candidates within one standard error (1.0 points) of the best k-NN accuracy, 90.0 % (heavy)" in choice.reason
    )
    assert choice.reason.endswith("size alone would have chosen heavy")


def test_a_clear_winner_is_taken_whatever_it_costs() -> None:
    choice = rank_and_choose([candidate("light", macs=1, knn=0.8), candidate("heavy", macs=9, knn=0.9, parameters=9)])
    assert choice.chosen == "heavy"
    assert "by more than one standard error; size alone would have chosen the same" in choice.reason


def test_best_candidate_that_is_also_the_lightest_near_the_best_says_so() -> None:
    choice = rank_and_choose([candidate("light", macs=1, knn=0.9), candidate("heavy", macs=9, knn=0.895, parameters=9)])
    assert choice.chosen == "light"
    assert "best k-NN accuracy, 90.0 %, and none that comes close has fewer MACs" in choice.reason


def test_rejected_candidate_is_listed_but_never_chosen() -> None:
    choice = rank_and_choose(
        [
            candidate("huge", macs=99, knn=None, parameters=99, rejected="too many"),
            candidate("light", macs=1, knn=0.5),
        ]
    )
    assert choice.chosen == "light"
    assert "only candidate within the limits" in choice.reason
    rows = [(row.name, row.static_rank, row.transfer_rank) for row in choice.candidates]
    assert rows == [("light", 2, 1), ("huge", 1, None)]


def test_ranks_follow_accuracy_then_logme_and_size() -> None:
    choice = rank_and_choose(
        [
            candidate("a", macs=1, knn=0.9, parameters=5, logme=0.1),
            candidate("b", macs=1, knn=0.9, parameters=7, logme=0.2),
            candidate("c", macs=1, knn=0.95, parameters=6),
        ]
    )
    assert [(row.name, row.transfer_rank, row.static_rank) for row in choice.candidates] == [
        ("c", 1, 2),
        ("b", 2, 1),
        ("a", 3, 3),
    ]


def test_choice_does_not_depend_on_order_or_latency() -> None:
    candidates = [candidate(name, macs=macs, knn=0.9) for name, macs in (("a", 3), ("b", 2), ("c", 2), ("d", 4))]
    for seed in range(5):
        shuffled = [
            dataclasses.replace(row, latency_ms=float(number))
            for number, row in enumerate(random.Random(seed).sample(candidates, len(candidates)))
        ]
        assert rank_and_choose(shuffled).chosen == "b"


def test_no_candidate_within_the_limits_is_a_users_mistake() -> None:
    with pytest.raises(UserError, match="no backbone"):
        rank_and_choose([candidate("a", macs=1, knn=None, rejected="slow")])
