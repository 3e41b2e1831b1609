"""Rows of a table: Parquet, CSV (comma, header line) or JSONL, one item a row.

What a table must have is its task's (`Columns`): a file of each role, as bytes (also Hugging Face's struct of bytes and
path), or as a path or URI, and perhaps a label. A relative path starts at the table's folder. Further columns are read
when they are asked for as slices (see `slices`).
"""

import csv
import difflib
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from components.core.data.slices import slice_value
from components.core.errors import UserError

TABLE_SUFFIXES = (".parquet", ".csv", ".jsonl")
IMAGE_COLUMNS = ("image", "path", "uri")
LABEL_COLUMN = "label"

# Few rows at a time: a row can be a picture of many megabytes.
_BATCH_ROWS = 64

# Pictures and numbers shrink by some per cent, repeated texts by their dictionary, which is counted small already.
_SURELY_FINE_BYTES, _MOST_EXPANSION = 64 * 2**20, 100

MOST_CHARACTERS = 200
"""Of a class's name: it stands in every report, card and release."""


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Which columns of a table a task reads.

    Attributes:
        files: the names that the column of each role may have, by role; the first that is there is taken.
        label: the column of the class, or none.
        group: the column whose equal values stay in one split, or none.
        slices: further columns, whose values each row brings along.
    """

    files: Mapping[str, tuple[str, ...]]
    label: str | None = None
    group: str | None = None
    slices: tuple[str, ...] = ()

    @property
    def own(self) -> tuple[str, ...]:
        """Every name that holds a file or the label."""
        return (*([self.label] if self.label else []), *(name for names in self.files.values() for name in names))


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A file in a row: its `data`, with a path only to show, or the `path` of it; or neither."""

    data: bytes | None = None
    path: str | None = None


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row: its number from 1 (in CSV and JSONL the line), its cells by role, or the `problem` of the whole row.

    `slices` has a value or None for each column that was asked for.
    """

    number: int
    files: Mapping[str, Cell] = field(default_factory=dict)
    label: str | None = None
    group: str | None = None
    problem: str | None = None
    slices: tuple[str | None, ...] = ()


def table_rows(path: Path, name: str, columns: Columns, *, labels_only: bool = False) -> Iterator[Row]:
    """Rows of the table at `path`, streamed.

    Args:
        path: local file.
        name: how messages call it.
        columns: what to read.
        labels_only: leave the files unread where the format allows it.

    Raises:
        UserError: unreadable file; in Parquet and CSV also when the column of a file or of the label is missing; a
            group or slice column that the table does not have (in JSONL: in no row, said at its end), or one that
            holds no names.
    """
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return _parquet_rows(path, name, columns, labels_only=labels_only)
    return _csv_rows(path, name, columns) if suffix == ".csv" else _jsonl_rows(path, name, columns)


def declared_names(path: Path, column: str) -> list[str]:
    """Names that a Parquet file declares for a column's numbers, in Hugging Face's metadata; else empty."""
    if path.suffix.lower() != ".parquet":
        return []
    metadata = _open_parquet(path, path.name).schema_arrow.metadata or {}
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
        names = features[column]["names"]
    except (KeyError, TypeError, ValueError):
        return []
    return [str(name) for name in names]


class _Reading:
    """How the values of a table become rows, once its columns are known."""

    def __init__(self, columns: Columns, found: Sequence[str], name: str, path: Path) -> None:
        self._columns, self._name = columns, name
        self.roles = _roles(columns, found, name)
        self.check_further(found)
        self._classes = declared_names(path, columns.label) if columns.label else []
        further = [*columns.slices, *([columns.group] if columns.group else [])]
        self._names_of = {column: declared_names(path, column) for column in further}

    def check_further(self, found: Sequence[str]) -> None:
        check_columns(self._columns.slices, found, self._name, "slice_columns", own=self._columns.own)
        if self._columns.group:
            check_columns([self._columns.group], found, self._name, "group_column", own=self._columns.own)

    @property
    def read(self) -> list[str]:
        """Columns without the files."""
        return list(dict.fromkeys([*([self._columns.label] if self._columns.label else []), *self._names_of]))

    def row(self, number: int, values: Mapping[str, Any]) -> Row:
        columns = self._columns
        further = {
            column: _name_in(
                values, column, names, self._name, number, "slice" if column in columns.slices else "group"
            )
            for column, names in self._names_of.items()
        }
        label = _class_name(values.get(columns.label), self._classes) if columns.label else None
        return Row(
            number=number,
            files={role: _cell(values.get(column)) for role, column in self.roles.items()},
            label=label,
            problem=_label_problem(label),
            group=further[columns.group] if columns.group else None,
            slices=tuple(further[column] for column in columns.slices),
        )


def _parquet_rows(path: Path, name: str, columns: Columns, *, labels_only: bool) -> Iterator[Row]:
    file = _open_parquet(path, name)
    reading = _Reading(columns, file.schema_arrow.names, name, path)
    read = [*([] if labels_only else reading.roles.values()), *reading.read]
    batch_rows = 4096 if labels_only else _BATCH_ROWS
    number = 0
    try:
        for batch in file.iter_batches(batch_size=batch_rows, columns=read):
            # One row at a time: a picture that many rows repeat is in the file, and in the batch, only once.
            for index in range(batch.num_rows):
                number += 1
                yield reading.row(number, batch.slice(index, 1).to_pylist()[0])
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{name} is damaged after row {number}: {_line(error)}") from error


def _open_parquet(path: Path, name: str) -> pq.ParquetFile:
    try:
        metadata = pq.read_metadata(path, memory_map=True)
        # Only texts and bytes are then kept as they are stored, once each.
        texts = [metadata.schema.column(index).path for index in range(metadata.num_columns)]
        file = pq.ParquetFile(path, memory_map=True, read_dictionary=texts)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{name} is not a readable Parquet file: {_line(error)}") from error
    _check_sizes(metadata, name)
    return file


def _check_sizes(metadata: pq.FileMetaData, name: str) -> None:
    """A column of a row group is decoded at once, so what it says of its size must fit what is there."""
    for group in range(metadata.num_row_groups):
        for index in range(metadata.num_columns):
            column = metadata.row_group(group).column(index)
            size, stored = column.total_uncompressed_size, max(column.total_compressed_size, 1)
            if size > _SURELY_FINE_BYTES and size > _MOST_EXPANSION * stored:
                raise UserError(
                    f"{name}: the column {column.path_in_schema!r} holds {size // 2**20} MB in {stored // 2**10} kB; "
                    f"more than {_MOST_EXPANSION} times what is stored is no data set"
                )


def _csv_rows(path: Path, name: str, columns: Columns) -> Iterator[Row]:
    with _open_text(path, name) as file:
        reader = csv.DictReader(file)
        try:
            reading = _Reading(columns, reader.fieldnames or [], name, path)
            for values in reader:
                yield reading.row(reader.line_num, values)
        except (csv.Error, UnicodeDecodeError) as error:
            raise UserError(f"{name}, line {reader.line_num + 1}: not valid CSV in UTF-8: {_line(error)}") from error


def _jsonl_rows(path: Path, name: str, columns: Columns) -> Iterator[Row]:
    further = Columns(files={}, group=columns.group, slices=columns.slices)
    found: dict[str, None] = {}
    nowhere = (None,) * len(columns.slices)
    with _open_text(path, name) as file:
        number = 0
        try:
            for line in file:
                number += 1
                if not line.strip():
                    continue
                try:
                    values = json.loads(line)
                except (ValueError, RecursionError) as error:
                    yield Row(number=number, problem=f"not valid JSON: {_line(error)}", slices=nowhere)
                    continue
                if not isinstance(values, Mapping):
                    yield Row(number=number, problem="not a JSON object", slices=nowhere)
                    continue
                if further.slices or further.group:
                    found |= dict.fromkeys(values)
                yield _jsonl_row(number, values, columns, name)
        except UnicodeDecodeError as error:
            raise UserError(f"{name}, line {number + 1}: not valid UTF-8: {_line(error)}") from error
    if found:
        check_columns(columns.slices, list(found), name, "slice_columns", own=columns.own)
        check_columns([columns.group] if columns.group else [], list(found), name, "group_column", own=columns.own)


def _jsonl_row(number: int, values: Mapping[str, Any], columns: Columns, name: str) -> Row:
    """Each line has columns of its own, so that a missing one is the row's fault and not the table's."""
    label = _class_name(values.get(columns.label), []) if columns.label else None
    return Row(
        number=number,
        problem=_label_problem(label),
        files={
            role: _cell(next((values[column] for column in names if column in values), None))
            for role, names in columns.files.items()
        },
        label=label,
        group=_name_in(values, columns.group, [], name, number, "group") if columns.group else None,
        slices=tuple(_name_in(values, column, [], name, number) for column in columns.slices),
    )


def _open_text(path: Path, name: str) -> io.TextIOWrapper:
    try:
        # utf-8-sig: spreadsheets write a byte-order mark.
        return path.open(encoding="utf-8-sig", newline="")
    except OSError as error:
        raise UserError(f"cannot read {name}: {(error.strerror or type(error).__name__).lower()}") from error


def _roles(columns: Columns, names: Sequence[str], table: str) -> dict[str, str]:
    """The column of each role; UserError for the first that the table does not have."""
    found = ", ".join(str(name) for name in list(names)[:10]) or "none"
    if columns.label and columns.label not in names:
        raise UserError(f"{table} has no column {columns.label!r}; columns: {found}")
    roles = {}
    for role, candidates in columns.files.items():
        there = [candidate for candidate in candidates if candidate in names]
        if not there:
            raise UserError(f"{table} has no {role} column; expected one of {', '.join(candidates)}; columns: {found}")
        roles[role] = there[0]
    return roles


def check_columns(
    wanted: Sequence[str], found: Sequence[str], table: str, parameter: str, *, own: Sequence[str]
) -> None:
    """UserError for the first wanted column that the table does not have, or that is one of its `own`: files, label."""
    for column in wanted:
        if column in own:
            raise UserError(f"{parameter} names {column!r}, which holds the labels or images; name another column")
        if column not in found:
            others = [str(other) for other in found if other not in own]
            close = difflib.get_close_matches(column, others, n=1, cutoff=0.5)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            listed = ", ".join(others[:10]) or "none"
            raise UserError(f"{table} has no column {column!r} for {parameter}{hint}; further columns: {listed}")


def _name_in(
    values: Mapping[str, Any], column: str, names: Sequence[str], table: str, number: int, what: str = "slice"
) -> str | None:
    try:
        return slice_value(values.get(column), names)
    except ValueError as error:
        raise UserError(f"{table}, row {number}: {what} column {column!r} {error}; name another column") from error


def _cell(value: Any) -> Cell:
    path = None
    if isinstance(value, Mapping):
        value, path = value.get("bytes"), value.get("path")
    if isinstance(value, bytes):
        return Cell(data=value, path=path if isinstance(path, str) else None)
    reference = value if isinstance(value, str) else path
    if isinstance(reference, str) and reference.strip():
        return Cell(path=reference.strip())
    return Cell()


def _class_name(value: Any, names: list[str]) -> str | None:
    """The class a label means; None when there is none (Hugging Face marks an unlabelled row with -1)."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if names and isinstance(value, int):
        return names[value] if 0 <= value < len(names) else None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, str | int | float):
        return None
    return str(value).strip() or None


def _label_problem(label: str | None) -> str | None:
    if label is None or len(label) <= MOST_CHARACTERS:
        return None
    return f"its label has {len(label)} characters; the name of a class has at most {MOST_CHARACTERS}"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
