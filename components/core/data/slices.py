"""Slices: named subsets of the rows, by the values of columns of the user's own table, as `camera=night`.

A column that is asked for travels through the shards as ``slice:NAME``, text or null; a row without a value belongs to
no slice of that column. Nothing of this is in a data set for which no column was named.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from components.core.data.ingestion.labels import without_controls
from components.core.errors import UserError

MAX_VALUES = 100
"""Slices of one column. A column with more values numbers the images and groups none of them."""

MAX_CHARACTERS = 100
"""Length of a value: it is a name that is shown in tables."""


def parse_slice_columns(text: str) -> tuple[str, ...]:
    """The columns of ``"camera, site"``, sorted, so that their order makes no other data set; none of an empty text."""
    return tuple(sorted({part.strip() for part in text.split(",")} - {""}))


def shard_column(column: str) -> str:
    """Name in the shards of a column of the user's table: no name there can meet one of a task's schema."""
    return f"slice:{column}"


def slice_name(column: str, value: str) -> str:
    """`camera=night`: what reports and decisions call a slice."""
    return f"{column}={value}"


def sliced_schema(schema: pa.Schema, columns: Sequence[str]) -> pa.Schema:
    """A task's schema with a nullable text for each column; without columns the same schema."""
    for column in columns:
        schema = schema.append(pa.field(shard_column(column), pa.string()))
    return schema


def sliced_columns(schema: pa.Schema, columns: Sequence[str]) -> tuple[str, ...]:
    """Names of all columns of such shards: what is read by name is missed by name."""
    return tuple(sliced_schema(schema, columns).names)


def slice_value(value: Any, names: Sequence[str] = ()) -> str | None:
    """A cell as the name of a slice; None when it is empty (null, NaN, blanks only).

    Args:
        value: text, a number or a truth value.
        names: what the numbers stand for, where the table declares it; a number outside stands for nothing.

    Raises:
        ValueError: a list, a date or another kind of value, or a long text; the message says what it is.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if names and isinstance(value, int):
        return names[value] if 0 <= value < len(names) else None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, str | int | float):
        raise ValueError(f"holds a {type(value).__name__}")
    # One line without a terminal's escapes, and valid Unicode, which JSON does not promise.
    written = " ".join(without_controls(str(value)).split()).encode("utf-8", "backslashreplace").decode()
    if len(written) > MAX_CHARACTERS:
        raise ValueError(f"holds a text of {len(written):,} characters, at most {MAX_CHARACTERS} name a slice")
    return written or None


class SliceCounts:
    """Rows of each slice and split while they pass by.

    Attributes:
        columns: names in the user's table.
        counts: column → value → split → rows.
    """

    def __init__(self, columns: Sequence[str]) -> None:
        self.columns = tuple(columns)
        self.counts: dict[str, dict[str, Counter[str]]] = {column: {} for column in columns}

    def add(self, values: Iterable[str | None], split: str = "") -> None:
        """One row with its value of each column.

        Raises:
            UserError: a column has more than `MAX_VALUES` values.
        """
        for column, value in zip(self.columns, values, strict=True):
            if value is None:
                continue
            found = self.counts[column]
            if value not in found and len(found) == MAX_VALUES:
                some = ", ".join(repr(name) for name in list(found)[:3])
                raise UserError(
                    f"slice column {column!r} has more than {MAX_VALUES} values ({some}, …), too many to form "
                    "groups; name a column with few values"
                )
            found.setdefault(value, Counter())[split] += 1

    @property
    def empty(self) -> list[str]:
        """Columns of which no row had a value."""
        return [column for column, found in self.counts.items() if not found]

    def to_json(self, splits: Sequence[str]) -> dict[str, dict[str, dict[str, int]]]:
        """`counts` with every split, values in the order of numbers and names."""
        return {
            column: {value: {split: found[value][split] for split in splits} for value in sorted(found, key=_order)}
            for column, found in self.counts.items()
        }


def row_slices(row: Mapping[str, Any], columns: Sequence[str]) -> tuple[str | None, ...]:
    """The values of a row of a shard."""
    return tuple(row[shard_column(column)] for column in columns)


def refuse_empty(counts: SliceCounts, rows: str) -> None:
    """UserError for a column without any value: a misread column would else pass as one that nothing was found in."""
    for column in counts.empty:
        raise UserError(f"slice column {column!r} is empty in every {rows}; fill it in or leave it out")


def _order(value: str) -> tuple[int, str]:
    return (int(value) if value.isascii() and value.isdigit() else -1, value)
