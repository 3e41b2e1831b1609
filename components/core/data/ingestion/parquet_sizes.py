"""Refuses Parquet files of some kilobytes that decode to gigabytes, before they are decoded.

A file says what it stores and what that becomes in its footer, and in the headers of its pages (`parquet_pages`). Arrow
goes by the latter where the footer says less.
"""

import os
from collections.abc import Collection, Sequence
from io import FileIO
from pathlib import Path

import pyarrow.parquet as pq

from components.core.data.ingestion.parquet_pages import DamagedPageError, bytes_of_pages
from components.core.errors import UserError

# Pictures and numbers shrink by some per cent, repeated texts by their dictionary, which is counted small already.
_SURELY_FINE_BYTES, _MOST_EXPANSION = 64 * 2**20, 100

_MOST_PLAIN_EXPANSION = 4
"""Of a file whose values are stored as they are: an empty one, of a bit or none, takes 4 bytes when it is decoded."""


def check_stated_sizes(metadata: pq.FileMetaData, path: Path, name: str) -> None:
    """A row group is decoded at once, so what it says of its size must fit what is there.

    Of whole groups: Arrow ends the process when it is asked for the size of a column that is damaged.

    Raises:
        UserError: it does not.
    """
    stored = path.stat().st_size
    for group in range(metadata.num_row_groups):
        _check_group(metadata.row_group(group).total_byte_size, group, stored, name)


def check_page_sizes(metadata: pq.FileMetaData, path: Path, name: str, columns: Sequence[str]) -> None:
    """The same by what the pages of some columns say, for the footer may say less.

    Raises:
        UserError: a group does not fit, or the file is damaged.
    """
    stored = path.stat().st_size
    try:
        sizes = bytes_of_pages(path, _leaves(metadata, columns))
    except (DamagedPageError, OSError) as error:
        raise UserError(f"{name} is not a readable Parquet file: {_line(error)}") from error
    if len(sizes) != metadata.num_row_groups:
        raise UserError(f"{name} is not a readable Parquet file: its footer is damaged")
    for group, size in enumerate(sizes):
        _check_group(size, group, stored, name)


def check_whole_size(metadata: pq.FileMetaData, file: FileIO, columns: Sequence[str] | None) -> None:
    """Some columns of a file that is decoded whole, and whose values were stored as they are (`_MOST_PLAIN_EXPANSION`).

    Args:
        metadata: of the file.
        file: open; its position does not change.
        columns: names; None = all.

    Raises:
        DamagedPageError: it expands to more than it should, or its footer or a page's header is damaged.
    """
    stored = os.fstat(file.fileno()).st_size
    sizes = bytes_of_pages(file, _leaves(metadata, columns), repeated=True)
    if len(sizes) != metadata.num_row_groups:
        raise DamagedPageError("its footer is damaged")
    if _is_too_large(sum(sizes), stored, _MOST_PLAIN_EXPANSION):
        raise DamagedPageError(
            f"it {_said(sum(sizes), stored)}, more than {_MOST_PLAIN_EXPANSION} times the stored size"
        )


def _leaves(metadata: pq.FileMetaData, columns: Sequence[str] | None) -> Collection[int]:
    """Places of the leaves that belong to these columns."""
    if columns is None:
        return range(metadata.num_columns)
    leaves = [metadata.schema.column(place).path for place in range(metadata.num_columns)]
    return {
        place for place, leaf in enumerate(leaves) if any(leaf == one or leaf.startswith(f"{one}.") for one in columns)
    }


def _check_group(size: int, group: int, stored: int, name: str) -> None:
    if _is_too_large(size, stored, _MOST_EXPANSION):
        raise UserError(
            f"{name}: row group {group + 1} {_said(size, stored)}; more than {_MOST_EXPANSION} times the stored size "
            "is refused"
        )


def _is_too_large(size: int, stored: int, most_expansion: int) -> bool:
    return size > _SURELY_FINE_BYTES and size > most_expansion * max(stored, 1)


def _said(size: int, stored: int) -> str:
    return f"expands to {size // 2**20} MB in a file of {max(stored, 1) // 2**10} kB"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
