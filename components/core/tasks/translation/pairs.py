"""Sentence pairs as they come in: from Moses' two files, TSV, and the tables that every task reads.

A pair always travels as one thing. A row that cannot be read is a pair with a `problem`, so that it is counted and no
later row moves. `tmx.py` and `gettext_catalogs.py` read the other kinds.
"""

import csv
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import BinaryIO

from components.core.data.ingestion.items import Rejection
from components.core.data.ingestion.tables import Columns, table_rows
from components.core.errors import UserError

SOURCE_COLUMNS, TARGET_COLUMNS = ("source", "src"), ("target", "tgt", "translation")
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
    """

    name: str
    source: str | None = None
    target: str | None = None
    problem: Rejection | None = None


def moses_pairs(source: Path, target: Path) -> Iterator[Pair]:
    """Lines of two files, the n-th with the n-th. Only a line feed ends a line: U+2028 or NEL would shift the rest.

    Raises:
        UserError: a file cannot be read, or one has more lines: names both counts, before the first pair.
    """
    counts = [_line_count(path) for path in (source, target)]
    if counts[0] != counts[1]:
        raise UserError(
            f"{source.name} has {counts[0]} lines and {target.name} {counts[1]}: the two files must have the same lines"
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


def tsv_pairs(path: Path) -> Iterator[Pair]:
    """Lines of tab-separated values, never quoted. With a header the columns are found by name, else the first two.

    Raises:
        UserError: the file cannot be read, has a header without a source or target column, or a single column.
    """
    _line_count(path)
    with path.open("rb") as file:
        columns: tuple[int, int] | None = None
        for number, line in enumerate(_lines(file), 1):
            cells = line.split(b"\t")
            if columns is None:
                columns, is_header = _tsv_columns(cells, path.name)
                if is_header:
                    continue
            if len(cells) <= max(columns):
                yield Pair(name=f"line {number}", problem=Rejection("damaged row", f"{len(cells)} columns"))
            else:
                yield _pair_of_bytes(f"line {number}", [cells[place] for place in columns], ("source", "target"))


def _tsv_columns(cells: Sequence[bytes], name: str) -> tuple[tuple[int, int], bool]:
    """Places of source and target, and whether the line was a header."""
    names = [cell.strip().lower().decode("utf-8", "replace") for cell in cells]
    found = [next((names.index(n) for n in known if n in names), None) for known in (SOURCE_COLUMNS, TARGET_COLUMNS)]
    if found[0] is not None and found[1] is not None:
        return (found[0], found[1]), True
    if any(place is not None for place in found) and len(cells) > 1 and len(set(names)) == len(names) > 2:
        raise UserError(f"{name} needs a source and a target column; its header: {', '.join(names[:10])}")
    if len(cells) < 2:
        raise UserError(f"{name} has one column; a .tsv of pairs has source and target, separated by a tab")
    return (0, 1), False


def table_pairs(path: Path) -> Iterator[Pair]:
    """Rows of a .csv, .jsonl or .parquet file with the columns source and target.

    Raises:
        UserError: unreadable, or a column is missing.
    """
    columns = Columns(files={"source": SOURCE_COLUMNS, "target": TARGET_COLUMNS})
    limit = csv.field_size_limit(MAX_LINE_BYTES)
    try:
        for row in table_rows(path, path.name, columns):
            name = f"row {row.number}"
            if row.problem is not None:
                yield Pair(name=name, problem=Rejection("damaged row", row.problem))
            else:
                # A cell of text is what the other tasks read as a path.
                yield Pair(name=name, source=row.files["source"].path, target=row.files["target"].path)
    finally:
        csv.field_size_limit(limit)


def moses_files(names: Sequence[str], source: str, target: str) -> list[tuple[str, str]]:
    """Pairs of file names `x.en`, `x.pt` among `names`, sorted.

    Raises:
        UserError: a file of one language without its counterpart; names both.
    """
    by_side = {
        language: {name[: -len(language) - 1] for name in names if name.endswith(f".{language}")}
        for language in (source, target)
    }
    for language, other in ((source, target), (target, source)):
        if alone := sorted(by_side[language] - by_side[other]):
            raise UserError(f"{alone[0]}.{language} has no counterpart {alone[0]}.{other} beside it")
    return [(f"{stem}.{source}", f"{stem}.{target}") for stem in sorted(by_side[source])]
