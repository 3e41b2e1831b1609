"""A user's data set, wherever and however it is kept: found, looked at in a moment, and opened as a stream of items.

Which layouts there are is the task's (`rows.RowFormat.open_source`); what they share is here: finding the location, and
tables with the files that their rows hold or point to.
"""

import hashlib
import posixpath
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

from components.core.data.ingestion.items import Item, Rejection
from components.core.data.ingestion.locations import Location, SourceFile, UnreadableError, local_path, open_location
from components.core.data.ingestion.tables import Cell, Columns, Row, declared_names, table_rows
from components.core.data.rows import DEMO, RowFormat
from components.core.data.slices import SliceCounts, refuse_empty
from components.core.errors import UserError
from components.core.store import StoreError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
_LOOKED_AT_ROWS = 10_000


@dataclass(frozen=True, kw_only=True)
class QuickLook:
    """What `quick_look` saw: the `kind` of source ("folder", "table", …), and at least two of the classes."""

    kind: str
    classes: tuple[str, ...]


def quick_look(dataset: str, rows: RowFormat, *, slice_columns: Sequence[str] = ()) -> QuickLook:
    """Check in a moment that `dataset` is there, can be read and looks as `rows` need it.

    Raises:
        UserError: not found, unknown kind, empty, no usable target in sight, one class only, or slice columns that it
            does not have or that do not group its first rows; one line each.
    """
    with tempfile.TemporaryDirectory(prefix="trimtab-look-") as scratch:
        source = rows.open_source(dataset, Path(scratch), slice_columns=slice_columns)
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


def source_state(dataset: str, rows: RowFormat) -> str:
    """A digest that changes when a file of the dataset does: names, sizes and, on local disk, times.

    For a cache key: the name of a folder alone does not say what is in it. Of a table it covers the table itself (on S3
    its etag), not the images that its rows point to.
    """
    if dataset == DEMO:
        return hashlib.sha256(rows.demo.file.read_bytes()).hexdigest()
    location, file = locate(dataset, rows)
    files = location.walk() if file is None else iter([_find_file(location, file, dataset, rows)])
    lines = sorted(f"{file.name}\0{file.size}\0{file.stamp}\n" for file in files)
    return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()


def _find_file(location: Location, file: str, dataset: str, rows: RowFormat) -> SourceFile:
    try:
        return location.find(file)
    except UnreadableError as error:
        raise UserError(f"dataset not found: {dataset} ({error}); give {rows.accepted}") from error


def display_name(dataset: str) -> str:
    """The dataset's name for reports: a URI as it is, of a local path the last part only."""
    if dataset.startswith("s3://") or dataset == DEMO:
        return dataset
    return local_path(dataset).absolute().name


def locate(dataset: str, rows: RowFormat) -> tuple[Location, str | None]:
    """The location to read from, and the file's name in it when `dataset` is a single file.

    Raises:
        UserError: no name, nothing there, or a kind of file that `rows` do not come in.
    """
    if not dataset.strip():
        raise UserError(f"the dataset is not named; give {rows.accepted}")
    if dataset == DEMO:
        return open_location(str(rows.demo.file.parent)), rows.demo.file.name
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
        raise UserError(f"dataset {dataset} is a file of an unknown kind; give {rows.accepted}")
    return open_location(str(path.parent)), path.name


def tables_in(location: Location, suffixes: Sequence[str]) -> list[str]:
    """Names of the tables in a location that holds no images; empty otherwise."""
    tables = []
    for file in location.walk():
        if file.name.lower().endswith(IMAGE_SUFFIXES):
            return []
        tables += [file.name] if file.name.lower().endswith(tuple(suffixes)) else []
    return tables


def refuse_without_images(location: Location, dataset: str, accepted: str, otherwise: str) -> NoReturn:
    """UserError that says what the location holds: nothing, other files, or images, and then `otherwise`."""
    files = list(islice((file.name for file in location.walk()), 100_000))
    if not files:
        what = "is empty or does not exist" if dataset.startswith("s3://") else "is empty"
        raise UserError(f"dataset {dataset} {what}; give {accepted}")
    if any(name.lower().endswith(IMAGE_SUFFIXES) for name in files):
        raise UserError(f"dataset {dataset} {otherwise}")
    raise UserError(f"dataset {dataset} holds no images ({len(files)} other files); give {accepted}")


@dataclass(frozen=True, kw_only=True)
class Content:
    """One file of a row: a name to show, how to read it (`Item.read`), its size if known; or the `problem`."""

    name: str
    read: Callable[[int], bytes] = lambda limit: b""
    size: int | None = None
    problem: str | None = None


class TableFiles:
    """The files that tables hold or point to, and the tables themselves on local disk."""

    def __init__(self, location: Location, scratch: Path, accepted: str) -> None:
        self.location, self._scratch, self._accepted = location, scratch, accepted
        self._local: dict[str, Path] = {}
        self._locations: dict[str, Location] = {}

    def fetched(self, table: str) -> Path:
        """The table on local disk; UserError when it is not there."""
        if table not in self._local:
            try:
                self._local[table] = self.location.fetch(table, self._scratch)
            except UnreadableError as error:
                raise UserError(f"dataset not found: {self.shown(table)}; give {self._accepted}") from error
        return self._local[table]

    def shown(self, table: str) -> str:
        """How messages call a table."""
        return f"{self.location.address}/{table}"

    def content(self, table: str, number: int, cell: Cell, role: str = "image") -> Content:
        """What a cell of row `number` holds or points to."""
        at = f"{posixpath.basename(table)}:{number}"
        if cell.data is not None:
            data = cell.data
            name = f"{at} {posixpath.basename(cell.path)}" if cell.path else at
            return Content(name=name, size=len(data), read=lambda limit: data[: limit + 1])
        if cell.path is None:
            return Content(name=at, problem=f"the row has no {role}")
        return self._referenced(table, cell.path)

    def _referenced(self, table: str, reference: str) -> Content:
        scheme, separator, rest = reference.partition("://")
        remote = self.location.address.startswith("s3://")
        if scheme == "s3" and separator:
            folder, _, name = reference.rpartition("/")
            if not folder.startswith("s3://") or not name:
                return Content(name=reference[:200], problem="the URI names no object: s3://bucket/key")
            shown = reference.removeprefix(f"{self.location.address}/")
            try:
                location = self._other_location(folder)
            except UserError as error:
                return Content(name=shown, problem=str(error))
            own = bucket_of(reference) == bucket_of(self.location.address)
            # That the table's own bucket does not answer is no fault of the row; that another one does not, is.
            return Content(name=shown, read=reader(location, name) if own else _forgiving_reader(location, name))
        if separator and scheme != "file":
            return Content(name=reference, problem=f"cannot read {scheme}:// URIs")
        path = rest if separator else reference
        if not path.startswith(("/", "~")):
            name = posixpath.normpath(posixpath.join(posixpath.dirname(table), path))
            return Content(name=name, read=reader(self.location, name))
        if remote:
            # Whoever wrote a remote table has no say over the files of the machine that reads it.
            return Content(name=posixpath.basename(path), problem="a table on S3 cannot point to local files")
        try:
            local, home = local_path(path), local_path(self.location.address).absolute()
        except UserError as error:
            return Content(name=posixpath.basename(path), problem=str(error))
        shown = local.relative_to(home).as_posix() if local.is_relative_to(home) else local.name
        return Content(name=shown, read=reader(open_location(str(local.parent)), local.name))

    def _other_location(self, uri: str) -> Location:
        if uri not in self._locations:
            self._locations[uri] = open_location(uri)
        return self._locations[uri]


class TableSource:
    """Rows of one or several tables.

    Args:
        files: where the tables lie.
        tables: their names; all must declare the same classes, or the same number would mean two.
        columns: what to read of them.
        declaring: columns that may name the classes, in Hugging Face's metadata.
        target: what the task makes of a row besides its image and its label (`Item.target`), or None.
    """

    kind = "table"
    colours: Mapping[str, tuple[int, int, int]] = MappingProxyType({})

    def __init__(
        self,
        files: TableFiles,
        tables: Sequence[str],
        columns: Columns,
        *,
        declaring: Sequence[str] = (),
        target: Callable[[str, Row], Any] | None = None,
    ) -> None:
        self._files, self._tables, self._columns, self._target = files, list(tables), columns, target
        self._declaring = tuple(declaring)
        self.classes = self.declared = self._declared(self._tables[0])

    def rows(self, *, labels_only: bool = True) -> Iterator[tuple[str, Row]]:
        """The rows of all tables, one table after the other, without their files where the format allows it."""
        for table in self._tables:
            path = self._files.fetched(table)
            for row in table_rows(path, self._files.shown(table), self._columns, labels_only=labels_only):
                yield table, row

    def labels(self) -> Iterator[str | None]:
        """Labels alone."""
        for _, row in self.rows():
            yield row.label

    def slice_values(self) -> Iterator[tuple[str | None, ...]]:
        for _, row in self.rows():
            yield row.slices

    def items(self) -> Iterator[Item]:
        agreed = set[str]()
        for table, row in self.rows(labels_only=False):
            if table not in agreed and self._declared(table) != self.declared:
                raise UserError(f"{self._files.shown(table)} declares other classes than {self._tables[0]}")
            agreed.add(table)
            yield self._item(table, row)

    def facts(self) -> dict[str, str]:
        return {}

    def _declared(self, table: str) -> list[str]:
        path = self._files.fetched(table)
        return next(filter(None, (declared_names(path, column) for column in self._declaring)), [])

    def _item(self, table: str, row: Row) -> Item:
        if row.problem is not None:
            content = Content(name=f"{posixpath.basename(table)}:{row.number}", problem=row.problem)
        else:
            content = self._files.content(table, row.number, row.files["image"])
        return Item(
            name=content.name,
            label=row.label,
            read=content.read,
            size=content.size,
            rejection=None if content.problem is None else Rejection("unreadable", content.problem),
            slices=row.slices,
            group=row.group,
            target=self._target(table, row) if self._target and row.problem is None else None,
        )


def bucket_of(uri: str) -> str:
    """The bucket of an s3:// URI; of anything else the empty text."""
    return uri.removeprefix("s3://").partition("/")[0] if uri.startswith("s3://") else ""


def _forgiving_reader(location: Location, name: str) -> Callable[[int], bytes]:
    def read(limit: int) -> bytes:
        try:
            return location.read(name, limit)
        except StoreError as error:
            raise UnreadableError(str(error)) from None

    return read


def reader(location: Location, name: str) -> Callable[[int], bytes]:
    """How an item reads the file `name` of a location."""
    return lambda limit: location.read(name, limit)
