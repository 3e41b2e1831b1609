"""Expected calibration error against its definition, and its interval against what simulated rows show."""

import numpy as np
import pytest

from components.core.evaluation.calibration import calibration_error


def test_it_is_the_weighted_gap_of_bins_of_equal_mass() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.3, 1, 450)
    right = rng.random(450) < confidence**2
    ordered = sorted(zip(confidence, right, strict=True))
    by_hand = 0.0
    for start in range(0, 450, 30):
        part = ordered[start : start + 30]
        accuracy, stated = sum(one for _, one in part) / 30, sum(one for one, _ in part) / 30
        by_hand += 30 / 450 * abs(accuracy - stated)
    found = calibration_error(confidence, right)
    assert found.value == pytest.approx(by_hand)
    assert (found.rows, found.bins) == (450, 15)


def test_few_rows_have_fewer_bins_and_no_row_has_no_error() -> None:
    found = calibration_error(np.array([0.9, 0.6]), np.array([True, False]))
    assert found.value == pytest.approx(abs((1 - 0.9) + (0 - 0.6)) / 2)
    assert found.bins == 1
    nothing = calibration_error(np.zeros(0), np.zeros(0))
    assert (nothing.value, nothing.low, nothing.high) == (None, None, None)


def test_the_order_of_rows_of_equal_confidence_does_not_matter() -> None:
    confidence = np.repeat([0.78, 0.8, 0.82], 100)
    right = np.random.default_rng(1).random(300) < 0.8
    order = np.random.default_rng(2).permutation(300)
    assert calibration_error(confidence, right).value == pytest.approx(
        calibration_error(confidence[order], right[order]).value
    )


def simulated(rng: np.random.Generator, rows: int, temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """Rows that are right as often as their logit says, with a confidence of the logit / temperature."""
    logits = np.abs(rng.normal(1.5, 2, rows))
    return 1 / (1 + np.exp(-logits / temperature)), rng.random(rows) < 1 / (1 + np.exp(-logits))


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_the_interval_covers_the_error_of_endless_rows(temperature: float) -> None:
    rng = np.random.default_rng(3)
    confidence, _ = simulated(rng, 300_000, temperature)
    honest = 1 / (1 + np.exp(-np.log(confidence / (1 - confidence)) * temperature))
    bins = np.array_split(np.argsort(confidence), 15)
    truth = sum(abs((honest - confidence)[part].sum()) for part in bins) / len(confidence)
    found = [calibration_error(*simulated(rng, 600, temperature)) for _ in range(60)]
    covered = [one.low <= truth + 1e-12 and truth <= one.high for one in found if one.low is not None and one.high]
    assert sum(covered) >= 52, "of 60, 95 % nominal"
    assert all(one.low <= one.value <= one.high for one in found)  # type: ignore[operator]
    if temperature < 1:
        assert sum(one.low > 0 for one in found if one.low is not None) > 50, "too sure by far is seen"
