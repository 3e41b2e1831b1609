"""Columns that shards hold, and whether the columns of a shard that somebody else may have written are such.

A name means one type in every task. Beside these a shard has a text for each slice (`slices`), where no cell need be.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.core.data.slices import MAX_CHARACTERS, shard_column

STORED = {
    "image": pa.binary(), "mask": pa.binary(), "label": pa.int32(), "text": pa.string(), "translation": pa.string(),
    "digest": pa.string(), "source": pa.string(),
}  # fmt: skip
"""Type of each column of the tasks' rows, by name."""

_SLICE = shard_column("")
_MOST_SHOWN = 60
_DIGEST = "^[0-9a-f]{64}$"


def check_columns(table: pa.Table, num_classes: int) -> None:
    """Passes columns of which each is of its type, has a value in every row and only valid UTF-8 in its texts.

    A label must be a number below `num_classes`, a digest a sha256 in hex, a slice a short text or null.

    Raises:
        ValueError: the first column that is not so, with the row where there is one.
    """
    for name in table.column_names:
        if table.column_names.count(name) > 1:
            raise ValueError(f"it has the column {name[:_MOST_SHOWN]!r} twice")
        column, is_slice = table.column(name), name.startswith(_SLICE)
        wanted = pa.string() if is_slice else STORED.get(name, column.type)
        if column.type != wanted:
            raise ValueError(f"its column {name[:_MOST_SHOWN]!r} holds {str(column.type)[:_MOST_SHOWN]}, not {wanted}")
        if column.null_count and not is_slice:
            raise ValueError(f"row {_first(column.is_null())} has no {name[:_MOST_SHOWN]}")
    try:
        table.validate(full=True)
    except pa.ArrowInvalid as error:
        raise ValueError(f"a value in it is damaged: {str(error)[:200]}") from None
    for name in (name for name in table.column_names if name.startswith(_SLICE)):
        wrong = pc.fill_null(pc.greater(pc.utf8_length(table.column(name)), MAX_CHARACTERS), False)
        if pc.any(wrong).as_py():
            raise ValueError(f"the slice of row {_first(wrong)} has more than {MAX_CHARACTERS} characters")
    if "digest" in table.column_names:
        wrong = pc.invert(pc.match_substring_regex(table.column("digest"), _DIGEST))
        if pc.any(wrong).as_py():
            raise ValueError(f"the digest of row {_first(wrong)} is no sha256 in hex")
    if "label" in table.column_names:
        labels = table.column("label")
        wrong = pc.or_(pc.less(labels, 0), pc.greater_equal(labels, num_classes))
        if pc.any(wrong).as_py():
            row = _first(wrong)
            raise ValueError(f"the label of row {row} is {labels[row - 1]}, and the data set has {num_classes} classes")


def _first(found: pa.ChunkedArray) -> int:
    """Number of the first true row, from 1."""
    return int(np.flatnonzero(found.to_numpy())[0]) + 1
