"""Where a file lies that the rows of a table name and that is not there: most often in a folder beside the table."""

import posixpath
from collections.abc import Sequence
from itertools import islice

from components.core.data.ingestion.items import Rejection
from components.core.data.ingestion.locations import LocalLocation, Location
from components.core.data.ingestion.sources import locate
from components.core.data.rows import RowFormat
from components.core.errors import UserError

_NO_FILE = "no such file"
_MOST_FILES = 200_000
"""Files that are looked through for one."""


def missing_files(rejected: Sequence[tuple[str, str | None, Rejection]]) -> list[str]:
    """Names of the files that rows name and that are not there, sorted."""
    return sorted(name for name, _, rejection in rejected if rejection.detail.endswith(_NO_FILE))


def advice(dataset: str, rows: RowFormat, missing: Sequence[str]) -> str:
    """One sentence that says how to write the first of the names; empty where no file of that name is found.

    Only of data on local disk: a bucket would have to be listed.

    Args:
        dataset: as the user gave it.
        rows: the task's.
        missing: `missing_files`, relative to the data set's folder.
    """
    if not missing:
        return ""
    try:
        location, table = locate(dataset, rows)
        found = _found(location, missing[0]) if isinstance(location, LocalLocation) else None
    except UserError:
        return ""
    return "" if found is None else _sentence(missing[0], found, at_top=table is not None)


def _found(location: Location, name: str) -> str | None:
    """The file whose path ends with the name, or else the first that is called the same, or so without its suffix."""
    last, alike = posixpath.basename(name), dict[bool, str]()
    for file in islice(location.walk(), _MOST_FILES):
        if file.name.endswith(f"/{name}"):
            return file.name
        called = posixpath.basename(file.name)
        if called == last:
            alike.setdefault(True, file.name)
        elif posixpath.splitext(called)[0] == last:
            alike.setdefault(False, file.name)
    return alike.get(True) or alike.get(False)


def _sentence(name: str, found: str, *, at_top: bool) -> str:
    if not found.endswith(f"/{name}"):
        return f"the table's rows name {name!r}, but the file is {found!r}: name files relative to the table's folder"
    folder = found.removesuffix(name)
    move = f", or move the table into {folder}" if at_top or "/" not in name else ""
    return f"the table's rows name {name!r}, which lies in {folder}: write {found}{move}"
