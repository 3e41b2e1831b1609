"""The table that `benchmarks/frontier.py` prints, and what it says of our front."""

import pytest
from frontier_table import Figures, above_our_front, average, table


def figures(points: float, smaller: float, one: float, many: float) -> Figures:
    return Figures(points=points, smaller=smaller, faster={1: one, 32: many})


OURS = figures(-1.0, 8.0, 3.2, 4.0)


@pytest.mark.parametrize(
    "peer",
    [
        figures(-0.9, 3.0, 1.0, 1.0),
        figures(-5.0, 8.1, 1.0, 1.0),
        figures(-5.0, 3.0, 3.3, 1.0),
        figures(-5.0, 3.0, 1.0, 4.1),
    ],
    ids=["more accurate", "smaller", "faster", "faster in batches"],
)
def test_a_peer_that_is_better_in_one_respect_is_above_our_front(peer: Figures) -> None:
    assert above_our_front({"trimtab 50 %": [OURS], "peer": [peer]}, ours="trimtab") == ["peer"]


def test_a_peer_that_is_nowhere_better_is_not_above_our_front() -> None:
    worse = figures(-1.0, 8.0, 3.2, 3.9)
    assert above_our_front({"trimtab": [OURS], "worse": [worse], "equal": [OURS]}, ours="trimtab") == []


def test_two_points_of_ours_that_only_together_are_better_leave_the_peer_above() -> None:
    fast, exact = figures(-3.0, 9.0, 4.0, 5.0), figures(0.0, 4.0, 2.0, 2.0)
    peer = figures(-1.0, 6.0, 3.0, 3.0)
    assert above_our_front({"trimtab a": [fast], "trimtab b": [exact], "peer": [peer]}, ours="trimtab") == ["peer"]


def test_the_average_over_seeds_decides_and_not_the_best_seed() -> None:
    lucky = [figures(1.0, 8.0, 3.2, 4.0), figures(-4.0, 8.0, 3.2, 4.0)]
    assert average(lucky) == figures(-1.5, 8.0, 3.2, 4.0)
    assert above_our_front({"trimtab": [OURS, OURS], "peer": lucky}, ours="trimtab") == []


def test_methods_without_a_seed_and_seeds_of_different_batches_are_refused() -> None:
    with pytest.raises(ValueError, match="no seed"):
        average([])
    with pytest.raises(ValueError, match="different batch sizes"):
        average([OURS, Figures(points=0, smaller=1, faster={1: 1.0})])


def test_the_table_gives_means_with_their_spread_and_marks_who_is_above() -> None:
    peer = [figures(-1.0, 3.0, 3.0, 4.0), figures(0.0, 5.0, 3.0, 5.0)]
    text = table({"trimtab": [OURS], "peer": peer}, ours="trimtab", notes={"peer": "40 s"})
    assert text.splitlines()[0] == "| method | seeds | top-1, points | smaller | batch 1 | batch 32 | notes | front |"
    assert text.splitlines()[2] == "| trimtab | 1 | -1.00 | 8.00x | 3.20x | 4.00x |  |  |"
    expected = "| peer | 2 | -0.50 ± 0.71 | 4.00x ± 1.41 | 3.00x ± 0.00 | 4.50x ± 0.71 | 40 s |"
    assert text.splitlines()[3] == f"{expected} **not dominated by ours** |"
