"""Tables as a source of items, with the files that their rows hold or point to."""

import posixpath
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow as pa

from components.core.data.ingestion.cells import Cell
from components.core.data.ingestion.columns import Columns
from components.core.data.ingestion.items import Item, Rejection
from components.core.data.ingestion.locations import Location, UnreadableError, local_path, open_location
from components.core.data.ingestion.splits import given_splits
from components.core.data.ingestion.tables import Row, declared_names, found_columns, parquet_type, table_rows
from components.core.errors import UserError
from components.core.store import StoreError


@dataclass(frozen=True, kw_only=True)
class Content:
    """One file of a row: a name to show, how to read it (`Item.read`), its size if known; or the `problem`.

    `place`: the location and the name in it, of a file that is not in the table itself.
    """

    name: str
    read: Callable[[int], bytes] = lambda limit: b""
    size: int | None = None
    problem: str | None = None
    place: tuple[Location, str] | None = None


def content_at(shown: str, location: Location, name: str) -> Content:
    """The content of a file in a location."""
    return Content(name=shown, read=reader(location, name), place=(location, name))


class TableFiles:
    """The files that tables hold or point to, and the tables themselves on local disk."""

    def __init__(self, location: Location, scratch: Path, accepted: str) -> None:
        self.location, self._scratch, self._accepted = location, scratch, accepted
        self._local: dict[str, Path] = {}
        self._locations: dict[str, Location] = {}
        self._listed: dict[str, dict[str, str]] = {}

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
        """The file that a cell of row `number` holds or points to."""
        at = f"{posixpath.basename(table)}:{number}"
        if cell.data is not None:
            data = cell.data
            name = f"{at} {posixpath.basename(cell.path)}" if cell.path else at
            return Content(name=name, size=len(data), read=lambda limit: data[: limit + 1])
        if cell.problem is not None:
            return Content(name=at, problem=cell.problem)
        if cell.path is None:
            return Content(name=at, problem=f"the row has no {role}")
        return self._referenced(table, cell.path)

    def _referenced(self, table: str, reference: str) -> Content:
        scheme, separator, _ = reference.partition("://")
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
            content = content_at(shown, location, name)
            own = bucket_of(reference) == bucket_of(self.location.address)
            # That the table's own bucket does not answer is no fault of the row; that another one does not, is.
            return content if own else replace(content, read=_forgiving_reader(location, name))
        if separator and scheme != "file":
            return Content(name=reference, problem=f"cannot read {scheme}:// URIs")
        try:
            path = local_path(reference).as_posix() if separator else reference
        except UserError as error:
            return Content(name=posixpath.basename(reference), problem=str(error))
        if not path.startswith(("/", "~")):
            name = posixpath.normpath(posixpath.join(posixpath.dirname(table), path))
            return content_at(name, self.location, name)
        if remote:
            # Whoever wrote a remote table has no say over the files of the machine that reads it.
            return Content(name=posixpath.basename(path), problem="a table on S3 cannot point to local files")
        try:
            local, home = local_path(path), local_path(self.location.address).absolute()
        except UserError as error:
            return Content(name=posixpath.basename(path), problem=str(error))
        shown = local.relative_to(home).as_posix() if local.is_relative_to(home) else local.name
        return content_at(shown, open_location(str(local.parent)), local.name)

    def stamp(self, place: tuple[Location, str]) -> str:
        """A text that changes whenever the file does; "missing" for a missing file.

        Of objects whole folders are listed: a request for each would take minutes for a hundred thousand.
        """
        location, name = place
        if not location.address.startswith("s3://"):
            try:
                file = location.find(name)
            except UnreadableError:
                return "missing"
            return f"{file.size} {file.stamp}"
        if location.address not in self._listed:
            self._listed[location.address] = {file.name: f"{file.size} {file.stamp}" for file in location.walk()}
        return self._listed[location.address].get(name, "missing")

    def _other_location(self, uri: str) -> Location:
        if uri not in self._locations:
            self._locations[uri] = open_location(uri)
        return self._locations[uri]


class TableSource:
    """Rows of one or several tables.

    Args:
        files: where the tables lie.
        tables: their names; all must declare the same classes, or the same number would mean two. Names as train and
            test give the splits, unless a column does.
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
        self._splits = given_splits(self._tables) if len(self._tables) > 1 else {}
        self.classes = self.declared = self._declared(self._tables[0])
        self._found = found_columns(files.fetched(tables[0]), files.shown(tables[0]), self._columns_of(tables[0]))
        self.split_from = f"the tables {', '.join(self._splits)}" if self._splits else ""
        if self._found.split:
            self.split_from = f"the column {self._found.split!r}"

    def rows(self, *, labels_only: bool = True) -> Iterator[tuple[str, Row]]:
        """The rows of all tables, one table after the other, without their files where the format allows it."""
        for table in self._tables:
            path, columns = self._files.fetched(table), self._columns_of(table)
            for row in table_rows(path, self._files.shown(table), columns, labels_only=labels_only):
                yield table, row if row.split else replace(row, split=self._splits.get(table))

    def _columns_of(self, table: str) -> Columns:
        """A test table without labels is common; its rows are unlabelled, and no reason to refuse the others."""
        needed = self._splits.get(table, "train") == "train"
        return replace(self._columns, label_needed=self._columns.label_needed and needed)

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

    def referenced(self) -> Iterator[str]:
        """Of rows that hold a path; of a Parquet file in a bucket none, since it would be fetched for that."""
        for table in self._tables:
            if table.lower().endswith(".parquet") and self._files.location.address.startswith("s3://"):
                continue
            path, shown, columns = self._files.fetched(table), self._files.shown(table), self._columns_of(table)
            found = found_columns(path, shown, columns)
            if any(_holds_bytes(path, column) for column in found.files.values()):
                continue
            for row in table_rows(path, shown, columns):
                for role, cell in row.files.items():
                    content = self._files.content(table, row.number, cell, role)
                    if content.place:
                        yield f"{content.name}\0{self._files.stamp(content.place)}\n"

    def facts(self) -> dict[str, str]:
        """The columns that were taken under another name than the first."""
        taken = {role: (column, self._columns.files[role][:3]) for role, column in self._found.files.items()}
        if self._found.label:
            taken["label"] = (self._found.label, self._columns.label[:1])
        return {f"column of the {role}": column for role, (column, usual) in taken.items() if column not in usual}

    def _declared(self, table: str) -> list[str]:
        path, columns = self._files.fetched(table), [*self._declaring]
        if self._columns.label and path.suffix.lower() == ".parquet":
            found = found_columns(path, self._files.shown(table), self._columns_of(table))
            columns += [found.label] if found.label else []
        return next(filter(None, (declared_names(path, column) for column in columns)), [])

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
            split=row.split,
            target=self._target(table, row) if self._target and row.problem is None else None,
        )


def _holds_bytes(path: Path, column: str) -> bool:
    kind = parquet_type(path, column)
    return kind is not None and not pa.types.is_string(kind) and not pa.types.is_large_string(kind)


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
