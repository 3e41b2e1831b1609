"""Where sorted rows are cut into batches of so many elements, against every way to cut them."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.core.data.token_batches import cuts


def sizes(lengths: list[int], places: tuple[int, ...]) -> list[int]:
    """Elements of each batch with its padding."""
    bounds = [0, *places, len(lengths)]
    return [(stop - start) * lengths[stop - 1] for start, stop in itertools.pairwise(bounds)]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=8), st.integers(1, 30))
def test_there_are_as_few_batches_as_can_be_and_the_largest_is_as_small_as_can_be(drawn: list[int], limit: int) -> None:
    lengths = sorted(drawn)
    allowed = [
        sizes(lengths, places)
        for number in range(len(lengths))
        for places in itertools.combinations(range(1, len(lengths)), number)
        if all(
            size <= limit or size == longest
            for size, longest in zip(
                sizes(lengths, places), [lengths[p - 1] for p in (*places, len(lengths))], strict=True
            )
        )
    ]
    fewest = min(map(len, allowed))
    found = sizes(lengths, tuple(cuts(np.array(lengths), limit).tolist()))
    assert found in allowed
    assert len(found) == fewest
    within = [[size for size in one if size <= limit] for one in allowed if len(one) == fewest]
    assert max((size for size in found if size <= limit), default=0) == min(max(one, default=0) for one in within)


def test_a_row_that_is_too_long_is_a_batch() -> None:
    assert cuts(np.array([2, 2, 50, 60]), 10).tolist() == [2, 3]


def test_no_small_batch_is_left_over() -> None:
    # At 10 elements each the last batch would have one row of three.
    assert cuts(np.ones(21, dtype=np.int64), 10).tolist() == [7, 14]


@pytest.mark.parametrize("limit", [1, 3])
def test_one_row_is_not_cut(limit: int) -> None:
    assert cuts(np.array([3]), limit).tolist() == []
