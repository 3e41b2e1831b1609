"""The figures of stage pages and of the run report: pure functions from data to inline SVG; equal data, equal bytes.

Drawn by hand rather than with matplotlib: a fully cached pipeline has three seconds in all and importing matplotlib
takes one; and text, colours and dark mode follow the page (see `page.css`). Every function returns `Markup` in which
user input (class names, file names) is escaped.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

from components.core.report.plot import HEIGHT, WIDTH, frame, place_labels, spread
from components.core.report.svg import (
    FONT_SIZE,
    SERIES_COLOURS,
    Scale,
    element,
    group,
    label,
    line,
    picture,
    shorten,
    text_width,
)


def line_chart(
    series: Mapping[str, Sequence[tuple[float, float]]],
    *,
    title: str,
    x: str,
    y: str,
    percent: bool = False,
    highlight: Mapping[str, float | None] | None = None,
) -> Markup:
    """Lines with their names at the right end.

    Args:
        series: Points (x, y) of each named line; points that are not finite are left out.
        title: What the figure shows.
        x: Name and unit of the x axis.
        y: Name and unit of the y axis.
        percent: The y values are fractions and shown in percent.
        highlight: Per series, the x of a point to ring (the best epoch).
    """
    clean = {
        name: [(float(a), float(b)) for a, b in points if math.isfinite(a) and math.isfinite(b)]
        for name, points in series.items()
    }
    clean = {name: points for name, points in clean.items() if points}
    if not clean:
        return _nothing(title)
    names = {name: shorten(name, 120) for name in clean}
    xs = [a for points in clean.values() for a, _ in points]
    ys = [b for points in clean.values() for _, b in points]
    right = 16 + 1.1 * max(text_width(text) for text in names.values())  # set in bold
    plot = frame(xs, ys, title=title, x=x, y=y, percent_y=percent, right=right, tight_x=True)
    parts = plot.parts
    ends = spread([plot.y(points[-1][1]) for points in clean.values()], FONT_SIZE + 2)
    for number, ((name, points), end) in enumerate(zip(clean.items(), ends, strict=True)):
        colour = SERIES_COLOURS[number % len(SERIES_COLOURS)]
        pixels = [(plot.x(a), plot.y(b)) for a, b in points]
        path = " ".join(f"{a:.2f},{b:.2f}" for a, b in pixels)
        dash = "5 4" if number >= len(SERIES_COLOURS) else None
        parts.append(element("polyline", points=path, class_="line", stroke=colour, stroke_dasharray=dash))
        if len(pixels) <= 30:
            parts.extend(element("circle", cx=a, cy=b, r=2.5, fill=colour) for a, b in pixels)
        ringed = (highlight or {}).get(name)
        parts.extend(
            element("circle", cx=plot.x(a), cy=plot.y(b), r=6.0, class_="ring", stroke=colour)
            for a, b in points
            if a == ringed
        )
        parts.append(label(plot.width - right + 10, end + 4, names[name], class_="t name", style=f"fill:{colour}"))
    return picture(parts, width=WIDTH, height=HEIGHT, title=title)


_ROW = 24.0


@dataclass(frozen=True, kw_only=True)
class Point:
    """One model in a scatter: smaller x and larger y are better."""

    name: str
    x: float
    y: float
    kind: Literal["candidate", "chosen", "baseline"] = "candidate"
    on_front: bool = False
    error: float = 0.0
    """Half the length of a vertical whisker, in units of y: one standard error."""
    detail: str = ""
    """Shown when the pointer rests on the point."""
    radius: float = 5.0
    """Of the dot, pixels; a third quantity may be its area."""


def _staircase(points: Sequence[Point]) -> list[tuple[float, float]]:
    """Corners of the two-dimensional front: x ascending, y ascending, dominated points left out."""
    corners: list[tuple[float, float]] = []
    for point in sorted(points, key=lambda point: (point.x, -point.y)):
        if not corners or point.y > corners[-1][1]:
            if corners:
                corners.append((point.x, corners[-1][1]))
            corners.append((point.x, point.y))
    return corners


def scatter(
    points: Sequence[Point],
    *,
    title: str,
    x: str,
    y: str,
    percent: bool = False,
    x_limit: float | None = None,
    y_limit: float | None = None,
    limit_name: str = "budget",
) -> Markup:
    """Models by cost and quality, with the staircase of the front and the budget.

    Among many points, names that do not fit are left out; hovering over a point shows its name.

    Args:
        points: The models; smaller x and larger y are better.
        title: What the figure shows.
        x: Name and unit of the x axis.
        y: Name and unit of the y axis.
        percent: The y values are fractions and shown in percent.
        x_limit: Largest x allowed; None = no limit.
        y_limit: Smallest y allowed, in units of y; None = no limit.
        limit_name: Label of the allowed area.
    """
    points = [point for point in points if math.isfinite(point.x) and math.isfinite(point.y)]
    if not points:
        return _nothing(title)
    xs = [point.x for point in points] + ([x_limit] if x_limit is not None else [])
    ys = [bound for point in points for bound in (point.y - point.error, point.y + point.error)]
    ys += [y_limit] if y_limit is not None else []
    margin_x, margin_y = 0.06 * (max(xs) - min(xs)), 0.10 * (max(ys) - min(ys))
    xs, ys = [*xs, max(min(xs) - margin_x, 0.0), max(xs) + margin_x], [*ys, min(ys) - margin_y, max(ys) + margin_y]
    if percent:
        ys = [min(value, 1.0) for value in ys]
    plot = frame(xs, ys, title=title, x=x, y=y, percent_y=percent, right=16.0)
    left, right, top, bottom = plot.x.start, plot.x.end, plot.y.end, plot.y.start
    parts = plot.parts
    if x_limit is not None or y_limit is not None:
        edge_x = right if x_limit is None else plot.x(x_limit)
        edge_y = bottom if y_limit is None else plot.y(y_limit)
        area = element("rect", x=left, y=top, width=edge_x - left, height=edge_y - top, class_="allowed")
        parts.append(area)
        if x_limit is not None:
            parts.append(line(edge_x, top, edge_x, bottom, class_="limit"))
        if y_limit is not None:
            parts.append(line(left, edge_y, right, edge_y, class_="limit"))
        parts.append(label(left + 6, top + 14, "within the " + limit_name, class_="t limit-name"))
    corners = _staircase([point for point in points if point.on_front])
    if len(corners) > 1:
        path = " ".join(f"{plot.x(a):.2f},{plot.y(b):.2f}" for a, b in corners)
        parts.append(element("polyline", points=path, class_="front"))
    pixels = [(plot.x(point.x), plot.y(point.y)) for point in points]
    names = [shorten(point.name, 150) for point in points]
    stairs = [(plot.x(a), plot.y(b)) for a, b in corners]
    needed = [point.kind != "candidate" for point in points]
    bounds = (left, top - 8, right + 12, bottom)
    placed = place_labels(pixels, names, bounds, needed=needed, lines=stairs, radii=[point.radius for point in points])
    for point, (px, py), name, spot in zip(points, pixels, names, placed, strict=True):
        if point.error:
            reach = abs(plot.y(point.y + point.error) - py)
            parts.append(line(px, py - reach, px, py + reach, class_="error"))
        parts.append(_mark(point, px, py))
        if spot is not None:
            look = "t halo" if point.kind == "candidate" else "t name halo"
            parts.append(label(spot[0], spot[1], name, class_=look, text_anchor=spot[2]))
    return picture(parts, width=WIDTH, height=HEIGHT, title=title)


def _mark(point: Point, x: float, y: float) -> Markup:
    hint = element("title", point.detail or point.name)
    if point.kind == "baseline":
        corners = f"{x:.2f},{y - 6:.2f} {x + 6:.2f},{y:.2f} {x:.2f},{y + 6:.2f} {x - 6:.2f},{y:.2f}"
        return group([hint, element("polygon", points=corners, class_="dot-baseline")])
    if point.kind == "chosen":
        ring = element("circle", cx=x, cy=y, r=point.radius + 4, class_="ring", stroke="var(--c1)")
        return group([hint, ring, element("circle", cx=x, cy=y, r=point.radius, class_="dot-front")])
    look = "dot-front" if point.on_front else "dot"
    return group([hint, element("circle", cx=x, cy=y, r=point.radius, class_=look)])


def bars(
    values: Mapping[str, float],
    *,
    title: str,
    unit: str = "",
    percent: bool = False,
    highlight: Sequence[str] = (),
    intervals: Mapping[str, tuple[float, float]] | None = None,
    digits: int = 1,
) -> Markup:
    """Horizontal bars from zero, one per row, with the value at the end.

    Args:
        values: A finite value ≥ 0 for each name.
        title: What the figure shows.
        unit: Written after each value.
        percent: Values are fractions and shown in percent.
        highlight: Names of the bars to emphasise (the chosen one); empty draws all alike.
        intervals: Confidence interval (low, high) of a value, drawn as a whisker.
        digits: Decimals of the values.
    """
    values = {name: float(value) for name, value in values.items() if math.isfinite(value)}
    if not values:
        return _nothing(title)
    suffix = " %" if percent else f" {unit}" if unit else ""
    written = {
        name: f"{value * (100 if percent else 1):,.{digits}f}{suffix}".replace("-", "−")
        for name, value in values.items()
    }
    names = {name: shorten(name, 180) for name in values}
    left = 10 + max(text_width(text) for text in names.values())
    right = 14 + max(text_width(text) for text in written.values())
    largest = max([*values.values(), *(high for _, high in (intervals or {}).values())])
    scale = Scale(low=0.0, high=largest if largest > 0 else 1.0, start=left, end=WIDTH - right)
    parts = [label(0, 14, title, class_="t title")]
    for row, (name, value) in enumerate(values.items()):
        y = 30 + row * _ROW
        faint = bool(highlight) and name not in highlight
        parts.append(label(left - 10, y + 15, names[name], text_anchor="end"))
        bar = element("rect", x=left, y=y + 3.0, height=_ROW - 7, rx=2, class_="bar faint" if faint else "bar",
                      width=max(scale(max(value, 0.0)) - left, 1.0))  # fmt: skip
        parts.append(bar)
        end = scale(max(value, 0.0))
        if intervals and name in intervals:
            low, high = (scale(bound) for bound in intervals[name])
            middle = y + 3 + (_ROW - 7) / 2
            parts.append(line(low, middle, high, middle, class_="whisker"))
            end = max(end, high)
        parts.append(label(end + 8, y + 15, written[name], class_="t value"))
    return picture(parts, width=WIDTH, height=36 + _ROW * len(values), title=title)


def confusion_matrix(
    matrix: Sequence[Sequence[float]], labels: Sequence[str], *, title: str = "Confusion matrix", largest: int = 24
) -> Markup:
    """Counts of (true class, predicted class), shaded by the share of the row: blue where right, orange where wrong.

    Args:
        matrix: Counts, `matrix[true][predicted]`, square.
        labels: Class names in that order.
        title: What the figure shows.
        largest: Maximum number of classes; beyond it only those with the most confusions are drawn, with a note.
    """
    if len(matrix) != len(labels) or any(len(row) != len(labels) for row in matrix):
        raise ValueError(f"confusion matrix of {len(matrix)} rows for {len(labels)} labels; it must be square")
    if not labels:
        return _nothing(title)
    kept = list(range(len(labels)))
    if len(labels) > largest:

        def errors(index: int) -> float:
            return sum(matrix[index]) + sum(row[index] for row in matrix) - 2 * matrix[index][index]

        kept = sorted(sorted(kept, key=errors, reverse=True)[:largest])
        title = f"{title}: the {largest} of {len(labels)} classes with the most confusions"
    names = [shorten(labels[index], 110) for index in kept]
    left = 34 + max(text_width(name) for name in names)
    cell = min(38.0, max(18.0, (WIDTH - left) / len(kept)))
    top = 50 + 0.72 * max(text_width(name) for name in names)
    size = cell * len(kept)
    # Column names are slanted to the right, so the last one needs room beyond its column.
    width = max(left + size + 0.72 * text_width(names[-1]), text_width(title, 14))
    parts = [
        label(0, 14, title, class_="t title"),
        label(left, 36, "predicted →", class_="t axis"),
        label(12, top + size / 2, "true →", class_="t axis", text_anchor="middle",
              transform=f"rotate(-90 12 {top + size / 2:.2f})"),
    ]  # fmt: skip
    for row, true in enumerate(kept):
        total = sum(matrix[true])
        y = top + row * cell
        parts.append(label(left - 8, y + cell / 2 + 4, names[row], text_anchor="end"))
        x_name, y_name = left + row * cell + cell / 2, top - 8
        turn = f"rotate(-45 {x_name:.2f} {y_name:.2f})"
        parts.append(label(x_name, y_name, names[row], transform=turn))
        for column, predicted in enumerate(kept):
            number = matrix[true][predicted]
            hint = f"{labels[true]} seen as {labels[predicted]}: {number:,.0f} of {total:,.0f}"
            parts.append(_cell(left + column * cell, y, cell, number, total, right=true == predicted, hint=hint))
    return picture(parts, width=width, height=top + size + 6, title=title)


def _cell(x: float, y: float, size: float, number: float, total: float, *, right: bool, hint: str) -> Markup:
    share = number / total if total else 0.0
    # The root keeps rare confusions visible, such as one image in fifty.
    shade = math.sqrt(share) * 0.9
    parts = [
        element("title", hint),
        element("rect", x=x, y=y, width=size - 1.5, height=size - 1.5, rx=2, class_="cell",
                fill="var(--c1)" if right else "var(--c2)", fill_opacity=max(shade, 0.04)),
    ]  # fmt: skip
    written = f"{number:.0f}"
    if number and text_width(written, 10.5) < size - 2:
        tone = "t count strong" if shade > 0.6 else "t count"
        parts.append(label(x + size / 2 - 0.75, y + size / 2 + 3.5, written, class_=tone, text_anchor="middle"))
    return group(parts)


def _nothing(title: str) -> Markup:
    parts = [label(0, 14, title, class_="t title"), label(0, 40, "no data", class_="t axis")]
    return picture(parts, width=WIDTH, height=52, title=title)
