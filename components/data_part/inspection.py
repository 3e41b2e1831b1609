"""One part of a data set, from the source to the artifact."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from components.core.artifacts.manifest import Manifest
from components.core.data.collect import Part, collect, open_spill
from components.core.data.parts import write_part
from components.core.data.rows import RowFormat

if TYPE_CHECKING:
    from components.core.store import Store


def inspect_part(
    dataset: str,
    rows: RowFormat,
    part: Part,
    artifact_path: str | Path,
    store: "Store",
    *,
    max_bytes: int,
    slice_columns: Sequence[str] = (),
    allow_paths: Sequence[str] = (),
) -> Manifest:
    """Write the inspected rows of `part` to `artifact_path`. Scratch space on disk: about the size of the part.

    Args:
        dataset, slice_columns, allow_paths: as for `RowFormat.open_source`.
        rows: the task's.
        part: which items are read; the others are only listed.
        artifact_path: directory of the KFP artifact.
        store: where the rows go.
        max_bytes: larger files are rejected.

    Raises:
        UserError: the source cannot be opened, or a slice column groups nothing.
        StoreError: the store, or the place of the data, does not answer.
    """
    with tempfile.TemporaryDirectory(prefix="trimtab-part-") as scratch:
        tables = Path(scratch) / "tables"
        tables.mkdir()
        with open_spill(Path(scratch) / "rows", rows, slice_columns) as spill:
            found = collect(
                dataset,
                rows,
                spill,
                tables,
                max_bytes=max_bytes,
                slice_columns=slice_columns,
                allow_paths=allow_paths,
                part=part,
            )
            buckets = spill.finish()
        return write_part(artifact_path, part, found, spill, buckets, store)
