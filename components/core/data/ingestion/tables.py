"""Rows of a table: Parquet, CSV (comma, semicolon or tab; header line) or JSONL, one item per row.

What a table must have is its task's (`columns.Columns`): a file of each role, as bytes (also Hugging Face's struct of
bytes and path, or base64), or as a path or URI, and perhaps a label. A relative path starts at the table's folder.
Further columns are read when they are asked for as slices (see `slices`).
"""

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from components.core.data.ingestion.cells import Cell, cell_of
from components.core.data.ingestion.columns import Columns, FoundColumns, check_columns
from components.core.data.ingestion.labels import MOST_CHARACTERS, class_name, label_of
from components.core.data.ingestion.parquet_sizes import check_page_sizes, check_stated_sizes
from components.core.data.ingestion.splits import cell_split
from components.core.data.slices import slice_value
from components.core.errors import UserError

TABLE_SUFFIXES = (".parquet", ".csv", ".tsv", ".jsonl")

# Few rows at a time: a row can be a picture of many megabytes.
_BATCH_ROWS = 64
_DELIMITERS = ",;\t|"
_LONGEST_CELL = 1 << 30
_FIRST_LINES = 100


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row: its number from 1 (in CSV and JSONL the line), its cells by role, or the `problem` of the whole row.

    `slices` has a value or None for each column that was asked for. `texts` are the cells as they are: text, a number,
    a mapping, None.
    """

    number: int
    files: Mapping[str, Cell] = field(default_factory=dict)
    label: str | None = None
    group: str | None = None
    split: str | None = None
    problem: str | None = None
    slices: tuple[str | None, ...] = ()
    texts: Mapping[str, Any] = field(default_factory=dict)


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
    return _jsonl_rows(path, name, columns) if suffix == ".jsonl" else _csv_rows(path, name, columns)


def found_columns(path: Path, name: str, columns: Columns) -> FoundColumns:
    """The columns that the table at `path` is read by; of JSONL, whose lines may differ, those of the first lines.

    Raises:
        UserError: as `table_rows`.
    """
    suffix = path.suffix.lower()
    if suffix == ".jsonl":
        return _jsonl_columns(path, name, columns)
    if suffix == ".parquet":
        return columns.found_in(_open_parquet(path, name).schema_arrow.names, name)
    with _open_text(path, name) as file:
        try:
            return columns.found_in(next(_csv_reader(file, path), []), name)
        except (csv.Error, UnicodeDecodeError) as error:
            raise _not_text(error, path, name, "CSV") from error


def declared_names(path: Path, column: str) -> list[str]:
    """Names that a Parquet file declares for a column's numbers, in Hugging Face's metadata; else empty."""
    if path.suffix.lower() != ".parquet":
        return []
    metadata = _open_parquet(path, path.name).schema_arrow.metadata or {}
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
        names = features[column]["names"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return []
    return [class_name(str(name)) for name in names] if isinstance(names, list) else []


def parquet_type(path: Path, column: str) -> "pa.DataType | None":
    """Type of a column of a Parquet file; None of another kind of table."""
    if path.suffix.lower() != ".parquet":
        return None
    kind = _open_parquet(path, path.name).schema_arrow.field(column).type
    return kind.value_type if pa.types.is_dictionary(kind) else kind


class _Reading:
    """How the values of a table become rows, once its columns are known."""

    def __init__(self, columns: Columns, found: Sequence[str], name: str, path: Path) -> None:
        self._columns, self._name = columns, name
        self.found = columns.found_in(found, name)
        self._classes = declared_names(path, self.found.label) if self.found.label else []
        further = [*columns.slices, *([columns.group] if columns.group else [])]
        if self.found.split:
            further.append(self.found.split)
        self._names_of = {column: declared_names(path, column) for column in further}

    @property
    def read(self) -> list[str]:
        """Columns without the files."""
        return list(dict.fromkeys([*([self.found.label] if self.found.label else []), *self._names_of]))

    def row(self, number: int, values: Mapping[str, Any]) -> Row:
        columns = self._columns
        further = {
            column: _name_in(
                values, column, names, self._name, number, "slice" if column in columns.slices else "group"
            )
            for column, names in self._names_of.items()
        }
        split = self.found.split
        label, problem = _label(values.get(self.found.label), self._classes) if self.found.label else (None, None)
        return Row(
            number=number,
            files={role: cell_of(values.get(column)) for role, column in self.found.files.items()},
            label=label,
            problem=problem,
            group=further[columns.group] if columns.group else None,
            split=cell_split(further[split]) if split else None,
            slices=tuple(further[column] for column in columns.slices),
            texts={role: values.get(column) for role, column in self.found.texts.items()},
        )


def _parquet_rows(path: Path, name: str, columns: Columns, *, labels_only: bool) -> Iterator[Row]:
    file = _open_parquet(path, name)
    reading = _Reading(columns, file.schema_arrow.names, name, path)
    contents = [] if labels_only else [*reading.found.files.values(), *reading.found.texts.values()]
    read = list(dict.fromkeys([*contents, *reading.read]))
    check_page_sizes(file.metadata, path, name, read)
    batch_rows = 4096 if labels_only else _BATCH_ROWS
    number = 0
    try:
        for batch in file.iter_batches(batch_size=batch_rows, columns=read):
            # One row at a time: a picture that many rows repeat is in the file, and in the batch, only once.
            for index in range(batch.num_rows):
                number += 1
                try:
                    values = batch.slice(index, 1).to_pylist()[0]
                except UnicodeDecodeError:
                    nowhere = (None,) * len(columns.slices)
                    yield Row(number=number, problem="a text in it is not in UTF-8", slices=nowhere)
                    continue
                yield reading.row(number, values)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{name} is damaged after row {number}: {_line(error)}") from error


def _open_parquet(path: Path, name: str) -> pq.ParquetFile:
    try:
        metadata = pq.read_metadata(path, memory_map=True)
        # Only texts and bytes are then kept as they are stored, once each.
        texts = [metadata.schema.column(index).path for index in range(metadata.num_columns)]
        file = pq.ParquetFile(path, memory_map=True, read_dictionary=texts)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UserError(f"{name} is not a readable Parquet file: {_line(error)}") from error
    check_stated_sizes(metadata, path, name)
    return file


def _csv_rows(path: Path, name: str, columns: Columns) -> Iterator[Row]:
    with _open_text(path, name) as file:
        line = 0
        try:
            reader = _csv_reader(file, path)
            header: list[str] = next(reader, [])
            reading = _Reading(columns, header, name, path)
            for cells in reader:
                line = reader.line_num
                if cells:
                    # Not csv.DictReader, which puts something into each of a million columns that a row lacks.
                    yield reading.row(line, dict(zip(header, cells, strict=False)))
        except (csv.Error, UnicodeDecodeError) as error:
            raise _not_text(error, path, name, "CSV", line=line + 1) from error


def _jsonl_columns(path: Path, name: str, columns: Columns) -> FoundColumns:
    names: dict[str, None] = {}
    with _open_text(path, name) as file:
        try:
            for line in islice(file, _FIRST_LINES):
                with suppress(ValueError, TypeError, RecursionError):
                    names |= dict.fromkeys(json.loads(line))
        except UnicodeDecodeError as error:
            raise _not_text(error, path, name, "JSON lines") from error
    files = {role: column for role in columns.files if (column := columns.file_of(role, names))}
    texts = {role: column for role in columns.texts if (column := columns.text_of(role, names))}
    return FoundColumns(files=files, label=columns.label_of(names), split=columns.split_of(names), texts=texts)


def _jsonl_rows(path: Path, name: str, columns: Columns) -> Iterator[Row]:
    further = Columns(group=columns.group, slices=columns.slices)
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
            raise _not_text(error, path, name, "JSON lines") from error
    if found:
        own = columns.used_of(found)
        check_columns(columns.slices, list(found), name, "slice_columns", own=own)
        check_columns([columns.group] if columns.group else [], list(found), name, "group_column", own=own)


def _jsonl_row(number: int, values: Mapping[str, Any], columns: Columns, name: str) -> Row:
    """Each line has columns of its own, so that a missing one is the row's fault and not the table's."""
    split, named = columns.split_of(values), columns.label_of(values)
    files = {role: columns.file_of(role, values) for role in columns.files}
    texts = {role: columns.text_of(role, values) for role in columns.texts}
    label, problem = _label(values.get(named), []) if named else (None, None)
    return Row(
        number=number,
        files={role: cell_of(values.get(column) if column else None) for role, column in files.items()},
        label=label,
        problem=problem,
        group=_name_in(values, columns.group, [], name, number, "group") if columns.group else None,
        split=cell_split(values.get(split)) if split else None,
        slices=tuple(_name_in(values, column, [], name, number) for column in columns.slices),
        texts={role: values.get(column) if column else None for role, column in texts.items()},
    )


def _csv_reader(file: io.TextIOWrapper, path: Path) -> Any:
    """A `csv.reader`, by the delimiter that the header line has most of; a header without any is one column."""
    # A picture in base64 is longer than what csv allows by itself.
    csv.field_size_limit(_LONGEST_CELL)
    header = file.readline()
    file.seek(0)
    delimiter = max(_DELIMITERS, key=header.count)
    if path.suffix.lower() == ".tsv" or not header.count(delimiter):
        delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    return csv.reader(file, delimiter=delimiter, skipinitialspace=True)


def _not_text(error: Exception, path: Path, name: str, kind: str, line: int = 1) -> UserError:
    """An error that names the line of the bad byte; the decoder reads ahead, so the file is searched for it."""
    if isinstance(error, UnicodeDecodeError):
        with path.open("rb") as file:
            for number, data in enumerate(file, start=1):
                try:
                    data.decode("utf-8")
                except UnicodeDecodeError as here:
                    line, error = number, here
                    break
    return UserError(f"{name}, line {line}: not valid {kind} in UTF-8: {_line(error)}")


def _open_text(path: Path, name: str) -> io.TextIOWrapper:
    try:
        # utf-8-sig: spreadsheets write a byte-order mark.
        return path.open(encoding="utf-8-sig", newline="")
    except OSError as error:
        raise UserError(f"cannot read {name}: {(error.strerror or type(error).__name__).lower()}") from error


def _name_in(
    values: Mapping[str, Any], column: str, names: Sequence[str], table: str, number: int, what: str = "slice"
) -> str | None:
    try:
        return slice_value(values.get(column), names)
    except ValueError as error:
        raise UserError(f"{table}, row {number}: {what} column {column!r} {error}; name another column") from error


def _label(value: Any, names: list[str]) -> tuple[str | None, str | None]:
    """The class a label means, or why the row has none; no class and no reason where there is no label."""
    label = _class_of(value, names)
    if label is None or len(label) <= MOST_CHARACTERS:
        return label, None
    return None, f"its label has {len(label)} characters; the name of a class has at most {MOST_CHARACTERS}"


def _class_of(value: Any, names: list[str]) -> str | None:
    """None without a label (Hugging Face marks an unlabelled row with -1)."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if names and isinstance(value, int):
        return class_name(names[value]) if 0 <= value < len(names) else None
    if not isinstance(value, str | int | float):
        return None
    return label_of(str(value))


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
