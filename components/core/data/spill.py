"""Rows set aside on disk, sorted coarsely by digest: an external sort for data that does not fit into memory."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa

from components.core.data.slices import shard_column, sliced_schema

BUFFER_BYTES = 64 * 1000 * 1000
"""Memory used before rows are written out, bytes."""

_BUCKET = re.compile(r"[0-9a-f]{2}")
_ROW_BYTES = 1000
"""Bytes of a row's objects beside its content."""


class Spill:
    """Raw rows and their slices in up to 256 files by the first byte of their digest.

    Bucket after bucket gives the order of the digests, and equal digests lie in one bucket, so duplicates are found
    and shards are written with one bucket's index in memory; the contents stay on disk (memory-mapped).

    Args:
        folder: an existing folder for the files.
        schema: columns of a raw row; with `digest` and `source`.
        slice_columns: of the user's table.
    """

    def __init__(self, folder: Path, schema: pa.Schema, slice_columns: Sequence[str] = ()) -> None:
        self._folder = folder
        self._columns = [shard_column(column) for column in slice_columns]
        self._schema = sliced_schema(schema, slice_columns)
        self._buffer: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self._buffered_bytes = 0
        self._files: dict[str, pa.RecordBatchStreamWriter] = {}

    def __enter__(self) -> "Spill":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close_files()

    def add(self, row: Mapping[str, Any], slices: Sequence[str | None] = ()) -> None:
        """Set one row aside."""
        self._buffer[row["digest"][:2]].append({**row, **dict(zip(self._columns, slices, strict=True))})
        self._buffered_bytes += _ROW_BYTES + sum(len(value) for value in row.values() if isinstance(value, bytes | str))
        if self._buffered_bytes >= BUFFER_BYTES:
            self._flush()

    def take(self, batch: pa.RecordBatch) -> None:
        """Set the rows of a batch of another spill's bucket aside; not to be mixed with `add`.

        Raises:
            ValueError: rows of another schema, or a digest that is none.
        """
        bucket = batch.column("digest")[0].as_py()[:2]
        if not _BUCKET.fullmatch(bucket):
            raise ValueError(f"a row has the digest {bucket!r}…, which is no sha256 in hex")
        self._file(bucket).write_batch(batch)

    def finish(self) -> list[str]:
        """No more rows; the names of the buckets in the order of their digests."""
        self._flush()
        names = sorted(self._files)
        self._close_files()
        return names

    def table(self, bucket: str) -> pa.Table:
        """All rows of a bucket, memory-mapped, in the order they came."""
        with pa.memory_map(str(self._folder / bucket)) as file:
            return pa.ipc.open_stream(file).read_all()

    def _flush(self) -> None:
        for bucket, rows in self._buffer.items():
            self._file(bucket).write_table(pa.Table.from_pylist(rows, schema=self._schema))
        self._buffer.clear()
        self._buffered_bytes = 0

    def _file(self, bucket: str) -> pa.RecordBatchStreamWriter:
        if bucket not in self._files:
            self._files[bucket] = pa.ipc.new_stream(str(self._folder / bucket), self._schema)
        return self._files[bucket]

    def _close_files(self) -> None:
        for file in self._files.values():
            file.close()
        self._files.clear()
