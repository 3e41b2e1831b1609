import pytest

from components.core import numbers
from components.core.report.recipe_names import recipe_names


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (numbers.percent(0.91625), "91.62 %"),
        (numbers.capitalized("mIoU"), "mIoU"),
        (numbers.capitalized("chrF"), "chrF"),
        (numbers.capitalized("boundary F1"), "Boundary F1"),
        (numbers.capitalized("top-1"), "Top-1"),
        (numbers.points(-0.849), "−0.85 points"),
        (numbers.points(0.3), "+0.30 points"),
        (numbers.points(-0.004), "0.00 points"),
        (numbers.points(0.04, digits=1), "0.0 points"),
        (numbers.spread(-0.004, 0.3), "0.00 to +0.30"),
        (numbers.spread(-1.2, 0.0), "−1.20 to 0.00"),
        (numbers.interval(0.9, 0.925), "90.0 – 92.5 %"),
        (numbers.megabytes(2_470_000), "2.47 MB"),
        (numbers.milliseconds(2.3149), "2.31 ms"),
        (numbers.milliseconds(1234.56), "1,234.6 ms"),
        (numbers.compact(384_123_456), "384 M"),
        (numbers.compact(3_380_000), "3.38 M"),
        (numbers.compact(999), "999"),
        (numbers.times(1.968), "1.97×"),
        (numbers.cost(0.03125), "0.0312"),
        (numbers.cost(12.3456), "12.3"),
        (numbers.cost(999.9), "1,000"),
        (numbers.cost(1234.5), "1,234"),
        (numbers.duration(0.42), "0.4 s"),
        (numbers.duration(59.7), "1 min 00 s"),
        (numbers.duration(185), "3 min 05 s"),
        (numbers.duration(7620), "2 h 07 min"),
        (numbers.count(4000), "4,000"),
    ],
)
def test_quantities_are_written_for_people(written, expected):
    assert written == expected


@pytest.mark.parametrize(
    "write",
    [numbers.percent, numbers.points, numbers.megabytes, numbers.milliseconds, numbers.compact, numbers.times,
     numbers.duration, numbers.count, numbers.cost],
)  # fmt: skip
def test_what_was_not_measured_is_never_a_zero(write):
    assert write(None) == "–"


def test_recipes_are_called_by_their_name_or_by_what_distinguishes_them():
    assert recipe_names([{"name": "70% MACs", "x": 1}, {"name": "50% MACs", "x": 1}]) == ["70% MACs", "50% MACs"]
    same = {"importance": "taylor"}
    assert recipe_names([{**same, "macs_fraction": 0.7}, {**same, "macs_fraction": 0.5}]) == [
        "macs_fraction 0.7",
        "macs_fraction 0.5",
    ]
    assert recipe_names([{}, {}]) == ["recipe 1", "recipe 2"]


def test_recipes_of_the_same_name_can_be_told_apart():
    assert recipe_names([{"name": "a"}, {"name": "a"}]) == ["a", "a (2)"]
