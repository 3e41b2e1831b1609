"""A user's sentence pairs as a stream of items: Moses, tables, translation memories, catalogs; alone or in a folder."""

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from components.core.data.ingestion.columns import Columns
from components.core.data.ingestion.items import Item, Rejection
from components.core.data.ingestion.locations import Location, UnreadableError
from components.core.data.ingestion.splits import given_splits
from components.core.errors import UserError
from components.core.tasks.translation.pair_files import PairFile, read_pairs
from components.core.tasks.translation.pairs import Pair

UNREADABLE = "unreadable file"
REASONS = {UNREADABLE: "the file, or the rest of it, cannot be read; one entry per file"}


class PairSource:
    """Pairs of one or several files.

    Args:
        location: where the files lie.
        files: what is read, in this order.
        scratch: a folder for copies of remote files.
        languages: of source and target.
        columns: of tables.
    """

    classes: list[str] = []  # noqa: RUF012
    colours: Mapping[str, tuple[int, int, int]] = MappingProxyType({})

    def __init__(
        self,
        location: Location,
        files: Sequence[PairFile],
        scratch: Path,
        languages: tuple[str, str],
        columns: Columns,
    ) -> None:
        self._location, self._files, self._scratch = location, list(files), scratch
        self._languages, self._columns = languages, columns
        self._paths: dict[str, Path] = {}
        self._shifts: dict[str, str] = {}
        self._splits = given_splits([file.names[0] for file in files]) if len(files) > 1 else {}
        self.split_from = f"the files {', '.join(self._splits)}" if self._splits else ""
        if table := next((file for file in files if file.kind == "table"), None):
            # Its first row shows whether it has the columns.
            next(self._pairs(table), None)
        kinds = list(dict.fromkeys(file.kind for file in files))
        self.kind = " and ".join(kinds)

    def items(self) -> Iterator[Item]:
        for file in self._files:
            shown = file.names[0]
            try:
                for pair in self._pairs(file):
                    if pair.split and not self.split_from:
                        self.split_from = "a column of the table"
                    split = pair.split or self._splits.get(shown)
                    yield _item(f"{shown}:{pair.name}", pair, split=split, num_slices=len(self._columns.slices))
            except UserError as error:
                # Among others a damaged catalog is one entry of the quarantine; two files that do not fit are no case
                # for it, since the user can mend them and would lose all of them.
                if len(self._files) == 1 or file.kind in ("Moses", "table"):
                    raise
                lost = Pair(name="", problem=Rejection(UNREADABLE, str(error)[:500]))
                yield _item(shown, lost, split=None, num_slices=len(self._columns.slices))

    def _pairs(self, file: PairFile) -> Iterator[Pair]:
        pairs, shifts = read_pairs(file, self._fetched(file), self._languages, self._columns)
        for shift in shifts:
            self._shifts.setdefault(file.names[0], str(shift))
        return pairs

    def _fetched(self, file: PairFile) -> list[Path]:
        for name in file.names:
            if name not in self._paths:
                try:
                    self._paths[name] = self._location.fetch(name, self._scratch)
                except UnreadableError as error:
                    raise UserError(f"cannot read {self._location.address}/{name}: {error}") from error
        return [self._paths[name] for name in file.names]

    def slice_values(self) -> Iterator[tuple[str | None, ...]]:
        for file in self._files:
            for pair in self._pairs(file):
                yield pair.slices

    def referenced(self) -> Iterator[str]:
        """The second of two files: of a single data set only the one that is named is looked at besides."""
        for file in self._files:
            for name in file.names[1:]:
                found = self._location.find(name)
                yield f"{name}\0{found.size}\0{found.stamp}\n"

    def facts(self) -> dict[str, str]:
        """Languages, files, and where lines are shifted."""
        counts: dict[str, int] = {}
        for file in self._files:
            counts[file.kind] = counts.get(file.kind, 0) + 1
        facts = {
            "languages": " to ".join(self._languages),
            "files": ", ".join(f"{count} {kind}" for kind, count in counts.items()),
        }
        if self._shifts:
            facts["shifted"] = "; ".join(f"{posixpath.basename(n)}: {said}" for n, said in self._shifts.items())[:500]
        return facts


def _item(name: str, pair: Pair, *, split: str | None, num_slices: int) -> Item:
    return Item(
        name=name,
        label=None,
        read=lambda limit: b"",
        target=pair,
        group=pair.group,
        split=split,
        slices=pair.slices or (None,) * num_slices,
    )
