"""A user's labelled images, wherever and however they are kept, as one stream of `Item`s.

Accepted: "demo" (embedded), a folder with one sub-folder per class, a table (see `tables`), or an ``s3://`` URI of
either; also a folder that holds tables. `quick_look` refuses in a moment what cannot work, without decoding anything.
"""

import hashlib
import posixpath
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, Protocol

from components.core.data.ingestion.locations import Location, SourceFile, UnreadableError, local_path, open_location
from components.core.data.ingestion.tables import TABLE_SUFFIXES, Row, declared_classes, table_rows
from components.core.data.slices import SliceCounts, refuse_empty
from components.core.errors import UserError

DEMO = "demo"
DEMO_LICENCE = "MIT (Fashion-MNIST, Zalando SE; see components/data_prep/demo/NOTICE)"
DEMO_FILE = Path(__file__).parents[3] / "data_prep" / "demo" / "fashion_mnist.parquet"
"""A data file, not an import: core knows no stage."""

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
ACCEPTED = (
    "'demo', a folder with one sub-folder of images per class, a .parquet, .csv or .jsonl file "
    "(columns label and image, path or uri), or an s3:// URI of these"
)
_LOOKED_AT_ROWS = 10_000
_SPLIT_NAMES = {"train", "training", "val", "valid", "validation", "test", "testing", "eval"}


class Rejection(NamedTuple):
    """Why an image is not used: a `reason` to count by, and a `detail` for the reader."""

    reason: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class Item:
    """One image of a source.

    Attributes:
        name: unique as far as the source is, relative to the dataset; never a path of this machine.
        label: class name, None when the image has none.
        read: `read(limit)` gives its bytes, at most `limit` + 1; raises `UnreadableError`.
        size: bytes, when known without reading.
        rejection: why there is nothing to read (an empty row, a text file); None normally.
        slices: for each slice column that the source was opened with, the image's value or None.
    """

    name: str
    label: str | None
    read: Callable[[int], bytes]
    size: int | None = None
    rejection: Rejection | None = None
    slices: tuple[str | None, ...] = ()


class Source(Protocol):
    """A labelled set of images."""

    classes: list[str]
    """Class names that the source declares, in their order; empty when it declares none."""

    def items(self) -> Iterator[Item]:
        """All images, streamed; also those that cannot be used."""

    def labels(self) -> Iterator[str | None]:
        """Labels alone, as cheaply as the source allows; a folder gives each class once."""


@dataclass(frozen=True, kw_only=True)
class QuickLook:
    """What `quick_look` saw: `kind` "folder" or "table", and at least two of the classes."""

    kind: str
    classes: tuple[str, ...]


def quick_look(dataset: str, *, slice_columns: Sequence[str] = ()) -> QuickLook:
    """Check in a moment that `dataset` is there, can be read and has two classes; nothing is decoded.

    Raises:
        UserError: not found, unknown kind, empty, no labels, one class only, or slice columns that it does not have or
            that do not group its first rows; one line each.
    """
    with tempfile.TemporaryDirectory(prefix="trimtab-look-") as scratch:
        source = open_source(dataset, Path(scratch), slice_columns=slice_columns)
        classes: list[str] = []
        for label in source.labels():
            if label is not None and label not in classes:
                classes.append(label)
            # A folder names all its classes at once; a long table is not read to its end.
            if len(classes) > 1 and isinstance(source, TableSource):
                break
        check_classes(classes, dataset)
        if slice_columns and isinstance(source, TableSource):
            _look_at_slices(source, slice_columns)
        return QuickLook(kind="table" if isinstance(source, TableSource) else "folder", classes=tuple(classes))


def _look_at_slices(source: "TableSource", columns: Sequence[str]) -> None:
    found = SliceCounts(columns)
    for number, row in enumerate(source.rows()):
        # The preparation counts all rows; here it is enough to know a column that groups nothing, or is not filled in.
        if number >= _LOOKED_AT_ROWS and not found.empty:
            return
        found.add(row.slices)
    refuse_empty(found, "row")


def check_classes(classes: list[str], dataset: str) -> None:
    """UserError unless there are two classes or more."""
    if not classes:
        raise UserError(f"dataset {dataset} has no labelled image; give {ACCEPTED}")
    if len(classes) == 1:
        raise UserError(f"dataset {dataset} has one class only ({classes[0]!r}); at least two are needed")


def source_state(dataset: str) -> str:
    """A digest that changes when a file of the dataset does: names, sizes and, on local disk, times.

    For a cache key: the name of a folder alone does not say what is in it. Of a table it covers the table itself (on S3
    its etag), not the images that its rows point to.
    """
    if dataset == DEMO:
        return hashlib.sha256(DEMO_FILE.read_bytes()).hexdigest()
    location, table = _locate(dataset)
    files = location.walk() if table is None else iter([_find_table(location, table, dataset)])
    lines = sorted(f"{file.name}\0{file.size}\0{file.stamp}\n" for file in files)
    return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()


def _find_table(location: Location, table: str, dataset: str) -> SourceFile:
    try:
        return location.find(table)
    except UnreadableError as error:
        raise UserError(f"dataset not found: {dataset} ({error}); give {ACCEPTED}") from error


def open_source(dataset: str, scratch: Path, *, slice_columns: Sequence[str] = ()) -> Source:
    """The source that `dataset` names.

    Args:
        dataset: see the module.
        scratch: an existing folder for copies of remote tables, which the caller removes.
        slice_columns: columns of the table that each item brings along.

    Raises:
        UserError: not found, unknown kind, or nothing in it; slice columns of a folder of images, which has none.
    """
    if not dataset.strip():
        raise UserError(f"the dataset is not named; give {ACCEPTED}")
    if dataset == DEMO:
        return TableSource(open_location(str(DEMO_FILE.parent)), [DEMO_FILE.name], scratch, slice_columns)
    location, table = _locate(dataset)
    if table is not None:
        return TableSource(location, [table], scratch, slice_columns)
    folders = location.folders()
    if len(folders) > 1 and {name.lower() for name in folders} <= _SPLIT_NAMES:
        raise UserError(
            f"dataset {dataset} holds {', '.join(folders)}: these are splits, not classes; trimtab splits by content "
            "itself: give one folder with one sub-folder per class"
        )
    source = FolderSource(location, folders)
    if any(True for _ in source.labels()):
        if slice_columns:
            raise UserError(
                f"slice_columns needs a table, and dataset {dataset} is a folder of images, which has no column "
                f"{slice_columns[0]!r}; give a .parquet, .csv or .jsonl file with label, path and the slice columns"
            )
        return source
    return _tables_or_refusal(location, dataset, scratch, slice_columns)


def display_name(dataset: str) -> str:
    """The dataset's name for reports: a URI as it is, of a local path the last part only."""
    if dataset.startswith("s3://") or dataset == DEMO:
        return dataset
    return local_path(dataset).absolute().name


def _locate(dataset: str) -> tuple[Location, str | None]:
    """The location to read from, and the table's name in it when `dataset` is a single file."""
    suffix = posixpath.splitext(dataset)[1].lower()
    if dataset.startswith("s3://"):
        if suffix in TABLE_SUFFIXES:
            parent, _, name = dataset.rpartition("/")
            return open_location(parent), name
        return open_location(dataset), None
    path = local_path(dataset)
    try:
        if path.is_dir():
            return open_location(dataset), None
        if not path.exists():
            raise UserError(f"dataset not found: {dataset}; give {ACCEPTED}")
    except OSError as error:
        raise UserError(f"cannot read dataset {dataset}: {(error.strerror or 'error').lower()}") from error
    if suffix not in TABLE_SUFFIXES:
        raise UserError(f"dataset {dataset} is a file of an unknown kind; give {ACCEPTED}")
    return open_location(str(path.parent)), path.name


def _tables_or_refusal(location: Location, dataset: str, scratch: Path, slice_columns: Sequence[str]) -> Source:
    tables, files, images = [], 0, 0
    for file in location.walk():
        files += 1
        tables += [file.name] if file.name.lower().endswith(TABLE_SUFFIXES) else []
        images += file.name.lower().endswith(IMAGE_SUFFIXES)
    if tables and not images:
        return TableSource(location, tables, scratch, slice_columns)
    if not files:
        what = "is empty or does not exist" if dataset.startswith("s3://") else "is empty"
        raise UserError(f"dataset {dataset} {what}; give {ACCEPTED}")
    if images:
        raise UserError(f"dataset {dataset} holds images but no class folders: put them in one sub-folder per class")
    raise UserError(f"dataset {dataset} holds no images ({files} other files); give {ACCEPTED}")


class FolderSource:
    """One sub-folder per class, images at any depth below it. An image outside of all class folders is unlabelled."""

    def __init__(self, location: Location, folders: list[str]) -> None:
        self.classes: list[str] = []
        self._location, self._folders = location, folders

    def labels(self) -> Iterator[str | None]:
        for name in self._folders:
            if any(file.name.lower().endswith(IMAGE_SUFFIXES) for file in self._location.folder(name).walk()):
                yield name

    def items(self) -> Iterator[Item]:
        for file in self._location.walk():
            label = file.name.partition("/")[0] if "/" in file.name else None
            suffix = posixpath.splitext(file.name)[1].lower()
            rejection = None
            if suffix not in IMAGE_SUFFIXES:
                rejection = Rejection("unsupported", f"files {suffix or 'without a suffix'} are not read")
            read = _reader(self._location, file.name)
            yield Item(name=file.name, label=label, size=file.size, read=read, rejection=rejection)


class TableSource:
    """Rows of one or several tables."""

    def __init__(self, location: Location, tables: list[str], scratch: Path, slice_columns: Sequence[str] = ()) -> None:
        self._location, self._tables, self._scratch, self._slices = location, tables, scratch, tuple(slice_columns)
        self._local: dict[str, Path] = {}
        self._locations: dict[str, Location] = {}
        # What a later table declares must agree, or the same number would mean two classes.
        self.classes = declared_classes(self._fetched(tables[0])) if tables[0].lower().endswith(".parquet") else []

    def labels(self) -> Iterator[str | None]:
        for row in self.rows():
            yield row.label

    def rows(self) -> Iterator[Row]:
        """The rows of all tables, one table after the other, without their images where the format allows it."""
        for table in self._tables:
            yield from self._rows(table, labels_only=True)

    def _rows(self, table: str, *, labels_only: bool = False) -> Iterator[Row]:
        return table_rows(self._fetched(table), self._shown(table), labels_only=labels_only, slices=self._slices)

    def items(self) -> Iterator[Item]:
        for table in self._tables:
            path = self._fetched(table)
            if path.suffix.lower() == ".parquet" and declared_classes(path) != self.classes:
                raise UserError(f"{self._shown(table)} declares other classes than {self._tables[0]}")
            for row in self._rows(table):
                item = self._item(table, row)
                yield replace(item, slices=row.slices) if self._slices else item

    def _item(self, table: str, row: Row) -> Item:
        location = f"{posixpath.basename(table)}:{row.number}"
        if row.problem is not None:
            return _unreadable(location, row.label, row.problem)
        if row.data is not None:
            data = row.data
            name = f"{location} {posixpath.basename(row.path)}" if row.path else location
            return Item(name=name, label=row.label, size=len(data), read=lambda limit: data[: limit + 1])
        assert row.path is not None, "a row has data, a path or a problem"
        return self._referenced(table, row.path, row.label)

    def _referenced(self, table: str, reference: str, label: str | None) -> Item:
        scheme, separator, rest = reference.partition("://")
        remote = self._location.address.startswith("s3://")
        if scheme == "s3" and separator:
            folder, _, name = reference.rpartition("/")
            shown = reference.removeprefix(f"{self._location.address}/")
            try:
                location = self._other_location(folder)
            except UserError as error:
                return _unreadable(shown, label, str(error))
            return Item(name=shown, label=label, read=_reader(location, name))
        if separator and scheme != "file":
            return _unreadable(reference, label, f"cannot read {scheme}:// URIs")
        path = rest if separator else reference
        if not path.startswith(("/", "~")):
            name = posixpath.normpath(posixpath.join(posixpath.dirname(table), path))
            return Item(name=name, label=label, read=_reader(self._location, name))
        if remote:
            # Whoever wrote a remote table has no say over the files of the machine that reads it.
            return _unreadable(posixpath.basename(path), label, "a table on S3 cannot point to local files")
        local, home = local_path(path), local_path(self._location.address).absolute()
        shown = local.relative_to(home).as_posix() if local.is_relative_to(home) else local.name
        return Item(name=shown, label=label, read=_reader(open_location(str(local.parent)), local.name))

    def _other_location(self, uri: str) -> Location:
        if uri not in self._locations:
            self._locations[uri] = open_location(uri)
        return self._locations[uri]

    def _fetched(self, table: str) -> Path:
        if table not in self._local:
            try:
                self._local[table] = self._location.fetch(table, self._scratch)
            except UnreadableError as error:
                raise UserError(f"dataset not found: {self._shown(table)}; give {ACCEPTED}") from error
        return self._local[table]

    def _shown(self, table: str) -> str:
        return f"{self._location.address}/{table}"


def _reader(location: Location, name: str) -> Callable[[int], bytes]:
    return lambda limit: location.read(name, limit)


def _unreadable(name: str, label: str | None, detail: str) -> Item:
    return Item(name=name, label=label, read=lambda limit: b"", rejection=Rejection("unreadable", detail))
