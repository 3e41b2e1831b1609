"""The frame of an x-y figure, and label placement without overlaps."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from components.core.report.svg import Scale, label, line, text_width, tick_labels, ticks

WIDTH = 520.0
HEIGHT = 300.0
_TOP, _BOTTOM = 52.0, 44.0


@dataclass(frozen=True, kw_only=True)
class Plot:
    """The frame of an x-y figure: scales, grid, tick labels and axis names."""

    x: Scale
    y: Scale
    parts: list[Markup]
    width: float


def frame(
    xs: Sequence[float],
    ys: Sequence[float],
    *,
    title: str,
    x: str,
    y: str,
    percent_y: bool,
    right: float,
    tight_x: bool = False,
    width: float = WIDTH,
) -> Plot:
    """The frame around the data; `right` reserves room for names, `tight_x` ends the x axis with the data."""
    x_ticks = ticks(min(xs), max(xs), wanted=6)
    x_low, x_high = x_ticks[0], x_ticks[-1]
    if tight_x and max(xs) > min(xs):
        x_low, x_high = min(xs), max(xs)
        x_ticks = [value for value in x_ticks if x_low <= value <= x_high]
    if all(value == round(value) for value in xs):  # epochs and steps: no half ones
        x_ticks = sorted({float(round(value)) for value in x_ticks})
    y_ticks = ticks(min(ys), max(ys))
    y_labels = tick_labels(y_ticks, as_percent=percent_y)
    left = 12.0 + max(text_width(text, 11) for text in y_labels)
    x_scale = Scale(low=x_low, high=x_high, start=left, end=width - right)
    y_scale = Scale(low=y_ticks[0], high=y_ticks[-1], start=HEIGHT - _BOTTOM, end=_TOP)
    parts = [
        label(0, 14, title, class_="t title"),
        label(0, 36, y + (" (%)" if percent_y else ""), class_="t axis"),
        label((x_scale.start + x_scale.end) / 2, HEIGHT - 6, x, class_="t axis", text_anchor="middle"),
    ]
    for value, text in zip(y_ticks, y_labels, strict=True):
        parts.append(line(left, y_scale(value), width - right, y_scale(value), class_="grid"))
        parts.append(label(left - 8, y_scale(value) + 4, text, class_="t tick", text_anchor="end"))
    for value, text in zip(x_ticks, tick_labels(x_ticks), strict=True):
        parts.append(label(x_scale(value), HEIGHT - _BOTTOM + 18, text, class_="t tick", text_anchor="middle"))
    return Plot(x=x_scale, y=y_scale, parts=parts, width=width)


def spread(positions: Sequence[float], gap: float) -> list[float]:
    """Move positions apart until neighbours keep `gap` pixels; their mean stays."""
    order = sorted(range(len(positions)), key=lambda index: positions[index])
    placed = list(positions)
    for earlier, later in itertools.pairwise(order):
        placed[later] = max(placed[later], placed[earlier] + gap)
    shift = sum(placed[index] - positions[index] for index in order) / max(len(order), 1)
    return [value - shift for value in placed]


def place_labels(
    pixels: Sequence[tuple[float, float]],
    names: Sequence[str],
    bounds: tuple[float, float, float, float],
    *,
    needed: Sequence[bool],
    lines: Sequence[tuple[float, float]] = (),
    radii: Sequence[float] = (),
) -> list[tuple[float, float, str] | None]:
    """Place a name at each point as (x, y, anchor), so that names overlap neither each other nor the points.

    Required names are placed first, on the side with the least overlap. Of the others, names without a free side are
    left out (None). `lines` are the corners of a staircase that names should not cover either; `radii` those of the
    points, 5 if not given.
    """
    beyond = [radius - 5 for radius in radii] or [0.0] * len(pixels)
    taken = [(x - 7 - r, y - 7 - r, x + 7 + r, y + 7 + r) for (x, y), r in zip(pixels, beyond, strict=True)]
    taken += [
        (min(x1, x2) - 1, min(y1, y2) - 1, max(x1, x2) + 1, max(y1, y2) + 1)
        for (x1, y1), (x2, y2) in itertools.pairwise(lines)
    ]
    placed: list[tuple[float, float, str] | None] = [None] * len(pixels)
    for index in sorted(range(len(pixels)), key=lambda index: not needed[index]):
        width = 1.1 * text_width(names[index])  # may be set in bold
        costs = [(_hidden(_box(spot, width), taken, bounds), spot) for spot in _spots(*pixels[index], beyond[index])]
        cost, best = min(costs, key=lambda pair: pair[0])
        if cost == 0 or needed[index]:
            taken.append(_box(best, width))
            placed[index] = best
    return placed


def _spots(x: float, y: float, r: float) -> list[tuple[float, float, str]]:
    sides = [
        (x + 12 + r, y + 4, "start"),
        (x - 12 - r, y + 4, "end"),
        (x, y - 13 - r, "middle"),
        (x, y + 22 + r, "middle"),
    ]
    corners = [(x + 10 + r, y - 10 - r, "start"), (x + 10 + r, y + 18 + r, "start"), (x - 10 - r, y - 10 - r, "end"),
               (x - 10 - r, y + 18 + r, "end")]  # fmt: skip
    return sides + corners


def _box(spot: tuple[float, float, str], width: float) -> tuple[float, float, float, float]:
    left = spot[0] - {"start": 0.0, "middle": width / 2, "end": width}[spot[2]]
    return (left, spot[1] - 11, left + width, spot[1] + 3)


def _hidden(
    area: tuple[float, float, float, float],
    taken: Sequence[tuple[float, float, float, float]],
    bounds: tuple[float, float, float, float],
) -> int:
    outside = area[0] < bounds[0] or area[1] < bounds[1] or area[2] > bounds[2] or area[3] > bounds[3]
    return sum(_overlaps(area, other) for other in taken) + 3 * outside


def _overlaps(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
