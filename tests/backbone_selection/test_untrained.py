"""Networks compared before training, where there are no classes."""

from dataclasses import replace

import numpy as np
import pytest

from components.backbone_selection.ranking import Candidate, rank_and_choose
from components.backbone_selection.untrained import standard_error
from components.core.tasks.metric import Metric

SCORE = Metric(
    name="score", label="score", reduce=lambda sums: sums[..., 0] / sums[..., 1], points_per_unit=1.0, percent=False
)


def candidate(name: str, macs: int, untrained: float | None, loss: float = 1.0) -> Candidate:
    known = None if untrained is None else 0.5
    return Candidate(
        name=name, architecture=f"marian:{name}", input="en → pt", parameters=macs, macs=macs, size_mb=1.0,
        latency_ms=1.0, top1_published=None, untrained=untrained, untrained_error=known, untrained_loss=loss,
    )  # fmt: skip


def test_the_standard_error_of_a_mean_is_the_one_that_is_known() -> None:
    values = np.array([3.0, 5.0, 1.0, 7.0, 2.0])
    found = standard_error(SCORE, np.stack([values, np.ones(5)], axis=1))
    assert found == pytest.approx(values.std(ddof=1) / np.sqrt(5))
    assert standard_error(SCORE, np.array([[3.0, 1.0]])) == 0


def test_the_lightest_of_those_that_translate_about_equally_well_is_chosen() -> None:
    rows = [candidate("large", 9, 40.2), candidate("small", 2, 39.9), candidate("tiny", 1, 20.0)]
    choice = rank_and_choose(rows, SCORE)
    assert choice.chosen == "small"
    assert "within one standard error (0.5 points) of the best score before training, 40.2 (large)" in choice.reason
    shown = choice.winner().to_json()
    assert (shown["untrained"], shown["knn_accuracy"], shown["transfer_rank"]) == (39.9, None, 2)


def test_equal_figures_are_ordered_by_the_loss() -> None:
    choice = rank_and_choose([candidate("a", 5, 40.0, loss=2.0), candidate("b", 5, 40.0, loss=1.0)], SCORE)
    assert [row.name for row in choice.candidates] == ["b", "a"]


def test_figures_that_a_ranking_by_classes_lacks_are_left_out() -> None:
    row = replace(candidate("a", 5, None), knn_accuracy=0.5, knn_standard_error=0.01, logme=0.0, untrained_loss=None)
    assert not [name for name in rank_and_choose([row]).winner().to_json() if name.startswith("untrained")]
