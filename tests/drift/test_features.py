import numpy as np
import pytest

from components.drift.features import auc, discriminant, feature_drift


def samples(seed: int, n: int, m: int, width: int, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    new, reference = rng.standard_normal((n, width)), rng.standard_normal((m, width))
    new[:, 0] += shift
    return new, reference


def test_auc_is_the_share_of_pairs_in_the_right_order():
    new, reference = np.array([3.0, 1.0, 2.0, 2.0]), np.array([0.0, 2.0, 2.5])
    pairs = [(a > b) + 0.5 * (a == b) for a in new for b in reference]
    assert auc(new, reference) == pytest.approx(np.mean(pairs))


def test_the_direction_is_fishers_with_a_shrunk_covariance():
    new, reference = samples(1, 12, 9, 3, 2.0)
    inner = np.concatenate([new - new.mean(0), reference - reference.mean(0)])
    covariance = inner.T @ inner / 21
    regular = 0.8 * covariance + 0.2 * np.trace(covariance) / 3 * np.eye(3)
    wanted = np.linalg.inv(regular) @ (new.mean(0) - reference.mean(0))
    np.testing.assert_allclose(discriminant(new, reference, shrinkage=0.2), wanted)


def test_on_samples_of_one_distribution_it_alarms_as_often_as_its_level_says():
    p_values = np.array(
        [feature_drift(*samples(seed, 24, 48, 8), permutations=100, seed=seed).p_value for seed in range(300)]
    )
    # 300 trials at 5 %: 15 are expected, and more than 27 come once in a thousand times.
    assert (p_values <= 0.05).sum() <= 27
    assert (p_values <= 0.5).mean() == pytest.approx(0.5, abs=0.11)


def test_more_features_than_images_raise_no_false_alarm():
    p_values = [feature_drift(*samples(seed, 16, 16, 200), permutations=50, seed=seed).p_value for seed in range(60)]
    # 60 trials at 10 %: 6 are expected, and more than 13 come once in a thousand times.
    assert sum(p <= 0.1 for p in p_values) <= 13


def test_a_shift_of_one_feature_among_many_is_found_and_its_effect_is_large():
    found = feature_drift(*samples(0, 100, 200, 64, 3.0))
    assert found.p_value < 0.01
    assert found.auc > 0.8
    assert (found.new, found.reference) == (100, 200)


def test_a_channel_with_huge_values_does_not_hide_the_others():
    new, reference = samples(0, 100, 200, 8, 3.0)
    for side in (new, reference):
        side[:, 5] *= 1e6
    assert feature_drift(new, reference).auc > 0.8


def test_the_same_seed_gives_the_same_result():
    pair = samples(0, 20, 30, 4)
    assert feature_drift(*pair, seed=2) == feature_drift(*pair, seed=2)


@pytest.mark.parametrize(
    ("new", "reference", "words"),
    [
        (np.zeros((3, 2)), np.zeros((9, 2)), "at least 4 rows"),
        (np.zeros((9, 2)), np.zeros((9, 3)), "one width"),
        (np.full((9, 2), np.nan), np.zeros((9, 2)), "not finite"),
    ],
)
def test_samples_that_cannot_be_compared_are_refused(new, reference, words):
    with pytest.raises(ValueError, match=words):
        feature_drift(new, reference)


def test_constant_features_cannot_be_told_apart():
    assert feature_drift(np.ones((8, 3)), np.ones((8, 3))).p_value == pytest.approx(1)


def test_with_classes_that_are_matched_the_level_is_used_up():
    """Ten classes far apart, the reference with the same mix: halves and permutations that ignore the class alarm in
    2 to 3 % at a level of 5 %."""
    rng, p_values = np.random.default_rng(5), []
    means = 4 * rng.standard_normal((10, 8))
    for seed in range(400):
        new_classes = np.sort(rng.integers(0, 10, 40))
        classes = new_classes, np.repeat(new_classes, 2)
        new, reference = (means[one] + rng.standard_normal((len(one), 8)) for one in classes)
        found = feature_drift(
            new, reference, new_strata=classes[0], reference_strata=classes[1], permutations=99, seed=seed
        )
        p_values.append(found.p_value)
    # 400 trials at 5 %: 20 are expected; fewer than 10 or more than 33 come once in a hundred times.
    assert 10 <= sum(p <= 0.05 for p in p_values) <= 33
    assert np.mean([p <= 0.5 for p in p_values]) == pytest.approx(0.5, abs=0.08)
