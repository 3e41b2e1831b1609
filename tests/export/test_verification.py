"""Rows in a batch against each row alone, where integers are scaled per call."""

import numpy as np
import pytest

from components.export.verification import VerificationError, _check_batch


class Session:
    """A bias that all rows share, five times what sets a row apart; a batch moves each row, or exchanges them."""

    def __init__(self, *, noise: float, exchanges: bool = False) -> None:
        self._noise, self._exchanges = noise, exchanges

    def run(self, _names, feed):
        rows = feed["x"]
        if len(rows) > 1:
            rows = rows + self._noise * np.sign(np.sin(17 * np.arange(rows.size))).reshape(rows.shape)
            rows = np.roll(rows, 1, axis=0) if self._exchanges else rows
        return [(7.0 + rows).astype(np.float32), np.zeros((len(rows), 1), dtype=np.float32)]


FEED = {"x": np.random.default_rng(0).standard_normal((3, 64))}


def checked(**session):
    _check_batch("encoder", Session(**session), FEED, 3, scaled_per_call=True)


def test_a_batch_may_move_a_row_a_little_but_not_half_of_the_way_to_another():
    checked(noise=0.0)
    checked(noise=0.3)
    with pytest.raises(VerificationError, match=r"^encoder: outputs change with the batch size by"):
        checked(noise=0.9)


def test_exchanged_rows_are_found_beside_a_large_bias_that_all_share():
    with pytest.raises(VerificationError, match="outputs change with the batch size"):
        checked(noise=0.0, exchanges=True)
