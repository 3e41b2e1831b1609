import itertools
import subprocess
import sys
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.core.report.figures import Point, bars, confusion_matrix, line_chart, scatter
from components.core.report.svg import shorten, text_width, tick_labels, ticks

finite = st.floats(-1e6, 1e6, allow_nan=False)


def parsed(svg):
    """The figure as an XML tree: it must be well-formed."""
    return ElementTree.fromstring(str(svg))


def texts(svg):
    return [element.text for element in parsed(svg).iter("text")]


def circles(svg, look):
    return [circle for circle in parsed(svg).iter("circle") if circle.get("class") == look]


@given(finite, finite, st.integers(2, 8))
def test_ticks_cover_the_data_with_equal_round_steps(a, b, wanted):
    low, high = min(a, b), max(a, b)
    marks = ticks(low, high, wanted=wanted)
    unseen = 1e-8 * max(marks[1] - marks[0], abs(low), abs(high), 1e-3)  # far below a pixel
    assert marks[0] <= low + unseen
    assert marks[-1] >= high - unseen
    assert 2 <= len(marks) <= max(wanted, 2) + 1
    assert len(set(tick_labels(marks))) == len(marks)


def test_ticks_of_percentages_are_the_ones_a_person_would_choose():
    assert tick_labels(ticks(0.713, 0.934), as_percent=True) == ["70", "75", "80", "85", "90", "95"]
    assert tick_labels(ticks(0.9085, 0.9245), as_percent=True) == ["90.5", "91.0", "91.5", "92.0", "92.5"]


def test_a_line_has_a_point_for_each_finite_value_and_its_name_at_the_end():
    svg = line_chart({"tuned": [(1, 0.5), (2, float("nan")), (3, 0.9)]}, title="t", x="epoch", y="top-1", percent=True)
    line = parsed(svg).find("polyline")
    assert len(line.get("points").split()) == 2
    assert "tuned" in texts(svg)
    assert "top-1 (%)" in texts(svg)


def test_better_values_are_higher_in_the_picture():
    svg = line_chart({"a": [(1, 0.1), (2, 0.9)]}, title="t", x="x", y="y")
    (first, second) = (point.split(",") for point in parsed(svg).find("polyline").get("points").split())
    assert float(second[0]) > float(first[0])
    assert float(second[1]) < float(first[1])


def test_the_kept_epoch_is_ringed():
    svg = line_chart({"a": [(1, 0.1), (2, 0.9), (3, 0.8)]}, title="t", x="x", y="y", highlight={"a": 2})
    assert len(circles(svg, "ring")) == 1


def test_names_at_the_ends_of_lines_do_not_cover_each_other():
    svg = line_chart(
        {f"s{number}": [(1, 0.5), (2, 0.9 + number / 1e4)] for number in range(6)}, title="t", x="x", y="y"
    )
    heights = sorted(float(text.get("y")) for text in parsed(svg).iter("text") if text.get("class") == "t name")
    assert len(heights) == 6
    assert min(b - a for a, b in itertools.pairwise(heights)) >= 12


POINTS = [
    Point(name="fast", x=1.0, y=0.80, on_front=True),
    Point(name="good", x=2.0, y=0.90, on_front=True, kind="chosen"),
    Point(name="worse", x=2.5, y=0.85),
    Point(name="base", x=4.0, y=0.91, kind="baseline"),
]


def test_the_front_is_a_staircase_over_its_points_only():
    svg = scatter(POINTS, title="t", x="ms", y="top-1")
    front = [line for line in parsed(svg).iter("polyline") if line.get("class") == "front"]
    corners = front[0].get("points").split()
    assert len(corners) == 3  # fast, the corner, good
    assert corners[0].split(",")[1] == corners[1].split(",")[1]
    assert corners[1].split(",")[0] == corners[2].split(",")[0]


def test_chosen_front_dominated_and_baseline_look_different():
    svg = scatter(POINTS, title="t", x="ms", y="top-1")
    assert [len(circles(svg, look)) for look in ("dot-front", "dot", "ring")] == [2, 1, 1]
    assert len(list(parsed(svg).iter("polygon"))) == 1
    assert {"fast", "good", "worse", "base"} <= set(texts(svg))


def test_among_many_points_no_name_covers_another_and_the_chosen_one_keeps_its_own():
    crowd = [Point(name=f"recipe {n} of many", x=1 + n / 50, y=0.9 + n / 5000, on_front=True) for n in range(30)]
    svg = scatter([*crowd, POINTS[1], POINTS[3]], title="t", x="ms", y="top-1")
    shown = [text for text in parsed(svg).iter("text") if "halo" in text.get("class")]
    names = [text.text for text in shown]
    assert {"good", "base"} <= set(names)
    assert 3 <= len(names) < 32
    spans = []
    for text in shown:
        width = text_width(text.text)
        left = float(text.get("x")) - {"start": 0, "middle": width / 2, "end": width}[text.get("text-anchor")]
        spans.append((left, left + width, float(text.get("y"))))
    for (a, b, y), (c, d, z) in itertools.combinations(spans, 2):
        assert b <= c or d <= a or abs(y - z) >= 11
    hints = [title.text for title in parsed(svg).iter("title")]
    assert all(point.name in hints for point in crowd)


def test_limits_are_drawn_even_where_no_point_is():
    svg = scatter(POINTS, title="t", x="ms", y="top-1", x_limit=9.0, y_limit=0.5)
    lines = [line for line in parsed(svg).iter("line") if line.get("class") == "limit"]
    assert len(lines) == 2
    assert "within the budget" in texts(svg)


def test_bars_are_as_long_as_their_values():
    svg = bars({"a": 1.0, "b": 4.0}, title="t", unit="images", digits=0)
    lengths = [float(bar.get("width")) for bar in parsed(svg).iter("rect")]
    assert lengths[1] == pytest.approx(4 * lengths[0], abs=0.1)
    assert "4 images" in texts(svg)


def test_a_confusion_matrix_shows_its_counts_and_says_which_are_right():
    svg = confusion_matrix([[8, 2], [1, 9]], ["cat", "dog"])
    assert [text for text in texts(svg) if text and text.isdigit()] == ["8", "2", "1", "9"]
    fills = [rect.get("fill") for rect in parsed(svg).iter("rect")]
    assert fills == ["var(--c1)", "var(--c2)", "var(--c2)", "var(--c1)"]
    assert "cat seen as dog: 2 of 10" in [title.text for title in parsed(svg).iter("title")]


def test_a_matrix_of_a_thousand_classes_keeps_the_most_confused_ones_and_stays_small():
    size = 1000
    matrix = [[0] * size for _ in range(size)]
    for index in range(size):
        matrix[index][index] = 50
    matrix[700][3] = 40
    svg = confusion_matrix(matrix, [f"class {index}" for index in range(size)])
    assert {"class 700", "class 3"} <= set(texts(svg))
    assert "the 24 of 1000 classes with the most confusions" in svg
    assert len(svg) < 300_000


def test_a_matrix_that_is_not_square_is_refused():
    with pytest.raises(ValueError, match="2 rows for 1 labels"):
        confusion_matrix([[1], [2]], ["a"])


@pytest.mark.parametrize(
    "draw",
    [
        lambda: line_chart({}, title="t", x="x", y="y"),
        lambda: line_chart({"a": [(1, 1.0)]}, title="t", x="x", y="y"),
        lambda: line_chart({"a": [(1, 0.0), (2, 0.0)]}, title="t", x="x", y="y"),
        lambda: scatter([], title="t", x="x", y="y"),
        lambda: scatter([Point(name="a", x=0.0, y=1.0)], title="t", x="x", y="y", percent=True),
        lambda: bars({}, title="t"),
        lambda: bars({"a": 0.0}, title="t"),
        lambda: confusion_matrix([], []),
        lambda: confusion_matrix([[0, 0], [0, 0]], ["a", "b"]),
    ],
)
def test_empty_and_flat_data_give_a_figure_too(draw):
    assert parsed(draw()).tag == "svg"


def test_equal_data_give_equal_bytes():
    def draw():
        return scatter(POINTS, title="t", x="x", y="y") + confusion_matrix([[8, 2], [1, 9]], ["cat", "dog"])

    assert draw() == draw()


@given(st.text(max_size=60), st.floats(20, 200))
def test_a_shortened_name_fits(name, width):
    cut = shorten(name, width)
    assert cut == name or text_width(cut) <= width or len(cut) <= 2


def test_reporting_imports_neither_matplotlib_nor_torch_nor_kfp():
    code = (
        "import sys, components.core.report.figures, components.core.report.dag, components.run_report.report;"
        "print(sorted({'matplotlib', 'torch', 'kfp', 'pandas', 'boto3'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
