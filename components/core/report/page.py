"""One self-contained HTML page, light and dark.

It loads nothing, and runs no script but its own three lines that scroll to a section; a content security policy with
their hash forbids everything else.

A stage describes its page with the builders below and hands it to `write_page`:

    write_page(page.path, "Fine-tuning", [
        Section("Result", facts({"recall": percent(0.913), "epochs": 8})),
        Section("Learning curves", figure(line_chart(...), "Validation after each epoch.")),
        Section("Per class", table(["class", "recall"], [["boot", "98.1 %"]])),
    ])

Everything is escaped except the `Markup` that `figures.py` returns.
"""

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias

import jinja2
from markupsafe import Markup

from components.core.numbers import MISSING

Tone = Literal["", "good", "bad", "warn", "info", "soft"]

_NUMBER = re.compile(r"[−+-]?[\d.,]+(e[−+-]?\d+)?( ?(%|×|[kMG]|[kMGT]?B|m?s|min|h|px|img/s|points|°))?( \d\d s)?")
_WITHOUT_NAVIGATION = 3
"""Up to so many sections a page has no row of buttons that scroll to them."""
_IMAGE_TYPES = ("image/png", "image/jpeg", "image/webp", "image/gif", "image/bmp")
_LINK = re.compile(r"[A-Za-z0-9_-]+/[A-Za-z0-9_.-]+\.html")
_BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}")


@dataclass(frozen=True)
class Text:
    """Paragraphs."""

    paragraphs: tuple[str, ...]
    kind: ClassVar[str] = "text"


@dataclass(frozen=True)
class Callout:
    """A prominent statement: a verdict, a warning, an error."""

    title: str
    body: str = ""
    tone: Tone = "info"
    kind: ClassVar[str] = "callout"


@dataclass(frozen=True)
class Tile:
    """One large number: its name, the number, its unit, and a line below it."""

    name: str
    value: str
    unit: str = ""
    detail: str = ""
    tone: Tone = ""


@dataclass(frozen=True)
class Tiles:
    """A row of large numbers."""

    tiles: tuple[Tile, ...]
    kind: ClassVar[str] = "tiles"


@dataclass(frozen=True)
class Cell:
    """A table cell with a second, quieter line, a tone, or a link to a page in a folder beside this one."""

    text: str
    sub: str = ""
    tone: Tone = ""
    link: str = ""

    def __post_init__(self) -> None:
        if self.link and not _LINK.fullmatch(self.link):
            raise ValueError(f"a link leads to FOLDER/PAGE.html beside the page, got {self.link!r}")


@dataclass(frozen=True)
class Table:
    """Columns and rows; numeric columns are right-aligned with tabular figures."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    numeric: tuple[bool, ...]
    marked: frozenset[int] = frozenset()
    faint: frozenset[int] = frozenset()
    caption: str = ""
    kind: ClassVar[str] = "table"


@dataclass(frozen=True)
class Facts:
    """A list of names with their values."""

    rows: tuple[tuple[str, str], ...]
    kind: ClassVar[str] = "facts"


@dataclass(frozen=True)
class Figure:
    """An inline SVG (from `figures.py`) and its caption."""

    svg: Markup
    caption: str = ""
    kind: ClassVar[str] = "figure"


@dataclass(frozen=True)
class Image:
    """One embedded picture of a grid; `wrong` outlines it."""

    title: str
    base64: str
    media_type: str
    lines: tuple[str, ...] = ()
    wrong: bool = False

    def __post_init__(self) -> None:
        if self.media_type not in _IMAGE_TYPES:
            raise ValueError(f"media type {self.media_type!r} cannot be shown; known: {', '.join(_IMAGE_TYPES)}")
        if not _BASE64.fullmatch(self.base64):
            raise ValueError(f"image {self.title!r} is not base64")


@dataclass(frozen=True)
class Images:
    """A grid of pictures: as many per row as fit (`per_row` 0), or 4, for pictures that belong together."""

    images: tuple[Image, ...]
    caption: str = ""
    per_row: Literal[0, 4] = 0
    kind: ClassVar[str] = "images"


@dataclass(frozen=True)
class Log:
    """Preformatted text, such as the end of a log."""

    text: str
    kind: ClassVar[str] = "log"


@dataclass(frozen=True)
class Columns:
    """Blocks side by side on a wide page, stacked on a narrow one."""

    blocks: tuple["Block", ...]
    kind: ClassVar[str] = "columns"


@dataclass(frozen=True)
class Details:
    """Blocks that fold behind a summary line; `unfolded` opens them initially."""

    summary: str
    blocks: tuple["Block", ...]
    unfolded: bool = False
    kind: ClassVar[str] = "details"


Block: TypeAlias = Text | Callout | Tiles | Table | Facts | Figure | Images | Log | Columns | Details


@dataclass(frozen=True)
class Section:
    """A heading with its blocks; `note` says in one line how the content was obtained."""

    title: str
    body: Block | Sequence[Block]
    note: str = ""
    blocks: tuple[Block, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "blocks", tuple(self.body) if isinstance(self.body, Sequence) else (self.body,))


def text(content: str) -> Text:
    """Paragraphs, separated by empty lines in `content`."""
    return Text(tuple(part.strip() for part in content.split("\n\n") if part.strip()))


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    marked: Sequence[int] = (),
    faint: Sequence[int] = (),
    caption: str = "",
) -> Table:
    """A table; None is shown as a dash, floats with four significant digits (format them with `numbers` for units).

    Args:
        columns: Headings.
        rows: One sequence per row, as long as `columns`; values are str, int, float, bool, None or `Cell`.
        marked: Indices of rows to highlight (the chosen one).
        faint: Indices of rows to dim (rejected ones).
        caption: One line below the table.

    Raises:
        ValueError: A row does not have as many values as `columns`.
    """
    for number, row in enumerate(rows):
        if len(row) != len(columns):
            raise ValueError(f"row {number} has {len(row)} values for {len(columns)} columns")
    written = tuple(tuple(_written(value) for value in row) for row in rows)
    numeric = tuple(bool(written) and all(_is_number(row[index]) for row in written) for index in range(len(columns)))
    return Table(tuple(columns), written, numeric, frozenset(marked), frozenset(faint), caption)


def _written(value: Any) -> str | Cell:
    if isinstance(value, Cell):
        return value
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}".replace("-", "−")
    if isinstance(value, float):
        return f"{value:.4g}".replace("-", "−")
    return str(value)


def _is_number(value: str | Cell) -> bool:
    written = value.text if isinstance(value, Cell) else value
    return written in (MISSING, "") or bool(_NUMBER.fullmatch(written))


def facts(rows: Mapping[str, Any]) -> Facts:
    """A list of names with their values; None is shown as a dash."""
    shown = ((name, _written(value)) for name, value in rows.items())
    return Facts(tuple((name, value.text if isinstance(value, Cell) else value) for name, value in shown))


def figure(svg: Markup, caption: str = "") -> Figure:
    """An inline SVG from `figures.py`.

    Raises:
        TypeError: `svg` is a plain string, which could contain a script; only `Markup` is inserted unescaped.
    """
    if not isinstance(svg, Markup):
        raise TypeError(f"a figure is Markup from components.core.report.figures, got {type(svg).__name__}")
    return Figure(svg, caption)


def sample_grid(samples: Sequence[Mapping[str, Any]], *, caption: str = "") -> Images:
    """Images with their true class, and each model's prediction where it was wrong.

    Args:
        samples: `{"image_base64", "media_type", "label", "candidate"?, "baseline"?}` with class names, as in
            evaluation.json; an image that the candidate got wrong is outlined.
        caption: One line below the grid.
    """
    images = []
    for sample in samples:
        label = str(sample.get("label", ""))
        predictions = [(who, str(sample[who])) for who in ("candidate", "baseline") if sample.get(who) is not None]
        wrong = [(who, name) for who, name in predictions if name != label]
        images.append(
            Image(
                title=label,
                base64=str(sample["image_base64"]),
                media_type=str(sample.get("media_type", "image/png")),
                lines=tuple(f"{who}: {name}" for who, name in wrong),
                wrong=any(who == "candidate" for who, _ in wrong),
            )
        )
    return Images(tuple(images), caption)


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
    )
    return environment.get_template("page.html.jinja")


@cache
def _css() -> Markup:
    return Markup(Path(__file__).with_name("page.css").read_text(encoding="utf-8"))


@cache
def _script() -> tuple[Markup, str]:
    """The script that scrolls to a section, and its SHA-256 as a content security policy writes it."""
    content = Path(__file__).with_name("page.js").read_text(encoding="utf-8")
    return Markup(content), base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def render_page(title: str, sections: Sequence[Section], *, eyebrow: str = "", lead: str = "", footer: str = "") -> str:
    """The page as text; see `write_page`."""
    script, digest = _script() if len(sections) > _WITHOUT_NAVIGATION else ("", "")
    return _template().render(
        title=title, sections=sections, eyebrow=eyebrow, lead=lead, footer=footer, css=_css(),
        script=script, script_hash=digest,
    )  # fmt: skip


def write_page(
    path: str | Path,
    title: str,
    sections: Sequence[Section],
    *,
    eyebrow: str = "",
    lead: str = "",
    footer: str = "",
    data: str = "",
) -> None:
    """Write one self-contained HTML page; creates the folder of `path`, which KFP does not always do.

    Args:
        path: The file, for a KFP output `page.path`.
        title: The heading.
        sections: In reading order; more than three add a row of buttons below the heading that scroll to them.
        eyebrow: A small line above the heading (run, stage).
        lead: One sentence below the heading that states the result.
        footer: A small line at the end.
        data: What must be said of the rows whose figures are shown (`Dataset.description`); follows the lead.
    """
    said = f"{lead} Data: {data}.".strip() if data else lead
    save_html(path, render_page(title, sections, eyebrow=eyebrow, lead=said, footer=footer))


def save_html(path: str | Path, html: str) -> None:
    """Write a rendered page; invalid Unicode, for example in file names, becomes `?`."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(html, encoding="utf-8", errors="replace")
