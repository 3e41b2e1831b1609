"""Tables as a source of items, with the files that their rows hold or point to."""

import posixpath
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow as pa

from components.core.data.ingestion.cells import Cell
from components.core.data.ingestion.columns import Columns
from components.core.data.ingestion.items import Item, Rejection
from components.core.data.ingestion.labels import check_lengths
from components.core.data.ingestion.locations import Location, UnreadableError, local_path, open_location
from components.core.data.ingestion.reach import Reach, bucket_of, leaves, normal, parameter_for
from components.core.data.ingestion.splits import given_splits
from components.core.data.ingestion.tables import Row, declared_names, found_columns, parquet_type, table_rows
from components.core.errors import UserError
from components.core.store import StoreError

# Without the path: reasons stand in reports, which show none of this machine's.
_ALLOWED = "; the parameter allow_paths can allow it"
_LOOKED_AT_ROWS = 10_000
_FEW = 0.01
"""Share of the rows that may name files out of reach without the table being refused."""


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
    """The files that tables hold or point to, and the tables themselves on local disk.

    Args:
        location: where the tables lie.
        scratch: an existing folder for copies of remote tables.
        accepted: what a data set may be, for messages.
        allow_paths: what their rows may name beside what lies there (`reach`).
    """

    def __init__(self, location: Location, scratch: Path, accepted: str, allow_paths: Sequence[str] = ()) -> None:
        self.location, self._scratch, self._accepted = location, scratch, accepted
        self._reach = Reach(location.address, allow_paths)
        self._local: dict[str, Path] = {}
        self._locations: dict[str, Location] = {}
        self._listed: dict[str, dict[str, str]] = {}

    def fetched(self, table: str) -> Path:
        """The table on local disk; UserError when it is not there."""
        if table not in self._local:
            try:
                self._local[table] = self.location.fetch(table, self._scratch)
            except UnreadableError as error:
                raise UserError(f"dataset not found: {self.shown(table)} ({error}); give {self._accepted}") from error
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

    def outside(self, table: str, cell: Cell) -> str | None:
        """The URI or absolute path of a cell that names something out of reach; None of any other cell."""
        if cell.data is not None or cell.path is None:
            return None
        found = self._target(table, cell.path)
        if isinstance(found, Path):
            # Nothing allows that to a remote table.
            held = self.location.address.startswith("s3://") or self._reach.holds_path(found)
            return None if held else found.as_posix()
        is_uri = found is None and cell.path.startswith("s3://")
        return cell.path if is_uri and not self._reach.holds_uri(cell.path) else None

    def _target(self, table: str, reference: str) -> "str | Path | None":
        """Of a reference: a name in the location, a path of this machine, or None for a URI or what is no reference."""
        scheme, separator, _ = reference.partition("://")
        if separator and scheme != "file":
            return None
        try:
            path = local_path(reference).as_posix() if separator else reference
            if not path.startswith(("/", "~")):
                name = posixpath.normpath(posixpath.join(posixpath.dirname(table), path))
                if not leaves(name) or self.location.address.startswith("s3://"):
                    return name
                path = posixpath.join(local_path(self.location.address).absolute(), name.replace("\\", "/"))
            return normal(local_path(path))
        except UserError:
            return None

    def _referenced(self, table: str, reference: str) -> Content:
        scheme, separator, _ = reference.partition("://")
        if scheme == "s3" and separator:
            return self._of_uri(reference)
        if separator and scheme != "file":
            return Content(name=reference, problem=f"cannot read {scheme}:// URIs")
        try:
            local_path(reference)
        except UserError as error:
            return Content(name=posixpath.basename(reference), problem=str(error))
        target = self._target(table, reference)
        if isinstance(target, str):
            return content_at(target, self.location, target)
        if target is None or self.location.address.startswith("s3://"):
            # Whoever wrote a remote table has no say over the files of the machine that reads it.
            return Content(name=posixpath.basename(reference), problem="a table on S3 cannot point to local files")
        if not self._reach.holds_path(target):
            return Content(name=target.name, problem=f"it lies outside of the table's folder{_ALLOWED}")
        home = local_path(self.location.address).absolute()
        shown = target.relative_to(home).as_posix() if target.is_relative_to(home) else target.name
        return content_at(shown, open_location(str(target.parent)), target.name)

    def _of_uri(self, uri: str) -> Content:
        folder, _, name = uri.rpartition("/")
        if not folder.startswith("s3://") or not name:
            return Content(name=uri[:200], problem="the URI names no object: s3://bucket/key")
        shown = uri.removeprefix(f"{self.location.address}/")
        if not self._reach.holds_uri(uri):
            return Content(name=shown, problem=f"it lies outside of the table's own bucket{_ALLOWED}")
        try:
            location = self._other_location(folder)
        except UserError as error:
            return Content(name=shown, problem=str(error))
        content = content_at(shown, location, name)
        own = bucket_of(uri) == bucket_of(self.location.address)
        # That the table's own bucket does not answer is no fault of the row; that another one does not, is.
        return content if own else replace(content, read=_forgiving_reader(location, name))

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
                raise UserError(f"{self._files.shown(table)} and {self._tables[0]} declare different classes")
            agreed.add(table)
            yield self._item(table, row)

    def referenced(self) -> Iterator[str]:
        """Of rows that hold a path. If the first table holds its files, no further one is fetched to look for paths."""
        whole = any(_holds_bytes(self._files.fetched(self._tables[0]), name) for name in self._found.files.values())
        for table in self._tables:
            if whole and table.lower().endswith(".parquet") and self._files.location.address.startswith("s3://"):
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

    def refuse_outside(self) -> None:
        """UserError if more than a few of the first rows name files out of reach, with the parameter that allows it.

        A few are those rows' fault, and are set aside with the rest that cannot be read.
        """
        outside: dict[int, str] = {}
        first, num_looked_at = "", 0
        for table, row in islice(self._path_rows(), _LOOKED_AT_ROWS):
            num_looked_at += 1
            for cell in row.files.values():
                if target := self._files.outside(table, cell):
                    first = first or f"{self._files.shown(table)}, row {row.number}: {target}"
                    outside[num_looked_at] = target
        if len(outside) > _FEW * num_looked_at:
            raise UserError(
                f"{len(outside):,} of {num_looked_at:,} rows name files outside of the table's folder or bucket; "
                f"first: {first}; to read them, give {parameter_for(outside.values())}"
            )

    def _path_rows(self) -> Iterator[tuple[str, Row]]:
        """Rows of the tables whose files may be paths."""
        for table in self._tables:
            path, shown, columns = self._files.fetched(table), self._files.shown(table), self._columns_of(table)
            found = found_columns(path, shown, columns)
            if not any(_holds_bytes(path, column) for column in found.files.values()):
                for row in table_rows(path, shown, columns):
                    yield table, row

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
        names = next(filter(None, (declared_names(path, column) for column in columns)), [])
        check_lengths(names, self._files.shown(table))
        return names

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
