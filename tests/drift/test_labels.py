import numpy as np
import pytest

from components.drift.labels import chi_square, label_shift, total_variation


def rows(*counts):
    """Rows of one label each, so many per class."""
    return np.repeat(np.eye(len(counts), dtype=np.int64), counts, axis=0)


def test_chi_square_is_the_sum_over_the_cells_of_the_table():
    # By hand: rows 10 and 20, columns 9, 12, 9 of 30; expected 3, 4, 3 and 6, 8, 6.
    wanted = (5 - 3) ** 2 / 3 + (3 - 4) ** 2 / 4 + (2 - 3) ** 2 / 3
    wanted += (4 - 6) ** 2 / 6 + (9 - 8) ** 2 / 8 + (7 - 6) ** 2 / 6
    assert chi_square(np.array([5, 3, 2]), np.array([4, 9, 7])) == pytest.approx(wanted)


def test_a_class_that_neither_sample_has_changes_nothing():
    assert chi_square(np.array([5, 0, 3]), np.array([4, 0, 9])) == pytest.approx(
        chi_square(np.array([5, 3]), np.array([4, 9]))
    )


def test_the_distance_is_the_share_that_would_have_to_change_class():
    assert total_variation(np.array([50, 50]), np.array([8, 2])) == pytest.approx(0.3)
    assert total_variation(np.array([7, 0]), np.array([0, 3])) == pytest.approx(1)
    assert total_variation(np.array([300, 100]), np.array([3, 1])) == pytest.approx(0)


def test_cramers_v_is_one_when_the_samples_share_no_class():
    found = label_shift(rows(30, 0), rows(0, 30))
    assert found.cramers_v == pytest.approx(1)
    assert found.p_value == pytest.approx(1 / 2001)


def test_the_p_value_is_that_of_all_ways_to_deal_the_labels():
    """Two classes: the number of the first class in the new sample is hypergeometric, so its tail can be added up."""
    from math import comb

    reference, new = np.array([14, 6]), np.array([3, 7])
    ways = {k: comb(17, k) * comb(13, 10 - k) / comb(30, 10) for k in range(11)}
    observed = chi_square(reference, new)
    exact = sum(
        chance
        for k, chance in ways.items()
        if chi_square(np.array([17 - k, 3 + k]), np.array([k, 10 - k])) >= observed - 1e-9
    )
    assert label_shift(rows(*reference), rows(*new), permutations=20_000).p_value == pytest.approx(exact, abs=0.004)


def test_on_samples_of_one_distribution_it_alarms_as_often_as_its_level_says():
    rng = np.random.default_rng(0)
    shares = np.array([0.5, 0.3, 0.15, 0.05])
    p_values = np.array(
        [
            label_shift(
                rows(*rng.multinomial(400, shares)), rows(*rng.multinomial(30, shares)), permutations=200, seed=seed
            ).p_value
            for seed in range(400)
        ]
    )
    # 400 trials at 5 %: 20 are expected, and more than 33 come once in a thousand times.
    assert (p_values <= 0.05).sum() <= 33
    assert (p_values <= 0.5).mean() == pytest.approx(0.5, abs=0.1)


def test_a_real_shift_is_found():
    found = label_shift(rows(100, 100, 100), rows(25, 25, 0))
    assert found.p_value < 0.01
    assert found.observed_distance == pytest.approx(1 / 3)
    assert found.distance == pytest.approx(1 / 3, abs=0.02)


def test_the_same_seed_gives_the_same_p_value():
    samples = rows(10, 20), rows(12, 9)
    assert label_shift(*samples, seed=3) == label_shift(*samples, seed=3)


@pytest.mark.parametrize(("reference", "new"), [((1, 2), (1, 2, 3)), ((0, 0), (1, 2)), ((1, 2), (0, 0))])
def test_counts_that_cannot_be_compared_are_refused(reference, new):
    with pytest.raises(ValueError, match="need"):
        label_shift(rows(*reference), rows(*new))


def masks(rng, count, shares):
    """Rows of 1,000 pixels, nearly all of one class per row: pixels of one image go together."""
    return np.stack([rng.multinomial(1000, 0.95 * np.eye(len(shares))[main] + 0.05 * np.array(shares))
                     for main in rng.choice(len(shares), size=count, p=shares)])  # fmt: skip


def test_pixels_that_go_together_raise_no_more_alarms_than_the_level_says():
    rng = np.random.default_rng(1)
    shares = [0.5, 0.3, 0.2]
    p_values = np.array(
        [
            label_shift(masks(rng, 60, shares), masks(rng, 15, shares), permutations=100, seed=seed).p_value
            for seed in range(200)
        ]
    )
    # 200 trials at 5 %: 10 are expected, and more than 20 come once in a thousand times. With pixels dealt one by one,
    # nearly every trial would be an alarm.
    assert (p_values <= 0.05).sum() <= 20
    assert (p_values <= 0.5).mean() == pytest.approx(0.5, abs=0.12)


def test_a_shift_of_pixels_is_found_and_measured_in_shares_of_pixels():
    rng = np.random.default_rng(2)
    found = label_shift(masks(rng, 100, [0.8, 0.1, 0.1]), masks(rng, 60, [0.2, 0.4, 0.4]))
    assert found.p_value < 0.01
    assert found.distance == pytest.approx(0.57, abs=0.12)


def test_one_pixel_per_image_is_one_label_per_image():
    before, after = rows(40, 20), rows(10, 12)
    labels, pixels = (
        label_shift(before, after, permutations=4000),
        label_shift(before * 50, after * 50, permutations=4000),
    )
    assert pixels.statistic == pytest.approx(labels.statistic)
    assert pixels.p_value == pytest.approx(labels.p_value, abs=0.03)


def test_many_classes_and_few_images_are_no_shift_by_themselves():
    """75 images of 100 classes: the observed distance is 0.47 by chance, above the threshold of a new search (0.3)."""
    rng, found = np.random.default_rng(0), []
    for seed in range(30):
        before, after = rng.multinomial(2000, np.full(100, 0.01)), rng.multinomial(75, np.full(100, 0.01))
        found.append(label_shift(rows(*before), rows(*after), permutations=100, seed=seed))
    assert np.mean([one.observed_distance for one in found]) == pytest.approx(0.47, abs=0.02)
    assert np.mean([one.chance_distance for one in found]) == pytest.approx(0.47, abs=0.02)
    assert np.mean([one.distance for one in found]) < 0.12
    assert max(one.distance for one in found) < 0.3


@pytest.mark.parametrize(("classes", "images"), [(10, 75), (10, 300), (100, 300)])
def test_a_true_shift_keeps_most_of_its_size(classes, images):
    rng, found = np.random.default_rng(1), []
    before = np.full(classes, 1 / classes)
    after = before * np.repeat([0.4, 1.6], classes // 2)  # Total variation 0.3.
    for seed in range(20):
        counts = rng.multinomial(2000, before), rng.multinomial(images, after)
        found.append(label_shift(*(rows(*one) for one in counts), permutations=100, seed=seed).distance)
    assert 0.22 < np.mean(found) < 0.33
