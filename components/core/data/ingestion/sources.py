"""A user's data set, wherever and however it is kept: found, looked at in a moment, and opened as a stream of items.

Which layouts there are is the task's (`rows.RowFormat.open_source`); what they share is beside this file: tables and
the files that their rows hold or point to (`table_source`), and folders (`folders`).
"""

import hashlib
import posixpath
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NoReturn

from components.core.data.ingestion.image_files import IMAGE_SUFFIXES, remedy
from components.core.data.ingestion.locations import (
    PACKAGES,
    Location,
    SourceFile,
    UnreadableError,
    local_path,
    open_location,
)
from components.core.data.ingestion.table_source import TableSource
from components.core.data.rows import DEMO, Demo, RowFormat
from components.core.data.slices import SliceCounts, refuse_empty
from components.core.errors import UserError

_LOOKED_AT_ROWS = 10_000


@dataclass(frozen=True, kw_only=True)
class QuickLook:
    """Result of `quick_look`: the `kind` of source ("folder", "table", …), and at least two of the classes."""

    kind: str
    classes: tuple[str, ...]


def quick_look(
    dataset: str, rows: RowFormat, *, slice_columns: Sequence[str] = (), allow_paths: Sequence[str] = ()
) -> QuickLook:
    """Check in a moment that `dataset` is there, can be read and looks as `rows` need it.

    Args:
        dataset, slice_columns, allow_paths: as for `RowFormat.open_source`.
        rows: the task's.

    Raises:
        UserError: not found, unknown kind, empty, no usable target in sight, one class only, slice columns that it
            does not have or that do not group its first rows, or rows that name files out of reach; one line each.
    """
    with tempfile.TemporaryDirectory(prefix="trimtab-look-") as scratch:
        source = rows.open_source(dataset, Path(scratch), slice_columns=slice_columns, allow_paths=allow_paths)
        if isinstance(source, TableSource):
            source.refuse_outside()
        classes = rows.look(source, dataset)
        if slice_columns:
            _look_at_slices(source.slice_values(), slice_columns)
        return QuickLook(kind=source.kind, classes=tuple(classes))


def _look_at_slices(values: Iterator[tuple[str | None, ...]], columns: Sequence[str]) -> None:
    found = SliceCounts(columns)
    for number, row in enumerate(values):
        # The preparation counts all rows; here it is enough to know a column that groups nothing, or is not filled in.
        if number >= _LOOKED_AT_ROWS and not found.empty:
            return
        found.add(row)
    refuse_empty(found, "row")


def source_state(dataset: str, rows: RowFormat, *, allow_paths: Sequence[str] = ()) -> str:
    """A digest that changes when a file of the dataset does: names, sizes and, on local disk, times (on S3 etags).

    For a cache key: the name of a folder alone does not say what is in it. Of a table it covers the table itself and
    the files that its rows point to (`Source.referenced`).

    Raises:
        UserError: as `RowFormat.open_source`.
    """
    if dataset == DEMO and rows.demo.file:
        return hashlib.sha256(rows.demo.file.read_bytes()).hexdigest()
    location, file = locate(dataset, rows)
    files = location.walk() if file is None else iter([_find_file(location, file, dataset, rows)])
    lines = sorted(f"{file.name}\0{file.size}\0{file.stamp}\n" for file in files)
    with tempfile.TemporaryDirectory(prefix="trimtab-look-") as scratch:
        lines += sorted(rows.open_source(dataset, Path(scratch), allow_paths=allow_paths).referenced())
    return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()


def _find_file(location: Location, file: str, dataset: str, rows: RowFormat) -> SourceFile:
    try:
        return location.find(file)
    except UnreadableError as error:
        raise UserError(f"dataset not found: {dataset} ({error}); give {rows.accepted}") from error


def display_name(dataset: str) -> str:
    """The dataset's name for reports: a URI as it is, of a local path the last part only."""
    if dataset.startswith(("s3://", PACKAGES)) or dataset == DEMO:
        return dataset
    return local_path(dataset).absolute().name


def locate(dataset: str, rows: RowFormat) -> tuple[Location, str | None]:
    """The location to read from, and the file's name in it when `dataset` is a single file.

    Raises:
        UserError: no name, nothing there, or a kind of file that `rows` do not come in.
    """
    if not dataset.strip():
        raise UserError(f"no dataset is given; give {rows.accepted}")
    if dataset == DEMO:
        return _locate_demo(rows.demo)
    if dataset.startswith(PACKAGES):
        return open_location(dataset), None
    suffix = posixpath.splitext(dataset)[1].lower()
    if dataset.startswith("s3://"):
        if suffix in rows.file_suffixes:
            parent, _, name = dataset.rpartition("/")
            return open_location(parent), name
        return open_location(dataset), None
    path = local_path(dataset)
    try:
        if path.is_dir():
            return open_location(dataset), None
        if not path.exists():
            raise UserError(f"dataset not found: {dataset}; give {rows.accepted}")
    except OSError as error:
        raise UserError(f"cannot read dataset {dataset}: {(error.strerror or 'error').lower()}") from error
    if suffix not in rows.file_suffixes:
        first = remedy([dataset], "file")
        raise UserError(f"dataset {dataset} is a file of an unknown kind; {first}give {rows.accepted}")
    return open_location(str(path.parent)), path.name


def _locate_demo(demo: Demo) -> tuple[Location, str | None]:
    if demo.file:
        return open_location(str(demo.file.parent)), demo.file.name
    try:
        return open_location(PACKAGES + ",".join(demo.packages)), None
    except UserError as error:
        raise UserError(f"the demo's data: {error} (pip install 'trimtab[{demo.extra}]')") from error


def tables_in(location: Location, suffixes: Sequence[str]) -> list[str]:
    """Names of the tables in a location that holds no images; empty otherwise."""
    tables = []
    for file in location.walk():
        if file.name.lower().endswith(IMAGE_SUFFIXES):
            return []
        tables += [file.name] if file.name.lower().endswith(tuple(suffixes)) else []
    return sorted(tables)


def refuse_without_images(location: Location, dataset: str, accepted: str, otherwise: str = "") -> NoReturn:
    """UserError that says what the location holds: nothing, other files, or images, and then `otherwise`."""
    files = list(islice((file.name for file in location.walk()), 100_000))
    if not files:
        what = "is empty or does not exist" if dataset.startswith("s3://") else "is empty"
        raise UserError(f"dataset {dataset} {what}; give {accepted}")
    if otherwise and any(name.lower().endswith(IMAGE_SUFFIXES) for name in files):
        raise UserError(f"dataset {dataset} {otherwise}")
    first = remedy(files, "files")
    raise UserError(f"dataset {dataset} holds no images ({len(files)} other files); {first}give {accepted}")
