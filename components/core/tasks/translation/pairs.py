"""Sentence pairs as they come in: from Moses' two files, TSV, and the tables that every task reads.

A pair always travels as one thing. A row that cannot be read is a pair with a `problem`, so that it is counted and no
later row moves. `tmx.py` and `gettext_catalogs.py` read the other kinds.
"""

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any, BinaryIO

from components.core.data.ingestion.columns import Columns
from components.core.data.ingestion.items import Rejection
from components.core.data.ingestion.splits import cell_split
from components.core.data.ingestion.tables import found_columns, table_rows
from components.core.data.slices import slice_value
from components.core.errors import UserError
from components.core.tasks.translation.languages import code_of, codes_of

SOURCE_COLUMNS = ("source", "src", "source_text", "source_sentence", "sentence", "text", "original", "msgid")
TARGET_COLUMNS = (
    "target", "tgt", "translation", "trg", "target_text", "target_sentence", "reference", "translated", "msgstr",
)  # fmt: skip
MAX_LINE_BYTES = 1_000_000

UNREADABLE = {
    "not UTF-8": "the line is not valid UTF-8",
    "damaged row": "the row of the table cannot be read",
}


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A sentence and its translation, each None where there is none.

    Attributes:
        name: where it stands, for people and unique in its file: "line 17", "entry 4 (plural)".
        source, target: texts as they stand in the file.
        problem: why it cannot be used, when reading already shows it.
        group, split, slices: as an `ingestion.items.Item` has them, from further columns of a table.
    """

    name: str
    source: str | None = None
    target: str | None = None
    problem: Rejection | None = None
    group: str | None = None
    split: str | None = None
    slices: tuple[str | None, ...] = ()


def moses_pairs(source: Path, target: Path) -> Iterator[Pair]:
    """Lines of two files, the n-th with the n-th. Only a line feed ends a line: U+2028 or NEL would shift the rest.

    Raises:
        UserError: a file cannot be read, or one has more lines: names both counts, before the first pair.
    """
    counts = [_line_count(path) for path in (source, target)]
    if counts[0] != counts[1]:
        raise UserError(
            f"{source.name} has {counts[0]} lines and {target.name} has {counts[1]}; the two files must have the "
            "same number of lines"
        )
    return _moses_lines(source, target)


def _moses_lines(source: Path, target: Path) -> Iterator[Pair]:
    with ExitStack() as opened:
        files = [opened.enter_context(path.open("rb")) for path in (source, target)]
        for number, lines in enumerate(zip_longest(*map(_lines, files)), 1):
            yield _pair_of_bytes(f"line {number}", [line or b"" for line in lines], (source.name, target.name))


def _line_count(path: Path) -> int:
    """Lines of a file; the last one need not end."""
    try:
        with path.open("rb") as file:
            start = file.read(2)
            if start in (b"\xff\xfe", b"\xfe\xff"):
                raise UserError(f"{path.name} is UTF-16; save it as UTF-8")
            file.seek(0)
            return sum(1 for _ in _lines(file))
    except OSError as error:
        raise UserError(f"cannot read {path.name}: {(error.strerror or type(error).__name__).lower()}") from error


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Lines without their ends and without a byte-order mark; of a monstrous line the first `MAX_LINE_BYTES`."""
    first = True
    while line := file.readline(MAX_LINE_BYTES):
        rest = line
        while len(rest) == MAX_LINE_BYTES and not rest.endswith(b"\n"):
            rest = file.readline(MAX_LINE_BYTES)
        line = line.removesuffix(b"\n").removesuffix(b"\r")
        yield line.removeprefix(b"\xef\xbb\xbf") if first else line
        first = False


def _pair_of_bytes(name: str, cells: Sequence[bytes], sides: Sequence[str]) -> Pair:
    texts = []
    for cell, side in zip(cells, sides, strict=True):
        try:
            texts.append(cell.decode("utf-8"))
        except UnicodeDecodeError as error:
            problem = Rejection("not UTF-8", f"byte {error.start + 1} of {side}")
            return Pair(name=name, problem=problem)
    return Pair(name=name, source=texts[0], target=texts[1])


def tsv_pairs(path: Path, columns: Columns) -> Iterator[Pair]:
    """Lines of tab-separated values, never quoted. With a header the columns are found by name, else the first two.

    Raises:
        UserError: the file cannot be read, has a header without a column that is asked for, or a single column.
    """
    _line_count(path)
    with path.open("rb") as file:
        reading: _TsvReading | None = None
        for number, line in enumerate(_lines(file), 1):
            cells = line.split(b"\t")
            if reading is None:
                reading = _TsvReading(cells, columns, path.name)
                if reading.has_header:
                    continue
            yield reading.pair(f"line {number}", cells)


class _TsvReading:
    """Which columns of a .tsv are read, told by its first line."""

    def __init__(self, first: Sequence[bytes], columns: Columns, table: str) -> None:
        names = [cell.strip().decode("utf-8", "replace") for cell in first]
        texts = {role: columns.text_of(role, names) for role in columns.texts}
        self.has_header = None not in texts.values() and len(set(texts.values())) == len(texts)
        # Two texts say nothing about columns; three different short ones with a name that is known do.
        is_header = self.has_header or (any(texts.values()) and len(set(names)) == len(names) > 2)
        if is_header or columns.group or columns.slices:
            found = columns.found_in(names, table)
            self.has_header = True
            self._places = [names.index(found.texts[role]) for role in ("source", "target")]
            self._further = {name: names.index(name) for name in (columns.group, *columns.slices, found.split) if name}
            self._split = found.split
        else:
            if len(first) < 2:
                raise UserError(
                    f"{table} has one column; a .tsv of pairs needs two, source and target, separated by a tab"
                )
            self._places, self._further, self._split = [0, 1], {}, None
        self._columns, self._table = columns, table
        self._needed = max([*self._places, *self._further.values()])

    def pair(self, name: str, cells: Sequence[bytes]) -> Pair:
        if len(cells) <= self._needed:
            return Pair(
                name=name,
                problem=Rejection("damaged row", f"{len(cells)} columns"),
                slices=(None,) * len(self._columns.slices),
            )
        pair = _pair_of_bytes(name, [cells[place] for place in self._places], ("source", "target"))
        if not self._further:
            return pair
        try:
            found = {
                name: slice_value(cells[place].decode("utf-8", "replace")) for name, place in self._further.items()
            }
        except ValueError as error:
            raise UserError(f"{self._table}, {name}: a group or slice column {error}; name another column") from error
        return replace(
            pair,
            group=found[self._columns.group] if self._columns.group else None,
            split=cell_split(found[self._split]) if self._split else None,
            slices=tuple(found[column] for column in self._columns.slices),
        )


def table_pairs(path: Path, columns: Columns, languages: tuple[str, str]) -> Iterator[Pair]:
    """Rows of a .csv, .jsonl or .parquet file. A cell may map languages to texts, as Hugging Face's `translation`.

    Args:
        path: a local file.
        columns: with the texts `source` and `target`.
        languages: of both, for cells that are mappings.

    Raises:
        UserError: unreadable, a column is missing, or one column of plain texts would be both.
    """
    found = found_columns(path, path.name, columns).texts
    shared = found.get("source") if found.get("source") == found.get("target") else None
    for row in table_rows(path, path.name, columns):
        name = f"row {row.number}"
        if row.problem is not None:
            problem = Rejection("damaged row", row.problem)
            yield Pair(name=name, problem=problem, split=row.split, slices=row.slices)
            continue
        if shared and isinstance(row.texts["source"], str):
            raise UserError(
                f"{path.name} has only the column {shared!r}: pairs need a source and a target column; name them "
                "with source_column and target_column"
            )
        texts = [_cell_text(row.texts[r], code) for r, code in zip(("source", "target"), languages, strict=True)]
        yield Pair(name=name, source=texts[0], target=texts[1], group=row.group, split=row.split, slices=row.slices)


def _cell_text(value: Any, language: str) -> str | None:
    if isinstance(value, Mapping):
        plain = {code_of(str(name)): text for name, text in value.items()}
        value = next((plain[code] for code in codes_of(language) if code in plain), None)
    if isinstance(value, bool | float) or not isinstance(value, str | int):
        # A number that is no whole one is NaN, an empty cell, more often than a sentence.
        return None
    return str(value)


def pair_columns(
    languages: tuple[str, str],
    *,
    source_column: str = "",
    target_column: str = "",
    group: str = "",
    slices: Sequence[str] = (),
) -> Columns:
    """The columns of a table of pairs: as they are named, or by known names and the languages' codes."""
    source = (*SOURCE_COLUMNS, *codes_of(languages[0]), "translation")
    target = (*TARGET_COLUMNS[:2], *codes_of(languages[1]), *TARGET_COLUMNS[2:])
    return Columns(
        texts={
            "source": (source_column,) if source_column else source,
            "target": (target_column,) if target_column else target,
        },
        group=group or None,
        slices=tuple(slices),
    )


def moses_files(names: Iterable[str], source: str, target: str) -> list[tuple[str, str]]:
    """Pairs of file names `x.en`, `x.pt` among `names`, sorted; of `pt-BR` also `x.pt_BR`, and `x.pt` without these.

    Raises:
        UserError: a file of one language without its counterpart; names both.
    """
    sides: list[dict[str, str]] = [{}, {}]
    both = [codes_of(source), codes_of(target)]
    for name in sorted(names):
        stem, _, suffix = name.rpartition(".")
        for side, codes in zip(sides, both, strict=True):
            if stem and code_of(suffix) in codes:
                known = side.get(stem)
                if known is None or codes.index(code_of(suffix)) < codes.index(code_of(known.rpartition(".")[2])):
                    side[stem] = name
                break
    for ours, theirs, language in ((sides[0], sides[1], target), (sides[1], sides[0], source)):
        if alone := sorted(set(ours) - set(theirs)):
            raise UserError(f"{ours[alone[0]]} has no matching file {alone[0]}.{language} beside it")
    return [(sides[0][stem], sides[1][stem]) for stem in sorted(sides[0])]


def line_lengths(path: Path) -> "array[int]":
    """Bytes of each line."""
    with path.open("rb") as file:
        return array("L", (len(line) for line in _lines(file)))
