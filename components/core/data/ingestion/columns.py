"""Which columns of a user's table are read: by the names that people give them, or as the user says."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from components.core.data.ingestion.image_files import is_image_name
from components.core.data.ingestion.splits import SPLIT_COLUMNS
from components.core.errors import UserError

IMAGE_COLUMNS = (
    "image", "path", "uri", "img", "image_path", "img_path", "filepath", "file_path", "filename", "file_name", "file",
    "image_file", "image_name", "picture", "photo",
)  # fmt: skip
LABEL_COLUMNS = (
    "label", "labels", "class", "class_name", "classname", "target", "category", "label_name", "fine_label", "species",
)  # fmt: skip
"""In the order in which they are taken: the first that a table has."""


@dataclass(frozen=True, kw_only=True)
class FoundColumns:
    """The columns of one table: of each role's file or text, of the label and of a given split, where it has these."""

    files: Mapping[str, str]
    label: str | None
    split: str | None
    texts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Which columns of a table a task reads. Case, blanks around a name, and `-` or a blank for `_` do not matter.

    Attributes:
        files: the names that the column of each role may have, by role; the first that is there is taken.
        label: the same of the column of the class; empty: the task reads none.
        label_needed: whether a table without it is refused, or its rows have no label.
        split: the same of the column that holds a given split; empty: none is looked for.
        group: the column whose equal values stay in one split, or none.
        slices: further columns, whose values each row brings along.
        texts: as `files`, of columns whose cells are the content itself, as it stands there.
    """

    files: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    label: tuple[str, ...] = ()
    label_needed: bool = True
    split: tuple[str, ...] = SPLIT_COLUMNS
    group: str | None = None
    slices: tuple[str, ...] = ()
    texts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def found_in(self, names: Sequence[str], table: str) -> FoundColumns:
        """The columns of a table with these columns.

        Raises:
            UserError: the label's or a file's is missing, with the nearest and the parameter that names another; or a
                group or slice column that is not there or holds the labels or files.
        """
        label = self.label_of(names)
        if self.label and label is None and self.label_needed:
            raise _missing("label", self.label, names, table)
        files = self._each(self.files, names, table)
        texts = self._each(self.texts, names, table)
        own = self.used_of(names)
        check_columns(self.slices, names, table, "slice_columns", own=own)
        check_columns([self.group] if self.group else [], names, table, "group_column", own=own)
        return FoundColumns(files=files, label=label, split=self.split_of(names), texts=texts)

    @staticmethod
    def _each(roles: Mapping[str, tuple[str, ...]], names: Sequence[str], table: str) -> dict[str, str]:
        found = {}
        for role, candidates in roles.items():
            column = _first(candidates, names)
            if column is None:
                raise _missing(role, candidates, names, table)
            found[role] = column
        return found

    def label_of(self, names: Iterable[str]) -> str | None:
        """The label's column."""
        return _first(self.label, names)

    def file_of(self, role: str, names: Iterable[str]) -> str | None:
        """The column of a role's files."""
        return _first(self.files[role], names)

    def text_of(self, role: str, names: Iterable[str]) -> str | None:
        """The column of a role's texts."""
        return _first(self.texts[role], names)

    def split_of(self, names: Iterable[str]) -> str | None:
        """The column of a given split, unless it is asked for as a slice."""
        column = _first(self.split, names)
        return None if column in self.slices else column

    def used_of(self, names: Iterable[str]) -> tuple[str, ...]:
        """The columns that hold files, texts or the label."""
        listed = list(names)
        found = [self.label_of(listed), *(self.file_of(role, listed) for role in self.files)]
        found += [self.text_of(role, listed) for role in self.texts]
        return tuple(column for column in found if column is not None)


def check_columns(
    wanted: Sequence[str], found: Sequence[str], table: str, parameter: str, *, own: Sequence[str]
) -> None:
    """UserError for the first wanted column that the table does not have, or that is one of its `own`: files, label."""
    for column in wanted:
        if column in own:
            raise UserError(
                f"{parameter} names {column!r}, which holds the labels, images or texts; name another column"
            )
        if column not in found:
            others = [str(other) for other in found if other not in own]
            listed = ", ".join(others[:10]) or "none"
            near = _nearest([column], others, cutoff=0.5)
            raise UserError(f"{table} has no column {column!r} for {parameter}{near}; other columns: {listed}")


def _first(candidates: Sequence[str], names: Iterable[str]) -> str | None:
    """The column that the earliest candidate names: exactly, else in another spelling."""
    listed = [name for name in names if isinstance(name, str)]
    plain = {_plain(name): name for name in reversed(listed)}
    for candidate in candidates:
        if candidate in listed:
            return candidate
    return next((plain[_plain(candidate)] for candidate in candidates if _plain(candidate) in plain), None)


def _plain(name: str) -> str:
    return name.strip().lower().replace(" ", "_").replace("-", "_")


def _missing(role: str, candidates: Sequence[str], names: Sequence[str], table: str) -> UserError:
    listed = ", ".join(str(name) for name in list(names)[:10]) or "none"
    expected = f"one of {', '.join(candidates)}" if len(candidates) > 1 else repr(candidates[0])
    near = _nearest(candidates, [str(name) for name in names])
    remedy = f"name it with {role}_column"
    if file := next((name for name in names if is_image_name(str(name))), None):
        remedy = f"{file!r} looks like a file: the first line must name the columns"
    return UserError(f"{table} has no {role} column; expected {expected}{near}; columns: {listed}; {remedy}")


def _nearest(wanted: Sequence[str], names: Sequence[str], cutoff: float = 0.6) -> str:
    close = [match for name in wanted for match in difflib.get_close_matches(name, names, n=1, cutoff=cutoff)]
    if not close:
        close = [name for name in names for one in wanted if len(one) > 3 and one in _plain(name)]
    return f"; did you mean {close[0]!r}?" if close else ""
