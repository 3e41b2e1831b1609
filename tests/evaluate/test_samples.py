"""Which rows are shown, and what is stored of them."""

import numpy as np

from components.core.tasks.metric import Metric
from components.evaluate.samples import pick_samples


def ratio(sums: np.ndarray) -> np.ndarray:
    return np.divide(sums[..., 0], sums[..., 1], out=np.full(sums.shape[:-1], np.nan), where=sums[..., 1] > 0)


SHARE = Metric(name="share", label="share", reduce=ratio, proportion=True)
OVERLAP = Metric(name="overlap", label="overlap", reduce=ratio)
ERRORS = Metric(name="errors", label="errors", reduce=ratio, higher_is_better=False)


def scored(scores) -> np.ndarray:
    return np.stack([np.asarray(scores, float), np.ones(len(scores))], axis=1)


def test_of_right_and_wrong_half_are_wrong_and_both_are_spread_over_the_split():
    picked = pick_samples(SHARE, scored([0.0 if number % 3 == 0 else 1.0 for number in range(120)]), number=8)
    wrong = [row for row, kind in picked.items() if kind == "wrong"]
    right = [row for row, kind in picked.items() if kind == "right"]
    assert wrong == [0, 30, 60, 90]
    assert len(right) == 4
    assert all(row % 3 for row in right)
    assert right[-1] - right[0] > 80


def test_where_few_are_wrong_the_rest_is_right():
    picked = pick_samples(SHARE, scored([0.0] + [1.0] * 30), number=8)
    assert sorted(picked.values()) == ["right"] * 7 + ["wrong"]


def test_of_any_other_metric_the_worst_the_typical_and_the_best_are_shown():
    scores = np.random.default_rng(0).permutation(np.arange(31)) / 31
    picked = pick_samples(OVERLAP, scored(scores), number=9)

    def of(kind: str) -> list[float]:
        return sorted(float(31 * scores[row]) for row, found in picked.items() if found == kind)

    np.testing.assert_allclose(of("worst"), [0, 1, 2])
    np.testing.assert_allclose(of("typical"), [14, 15, 16])
    np.testing.assert_allclose(of("best"), [28, 29, 30])


def test_the_worst_row_of_a_metric_of_which_less_is_better_has_the_most():
    picked = pick_samples(ERRORS, scored([5, 1, 9, 3, 2]), number=3)
    assert {kind: row for row, kind in picked.items()} == {"worst": 2, "typical": 3, "best": 1}


def test_rows_that_the_metric_says_nothing_of_are_not_shown():
    statistics = np.array([[0.0, 0.0], [1, 2], [2, 2], [0, 2]])
    assert set(pick_samples(OVERLAP, statistics, number=24)) == {1, 2, 3}
    assert pick_samples(OVERLAP, np.zeros((5, 2))) == {}
    assert pick_samples(OVERLAP, scored([0.5])) == {0: "best"}
