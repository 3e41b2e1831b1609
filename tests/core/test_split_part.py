"""Parts of the test split: which rows are in which, and which parts share rows."""

from fractions import Fraction
from hashlib import sha256

import pytest

from components.core.errors import UserError
from components.core.split_part import SplitPart, all_parts

DIGESTS = [sha256(str(number).encode()).hexdigest() for number in range(4000)]
# A quarter of the digests by their beginning, as data_prep cuts the test split.
TEST = [digest for digest in DIGESTS if int(digest[:2], 16) < 64]


def test_each_row_is_in_one_part_and_parts_are_of_one_size():
    counts = [sum(part.holds(digest) for digest in TEST) for part in all_parts(4)]
    assert sum(counts) == len(TEST)
    assert all(sum(part.holds(digest) for part in all_parts(4)) == 1 for digest in TEST)
    # Pearson's χ² with 3 degrees of freedom stays below 16.3 in 99.9 %.
    expected = len(TEST) / 4
    assert sum((count - expected) ** 2 for count in counts) / expected < 16.3


def test_the_whole_holds_everything_and_a_part_is_the_same_for_ever():
    assert all(SplitPart().holds(digest) for digest in TEST)
    held = [digest for digest in DIGESTS[:40] if SplitPart(number=3, of=5).holds(digest)]
    places = [int(sha256(digest.encode()).hexdigest(), 16) / 2**256 for digest in DIGESTS[:40]]
    assert held == [digest for digest, place in zip(DIGESTS, places, strict=False) if 0.4 <= place < 0.6]


def test_parts_overlap_where_their_intervals_do():
    for first in (part for of in range(1, 8) for part in all_parts(of)):
        for second in (part for of in range(1, 8) for part in all_parts(of)):
            ends = [(Fraction(one.number - 1, one.of), Fraction(one.number, one.of)) for one in (first, second)]
            common = min(ends[0][1], ends[1][1]) - max(ends[0][0], ends[1][0])
            assert first.overlaps(second) is (common > 0), (first, second)


@pytest.mark.parametrize(("number", "of"), [(0, 4), (5, 4), (1, 0)])
def test_a_part_that_is_none_is_refused(number, of):
    with pytest.raises(UserError, match=f"from 1 to {of}, got {number}"):
        SplitPart(number=number, of=of)
