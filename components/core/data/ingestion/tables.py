"""Rows of a table of images: Parquet, CSV (comma, header line) or JSONL, one image and its label a row.

Columns: ``label``, and the image as bytes in ``image`` (also Hugging Face's struct of bytes and path), or as a path or
URI in ``path``, ``uri`` or ``image``. A relative path starts at the table's folder. Further columns are read when they
are asked for as slices (see `slices`).
"""

import csv
import difflib
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row: its number from 1 (in CSV and JSONL the line), label or None, and either `data`, `path` or `problem`.

    `slices` has a value or None for each column that was asked for.
    """

    number: int
    label: str | None = None
    data: bytes | None = None
    path: str | None = None
    problem: str | None = None
    slices: tuple[str | None, ...] = ()


def table_rows(path: Path, name: str, *, labels_only: bool = False, slices: Sequence[str] = ()) -> Iterator[Row]:
    """Rows of the table at `path`, streamed.

    Args:
        path: local file.
        name: how messages call it.
        labels_only: leave the image column unread where the format allows it.
        slices: further columns, whose values each row brings along.

    Raises:
        UserError: unreadable file; in Parquet and CSV also when the image or label column is missing; a slice column
            that the table does not have (in JSONL: in no row, said at its end), or that holds no names.
    """
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return _parquet_rows(path, name, slices, labels_only=labels_only)
    return _csv_rows(path, name, slices) if suffix == ".csv" else _jsonl_rows(path, name, slices)


def declared_classes(path: Path) -> list[str]:
    """Class names that a Parquet file declares in Hugging Face's metadata, in the order of the labels; else empty."""
    return _declared_names(path, LABEL_COLUMN)


def _declared_names(path: Path, column: str) -> list[str]:
    if path.suffix.lower() != ".parquet":
        return []
    metadata = _open_parquet(path, path.name).schema_arrow.metadata or {}
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
        names = features[column]["names"]
    except (KeyError, TypeError, ValueError):
        return []
    return [str(name) for name in names]


def _parquet_rows(path: Path, name: str, slices: Sequence[str], *, labels_only: bool) -> Iterator[Row]:
    file = _open_parquet(path, name)
    image = _image_column(file.schema_arrow.names, name)
    check_slice_columns(slices, file.schema_arrow.names, name)
    names = declared_classes(path)
    values_of = {column: _declared_names(path, column) for column in slices}
    columns = [*([] if labels_only else [image]), LABEL_COLUMN, *slices]
    batch_rows = 4096 if labels_only else _BATCH_ROWS
    number = 0
    try:
        for batch in file.iter_batches(batch_size=batch_rows, columns=columns):
            for values in batch.to_pylist():
                number += 1
                found = _slices(values, values_of, name, number)
                yield _row(number, values.get(image), _class_name(values[LABEL_COLUMN], names), found)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{name} is damaged after row {number}: {_line(error)}") from error


def _open_parquet(path: Path, name: str) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path, memory_map=True)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{name} is not a readable Parquet file: {_line(error)}") from error


def _csv_rows(path: Path, name: str, slices: Sequence[str]) -> Iterator[Row]:
    values_of: dict[str, list[str]] = {column: [] for column in slices}
    with _open_text(path, name) as file:
        reader = csv.DictReader(file)
        try:
            image = _image_column(reader.fieldnames or [], name)
            check_slice_columns(slices, reader.fieldnames or [], name)
            for values in reader:
                found = _slices(values, values_of, name, reader.line_num)
                yield _row(reader.line_num, values.get(image), _class_name(values.get(LABEL_COLUMN), []), found)
        except (csv.Error, UnicodeDecodeError) as error:
            raise UserError(f"{name}, line {reader.line_num + 1}: not valid CSV in UTF-8: {_line(error)}") from error


def _jsonl_rows(path: Path, name: str, slices: Sequence[str]) -> Iterator[Row]:
    values_of: dict[str, list[str]] = {column: [] for column in slices}
    columns: dict[str, None] = {}
    nowhere = (None,) * len(slices)
    with _open_text(path, name) as file:
        number = 0
        try:
            for line in file:
                number += 1
                if not line.strip():
                    continue
                try:
                    values = json.loads(line)
                except ValueError as error:
                    yield Row(number=number, problem=f"not valid JSON: {_line(error)}", slices=nowhere)
                    continue
                if not isinstance(values, Mapping):
                    yield Row(number=number, problem="not a JSON object", slices=nowhere)
                    continue
                image = next((values[column] for column in IMAGE_COLUMNS if column in values), None)
                if slices:
                    columns |= dict.fromkeys(values)
                found = _slices(values, values_of, name, number)
                yield _row(number, image, _class_name(values.get(LABEL_COLUMN), []), found)
        except UnicodeDecodeError as error:
            raise UserError(f"{name}, line {number + 1}: not valid UTF-8: {_line(error)}") from error
    if columns:
        check_slice_columns(slices, list(columns), name)


def _open_text(path: Path, name: str) -> io.TextIOWrapper:
    try:
        # utf-8-sig: spreadsheets write a byte-order mark.
        return path.open(encoding="utf-8-sig", newline="")
    except OSError as error:
        raise UserError(f"cannot read {name}: {(error.strerror or type(error).__name__).lower()}") from error


def _image_column(columns: list[str] | tuple[str, ...] | Any, name: str) -> str:
    found = ", ".join(str(column) for column in list(columns)[:10]) or "none"
    if LABEL_COLUMN not in columns:
        raise UserError(f"{name} has no column 'label'; columns: {found}")
    for candidate in IMAGE_COLUMNS:
        if candidate in columns:
            return candidate
    raise UserError(f"{name} has no image column; expected one of {', '.join(IMAGE_COLUMNS)}; columns: {found}")


def check_slice_columns(wanted: Sequence[str], columns: Sequence[str], name: str) -> None:
    """UserError for the first wanted column that the table does not have, or that holds the images or labels."""
    own = (LABEL_COLUMN, *IMAGE_COLUMNS)
    for column in wanted:
        if column in own:
            raise UserError(f"slice_columns names {column!r}, which holds the labels or images; name another column")
        if column not in columns:
            others = [str(other) for other in columns if other not in own]
            close = difflib.get_close_matches(column, others, n=1, cutoff=0.5)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            found = ", ".join(others[:10]) or "none"
            raise UserError(f"{name} has no column {column!r} for slice_columns{hint}; further columns: {found}")


def _slices(
    values: Mapping[str, Any], values_of: Mapping[str, Sequence[str]], name: str, number: int
) -> tuple[str | None, ...]:
    found = []
    for column, names in values_of.items():
        try:
            found.append(slice_value(values.get(column), names))
        except ValueError as error:
            raise UserError(f"{name}, row {number}: slice column {column!r} {error}; name another column") from error
    return tuple(found)


def _row(number: int, image: Any, label: str | None, slices: tuple[str | None, ...]) -> Row:
    path = None
    if isinstance(image, Mapping):
        image, path = image.get("bytes"), image.get("path")
    if isinstance(image, bytes):
        shown = path if isinstance(path, str) else None
        return Row(number=number, label=label, data=image, path=shown, slices=slices)
    reference = image if isinstance(image, str) else path
    if isinstance(reference, str) and reference.strip():
        return Row(number=number, label=label, path=reference.strip(), slices=slices)
    return Row(number=number, label=label, problem="the row has no image", slices=slices)


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


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
