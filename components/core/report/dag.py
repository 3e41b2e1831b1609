"""Figures of a run's tasks: the dependency graph and the timeline."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from components.core.numbers import duration
from components.core.report.svg import element, group, label, line, picture, shorten, text_width

_BOX_WIDTH, _BOX_HEIGHT = 164.0, 44.0
_GAP_X, _GAP_Y = 20.0, 26.0
_LANE_HEAD = 24.0
_INSET = 8.0
"""Padding of a loop iteration's background around its boxes, pixels."""
_ROW = 22.0
_SHRINKS_BELOW = 600.0


@dataclass(frozen=True, kw_only=True)
class TaskBox:
    """One task; `lane` is its loop iteration, empty outside of loops; `started` in epoch seconds."""

    id: str
    name: str
    status: str
    seconds: float = 0.0
    started: float = 0.0
    cached: bool = False
    lane: str = ""
    depends_on: tuple[str, ...] = ()

    @property
    def look(self) -> str:
        """The CSS class: cached, or the status."""
        return "cached" if self.cached else self.status

    @property
    def words(self) -> str:
        """Second line of the box, below the name."""
        if self.cached:
            return "from cache"
        if self.status == "succeeded":
            return duration(self.seconds)
        return f"{self.status} after {duration(self.seconds)}" if self.seconds > 0.05 else self.status


def ancestors(depends_on: Mapping[str, Sequence[str]]) -> dict[str, set[str]]:
    """All ancestors of each task; dependencies on unknown tasks or on itself are ignored."""
    found: dict[str, set[str]] = {}

    def visit(task: str, path: tuple[str, ...]) -> set[str]:
        if task not in found:
            before: set[str] = set()
            for other in depends_on[task]:
                if other in depends_on and other not in (*path, task):
                    before |= {other} | visit(other, (*path, task))
            found[task] = before
        return found[task]

    for task in depends_on:
        visit(task, ())
    return found


def reduced(depends_on: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Transitive reduction: the dependencies without those that follow from others."""
    before = ancestors(depends_on)
    return {
        task: [
            other
            for other in dict.fromkeys(others)
            if other in before[task] and not any(other in before[between] for between in before[task] - {other})
        ]
        for task, others in depends_on.items()
    }


def _ranks(edges: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Row of each task: the length of the longest path to it."""
    before = ancestors(edges)
    ranks: dict[str, int] = {}
    for task in sorted(edges, key=lambda task: len(before[task])):
        ranks[task] = 1 + max((ranks[other] for other in edges[task] if other in ranks), default=-1)
    return ranks


def dag(tasks: Sequence[TaskBox], *, title: str = "Tasks and their dependencies") -> Markup:
    """The dependency graph, top to bottom, with loop iterations side by side.

    Args:
        tasks: The tasks in the order in which they started.
        title: What the figure shows.
    """
    boxes = {task.id: task for task in tasks}
    edges = reduced({task.id: task.depends_on for task in tasks})
    ranks = _ranks(edges)
    lanes = list(dict.fromkeys(task.lane for task in tasks if task.lane))
    columns = _columns(tasks, ranks, lanes)
    width = (max(columns.values(), default=0.0) + 1) * (_BOX_WIDTH + _GAP_X) - _GAP_X + 2 * _INSET
    lane_rows = {ranks[task.id] for task in tasks if task.lane}
    head = _LANE_HEAD if lanes else 0.0
    top, places = 34.0, {}
    for rank in range(max(ranks.values(), default=-1) + 1):
        # Leaves room for the iterations' names above the first row of a loop.
        top += head if lane_rows and rank == min(lane_rows) else 0.0
        for task, column in columns.items():
            if ranks[task] == rank:
                places[task] = (_INSET + column * (_BOX_WIDTH + _GAP_X), top)
        top += _BOX_HEIGHT + _GAP_Y
    parts = [label(0, 14, title, class_="t title")]
    parts.extend(_lane(lane, [places[task.id] for task in tasks if task.lane == lane]) for lane in lanes)
    parts.extend(_edge(places[other], places[task]) for task, others in edges.items() for other in others)
    parts.extend(_box(boxes[task], *place) for task, place in places.items())
    # A wide graph scrolls in its frame; a narrow one may shrink a little with the page.
    look = "fig wide" if width > _SHRINKS_BELOW else "fig"
    return picture(parts, width=max(width, 240.0), height=top - _GAP_Y + 12, title=title, class_=look)


def _columns(tasks: Sequence[TaskBox], ranks: Mapping[str, int], lanes: Sequence[str]) -> dict[str, float]:
    """Column of each task: iterations in order, other tasks of the row to their right, single tasks centred."""
    rows: dict[int, list[TaskBox]] = {}
    for task in tasks:
        rows.setdefault(ranks[task.id], []).append(task)
    columns: dict[str, float] = {}
    for row in rows.values():
        free = [task for task in row if not task.lane]
        first = len(lanes) if len(free) < len(row) else 0
        columns.update({task.id: float(first + number) for number, task in enumerate(free)})
        columns.update({task.id: float(lanes.index(task.lane)) for task in row if task.lane})
    widest = len(lanes) or max((len(row) for row in rows.values()), default=1)
    for row in rows.values():
        if not any(task.lane for task in row) and len(row) < widest:
            shift = (widest - len(row)) / 2
            columns.update({task.id: columns[task.id] + shift for task in row})
    return columns


def _lane(name: str, places: Sequence[tuple[float, float]]) -> Markup:
    x, y = places[0][0], min(y for _, y in places)
    bottom = max(y for _, y in places) + _BOX_HEIGHT
    area = element(
        "rect",
        x=x - _INSET,
        y=y - _LANE_HEAD,
        width=_BOX_WIDTH + 2 * _INSET,
        height=bottom - y + _LANE_HEAD + _INSET,
        rx=6,
        class_="lane",
    )
    return group([area, label(x, y - 8, shorten(name, _BOX_WIDTH), class_="t axis")])


def _edge(start: tuple[float, float], end: tuple[float, float]) -> Markup:
    x1, y1 = start[0] + _BOX_WIDTH / 2, start[1] + _BOX_HEIGHT
    x2, y2 = end[0] + _BOX_WIDTH / 2, end[1]
    bend = min((y2 - y1) / 2, 40.0)
    way = f"M {x1:.1f} {y1:.1f} C {x1:.1f} {y1 + bend:.1f} {x2:.1f} {y2 - bend:.1f} {x2:.1f} {y2:.1f}"
    return element("path", d=way, class_="edge")


def _box(task: TaskBox, x: float, y: float) -> Markup:
    return group(
        [
            element("title", f"{task.id}: {task.words}"),
            element("rect", x=x, y=y, width=_BOX_WIDTH, height=_BOX_HEIGHT, rx=4, class_=f"task {task.look}"),
            element("rect", x=x, y=y, width=4.0, height=_BOX_HEIGHT, rx=2, class_=f"flag {task.look}"),
            label(x + 14, y + 18, shorten(task.name, _BOX_WIDTH - 24), class_="t name"),
            label(x + 14, y + 34, shorten(task.words, _BOX_WIDTH - 22, 11), class_="t axis"),
        ]
    )


def timeline(tasks: Sequence[TaskBox], *, title: str = "When each task ran", width: float = 520.0) -> Markup:
    """One bar per task from start to end, in order of start.

    Args:
        tasks: The tasks; cached ones are drawn as marks.
        title: What the figure shows.
        width: Width in pixels.
    """
    ordered = sorted(tasks, key=lambda task: (task.started, task.id))
    names = [shorten(f"{task.name} · {task.lane}" if task.lane else task.name, 190) for task in ordered]
    written = [task.words for task in ordered]
    left = 10 + max((text_width(name) for name in names), default=0.0)
    right = 12 + max((text_width(text, 11) for text in written), default=0.0)
    origin = min((task.started for task in ordered), default=0.0)
    whole = max((task.started + task.seconds - origin for task in ordered), default=0.0) or 1.0
    scale = (width - left - right) / whole
    parts = [label(0, 14, title, class_="t title")]
    for row, (task, name, text) in enumerate(zip(ordered, names, written, strict=True)):
        y = 30 + row * _ROW
        x, length = left + (task.started - origin) * scale, max(task.seconds * scale, 2.0)
        parts.append(line(left, y + _ROW - 1, width - right, y + _ROW - 1, class_="grid"))
        parts.append(label(left - 10, y + 14, name, text_anchor="end"))
        parts.append(element("rect", x=x, y=y + 4.0, width=length, height=_ROW - 9, rx=2, class_=f"span {task.look}"))
        parts.append(label(x + length + 6, y + 14, text, class_="t tick"))
    return picture(parts, width=width, height=34 + _ROW * len(ordered), title=title)
