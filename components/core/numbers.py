"""Format quantities for pages and tables: one format per unit, with a typographic minus."""

import math

MISSING = "–"
"""Shown where a value was not measured; never a zero."""


def _signed(text: str) -> str:
    return text.replace("-", "−")


def _difference(value: float, digits: int) -> str:
    # "−0.0" beside "+0.0" would look like a change of sign.
    text = f"{value:+.{digits}f}"
    return _signed(text) if float(text) else text[1:]


def _percent(fraction: float, digits: int) -> str:
    return _signed(f"{100 * fraction:.{digits}f} %")


def percent(fraction: float | None, *, digits: int = 2) -> str:
    """A fraction in 0..1 as percent, `0.9132` → `91.32 %`."""
    return MISSING if fraction is None else _percent(fraction, digits)


def interval(low: float | None, high: float | None, *, digits: int = 1) -> str:
    """A confidence interval of fractions in percent, `90.1 – 92.4 %`."""
    if low is None or high is None:
        return MISSING
    return _signed(f"{100 * low:.{digits}f}") + " – " + percent(high, digits=digits)


def capitalized(label: str) -> str:
    """Capitalise a label's first letter for the start of a sentence; labels such as mIoU and chrF stay as they are."""
    first = label.partition(" ")[0]
    return label if first != first.lower() else label[:1].upper() + label[1:]


def figure_of_merit(value: float | None, *, percent: bool, digits: int = 2) -> str:
    """A metric's value: `91.62 %` for a fraction, else the number, `31.40`."""
    if value is None:
        return MISSING
    return _percent(value, digits) if percent else _signed(f"{value:.{digits}f}")


def merit_interval(low: float | None, high: float | None, *, percent: bool, digits: int = 1) -> str:
    """The interval of a metric, `90.1 – 92.4 %` or `30.9 – 31.8`."""
    if low is None or high is None:
        return MISSING
    if percent:
        return interval(low, high, digits=digits)
    return _signed(f"{low:.{digits}f} – {high:.{digits}f}")


def spread(low: float | None, high: float | None, *, digits: int = 2) -> str:
    """The interval of a difference, both ends signed as `points` are, `−1.20 to +0.35`; empty where there is none."""
    return "" if low is None or high is None else f"{_difference(low, digits)} to {_difference(high, digits)}"


def points(value: float | None, *, digits: int = 2) -> str:
    """A difference in percentage points, signed unless it is written as zero, `−0.85 points`."""
    return MISSING if value is None else f"{_difference(value, digits)} points"


def megabytes(size_bytes: float | None) -> str:
    """Bytes as MB (10⁶ bytes), `3.41 MB`."""
    return MISSING if size_bytes is None else f"{size_bytes / 1e6:,.2f} MB"


def milliseconds(value: float | None) -> str:
    """Milliseconds with three significant digits, `2.31 ms`."""
    if value is None:
        return MISSING
    return f"{value:.2f} ms" if value < 10 else f"{value:,.1f} ms"


def duration(seconds: float | None) -> str:
    """A span of time for people: `0.4 s`, `12 s`, `3 min 05 s`, `2 h 07 min`."""
    if seconds is None:
        return MISSING
    if seconds < 9.95:
        return f"{max(seconds, 0.0):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def count(value: float | None) -> str:
    """A count with thousands separated, `4,000`."""
    return MISSING if value is None else _signed(f"{value:,.0f}")


def compact(value: float | None) -> str:
    """A large count in k, M or G with three significant digits, `384 M`."""
    if value is None:
        return MISSING
    for factor, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor:
            scaled = value / factor
            digits = 2 if abs(scaled) < 10 else 1 if abs(scaled) < 100 else 0
            return _signed(f"{scaled:.{digits}f} {unit}")
    return _signed(f"{value:.0f}")


def cost(value: float | None) -> str:
    """An amount of money without its currency: three significant digits, `0.0123`, or whole ones, `1,234`."""
    if value is None:
        return MISSING
    digits = max(0, 2 - math.floor(math.log10(value))) if value > 0 else 0
    return f"{value:,.{digits}f}"


def times(ratio: float | None) -> str:
    """A ratio, `1.97×`."""
    return MISSING if ratio is None else f"{ratio:.2f}×"
