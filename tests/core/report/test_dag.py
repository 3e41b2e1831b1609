from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from components.core.report.dag import TaskBox, ancestors, dag, reduced, timeline


def box(name, *after, lane="", status="succeeded", seconds=1.0, started=0.0, cached=False):
    return TaskBox(
        id=name,
        name=name,
        status=status,
        seconds=seconds,
        started=started,
        cached=cached,
        lane=lane,
        depends_on=after,
    )


def frames(svg):
    """For each drawn box its (left, top), by the task's id."""
    found = {}
    for part in ElementTree.fromstring(str(svg)).iter("g"):
        title, rect = part.find("title"), part.find("rect")
        if title is not None and rect is not None:
            found[title.text.split(":")[0]] = (float(rect.get("x")), float(rect.get("y")))
    return found


PIPELINE = [
    box("prep"),
    box("tune", "prep"),
    box("prune-a", "tune", "prep", lane="a"),
    box("prune-b", "tune", "prep", lane="b"),
    box("evaluate-a", "prune-a", "prep", "tune", lane="a"),
    box("evaluate-b", "prune-b", "prep", "tune", lane="b"),
    box("choose", "evaluate-a", "evaluate-b", "tune"),
]


def test_a_task_stands_below_everything_it_depends_on():
    places = frames(dag(PIPELINE))
    for task in PIPELINE:
        for other in task.depends_on:
            assert places[task.id][1] > places[other][1]


def test_iterations_stand_beside_each_other_each_in_its_column():
    places = frames(dag(PIPELINE))
    assert places["prune-a"][0] == places["evaluate-a"][0] < places["prune-b"][0] == places["evaluate-b"][0]
    assert places["prune-a"][1] == places["prune-b"][1]
    assert places["prune-a"][0] < places["choose"][0] < places["prune-b"][0]


def test_dependencies_that_follow_from_others_are_not_drawn():
    edges = reduced({task.id: task.depends_on for task in PIPELINE})
    assert edges["evaluate-a"] == ["prune-a"]
    assert edges["choose"] == ["evaluate-a", "evaluate-b"]


@given(st.lists(st.lists(st.integers(0, 7), max_size=4), min_size=8, max_size=8))
def test_reduction_keeps_what_can_be_reached(wanted):
    # Only backward edges, so that there is no cycle.
    edges = {str(n): [str(other) for other in others if other < n] for n, others in enumerate(wanted)}
    assert ancestors(reduced(edges)) == ancestors(edges)


def test_no_two_boxes_overlap():
    free = [box("side", "tune"), box("other", "tune")]
    places = list(frames(dag([*PIPELINE, *free])).values())
    assert len(places) == len(PIPELINE) + 2
    for index, (x, y) in enumerate(places):
        for u, v in places[index + 1 :]:
            assert abs(x - u) >= 164 or abs(y - v) >= 44


def test_unknown_dependencies_and_cycles_do_not_break_the_picture():
    svg = dag([box("a", "b", "nowhere"), box("b", "a"), box("c", "c")])
    assert len(frames(svg)) == 3


def test_cached_and_failed_tasks_say_so():
    svg = dag(
        [box("a", cached=True), box("b", "a", status="failed", seconds=3.0), box("c", "b", status="skipped", seconds=0)]
    )
    words = [text.text for text in ElementTree.fromstring(str(svg)).iter("text")]
    assert {"from cache", "failed after 3.0 s", "skipped"} <= set(words)


def test_the_time_line_is_to_scale():
    svg = timeline([box("a", started=100, seconds=10), box("b", started=110, seconds=30)])
    bars = [rect for rect in ElementTree.fromstring(str(svg)).iter("rect")]
    first, second = ((float(bar.get("x")), float(bar.get("width"))) for bar in bars)
    assert abs(second[1] - 3 * first[1]) < 0.1
    assert abs(second[0] - first[0] - first[1]) < 0.1


def test_no_tasks_at_all_give_a_picture():
    assert "<svg" in dag([])
    assert "<svg" in timeline([])
