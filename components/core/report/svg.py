"""Building blocks of figures: escaped elements, scales, ticks, text widths.

Figures define no colours. They use the classes and CSS variables of `page.css`, so that the same figure
reads well on light paper, on a dark screen and in print.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from markupsafe import Markup, escape

FONT_SIZE = 12.0
SERIES_COLOURS = tuple(f"var(--c{number})" for number in range(1, 8))


def element(name: str, content: str | Markup | None = None, **attributes: object) -> Markup:
    """One SVG element; content and attribute values are escaped unless they are `Markup` already.

    `class_` becomes `class`, `stroke_width` becomes `stroke-width`; floats keep two decimals, so that equal data give
    equal bytes; an attribute that is None is left out.
    """
    written = Markup("").join(
        Markup(' {}="{}"').format(
            key.rstrip("_").replace("_", "-"), f"{value:.2f}" if isinstance(value, float) else value
        )
        for key, value in attributes.items()
        if value is not None
    )
    if content is None:
        return Markup("<{}{}/>").format(name, written)
    return Markup("<{}{}>{}</{}>").format(name, written, escape(content), name)


def group(parts: Iterable[Markup], **attributes: object) -> Markup:
    """Wrap the parts in one `<g>`."""
    return element("g", Markup("").join(parts), **attributes)


def label(x: float, y: float, content: str, *, class_: str = "t", **attributes: object) -> Markup:
    """Text with its baseline at (x, y)."""
    return element("text", content, x=float(x), y=float(y), class_=class_, **attributes)


def line(x1: float, y1: float, x2: float, y2: float, *, class_: str) -> Markup:
    """A straight line."""
    return element("line", x1=float(x1), y1=float(y1), x2=float(x2), y2=float(y2), class_=class_)


def picture(parts: Iterable[Markup], *, width: float, height: float, title: str, class_: str = "fig") -> Markup:
    """The whole `<svg>`; it shrinks with its column, and its title is its accessible name."""
    inner = element("title", title) + Markup("").join(parts)
    return element(
        "svg",
        inner,
        class_=class_,
        viewBox=f"0 0 {width:.0f} {height:.0f}",
        width=f"{width:.0f}",
        height=f"{height:.0f}",
        role="img",
        aria_label=title,
    )


def text_width(content: str, size: float = FONT_SIZE) -> float:
    """Estimated upper bound of the width of `content` in pixels, for a wide sans-serif font (DejaVu Sans)."""
    narrow = sum(character in "iljtfrI.,:;'|!()[] " for character in content)
    wide = sum(character in "mwMW@%" for character in content)
    return size * (0.64 * (len(content) - narrow - wide) + 0.37 * narrow + 0.96 * wide)


def shorten(content: str, width: float, size: float = FONT_SIZE) -> str:
    """`content`, cut with an ellipsis so that it fits `width` pixels."""
    if text_width(content, size) <= width:
        return content
    while len(content) > 1 and text_width(content + "…", size) > width:
        content = content[:-1]
    return content.rstrip(" -_") + "…"


@dataclass(frozen=True, kw_only=True)
class Scale:
    """A linear map from data to pixels."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def ticks(low: float, high: float, *, wanted: int = 5) -> list[float]:
    """Round numbers (1, 2, 2.5 or 5 times a power of ten) that cover [low, high] in at most `wanted` equal steps."""
    if high - low <= 1e-9 * max(abs(low), abs(high), 1.0):  # flat: room on both sides
        margin = 0.1 * abs(low) if abs(low) > 1e-6 else 1.0
        low, high = low - margin, high + margin
    power = 10.0 ** math.floor(math.log10((high - low) / max(wanted, 1)))
    for factor in (1, 2, 2.5, 5, 10, 20, 25, 50):
        step = factor * power
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        if last - first <= max(wanted, 2):
            break
    return [round(number * step, 12) for number in range(first, last + 1)]


def tick_labels(values: list[float], *, as_percent: bool = False) -> list[str]:
    """Format ticks with as many decimals as their step needs."""
    factor = 100 if as_percent else 1
    step = factor * (values[1] - values[0]) if len(values) > 1 else 1.0
    if step >= 1e6:
        return [f"{value * factor / 1e6:,.6g} M".replace("-", "−") for value in values]
    if step < 1e-4:
        return [f"{value * factor:.12g}".replace("-", "−") for value in values]
    decimals = next((digits for digits in range(6) if abs(step * 10**digits - round(step * 10**digits)) < 1e-6), 6)
    return [f"{value * factor:,.{decimals}f}".replace("-", "−") for value in values]
