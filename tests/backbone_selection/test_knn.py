import math

import numpy as np
import pytest

from components.backbone_selection.knn import KnnScore, knn_score


def reference(features: np.ndarray, labels: np.ndarray, k: int, groups: np.ndarray | None = None) -> float:
    """The formula of the docstring, one sample and one neighbour at a time."""
    of = range(len(features)) if groups is None else groups.tolist()
    correct = 0
    for i in range(len(features)):
        similar = sorted(
            (
                (float(features[i] @ features[j] / (np.linalg.norm(features[i]) * np.linalg.norm(features[j]))), j)
                for j in range(len(features))
                if of[j] != of[i]
            ),
            reverse=True,
        )[:k]
        votes: dict[int, float] = {}
        for similarity, j in similar:
            votes[int(labels[j])] = votes.get(int(labels[j]), 0.0) + math.exp(similarity / 0.07)
        correct += max(votes, key=lambda label: votes[label]) == labels[i]
    return correct / len(features)


@pytest.mark.parametrize("k", [1, 5, 200])
def test_accuracy_is_that_of_the_formula(k: int) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 60)
    features = rng.normal(size=(60, 8)) + np.eye(3, 8)[labels] * 1.5
    score = knn_score(features, labels, neighbours=k)
    assert score.accuracy == pytest.approx(reference(features, labels, k))
    assert 0.3 < score.accuracy < 1


def test_what_is_of_one_group_is_no_neighbour() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(30), 3)
    labels = np.tile(np.arange(3), 30)
    # Alike within a group, as the regions of one image are: their labels are never equal.
    features = rng.normal(size=(30, 8))[groups] * 2 + np.eye(3, 8)[labels] * 1.5
    apart = knn_score(features, labels, groups=groups, neighbours=5)
    assert apart.accuracy == pytest.approx(reference(features, labels, 5, groups))
    assert knn_score(features, labels, neighbours=2).accuracy == 0 < 1 / 3 < apart.accuracy
    assert knn_score(features, labels, groups=groups, neighbours=500).samples == 90
    with pytest.raises(ValueError, match="at least two of them"):
        knn_score(features, labels, groups=np.zeros(90))


def test_chunks_leave_out_the_sample_itself_too(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    features, labels = rng.normal(size=(50, 4)), rng.integers(0, 2, 50)
    whole = knn_score(features, labels, neighbours=1)
    monkeypatch.setattr("components.backbone_selection.knn._CHUNK_ROWS", 7)
    assert knn_score(features, labels, neighbours=1) == whole
    assert whole.accuracy < 0.9  # with itself among the neighbours it would be 1


def test_length_of_a_feature_vector_does_not_count() -> None:
    rng = np.random.default_rng(2)
    features, labels = rng.normal(size=(40, 4)), rng.integers(0, 2, 40)
    scaled = features * rng.uniform(0.1, 10, (40, 1))
    assert knn_score(scaled, labels) == knn_score(features, labels)


def test_standard_error_shrinks_with_samples_and_is_never_zero() -> None:
    for each in (50, 500):
        score = knn_score(np.repeat(np.eye(2), each, axis=0), np.repeat([0, 1], each))
        n = 2 * each
        error = math.sqrt((n + 1) / (n + 2) * (1 / (n + 2)) / n)
        assert score == KnnScore(accuracy=1.0, standard_error=pytest.approx(error), samples=n)


@pytest.mark.parametrize(
    ("features", "labels"),
    [(np.ones((1, 2)), np.zeros(1, int)), (np.ones((3, 2)), np.zeros(2, int)), (np.full((3, 2), np.nan), np.arange(3))],
)
def test_unusable_input_is_refused(features: np.ndarray, labels: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"need|finite"):
        knn_score(features, labels)
