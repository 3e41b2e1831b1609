"""Which files of a place hold sentence pairs, and how each is read."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from components.core.data.ingestion.columns import Columns
from components.core.data.ingestion.items import Rejection
from components.core.data.ingestion.tables import TABLE_SUFFIXES
from components.core.errors import UserError
from components.core.tasks.translation.gettext_catalogs import catalog_pairs
from components.core.tasks.translation.languages import code_of, codes_of
from components.core.tasks.translation.pairs import (
    Pair,
    line_lengths,
    moses_files,
    moses_pairs,
    table_pairs,
    tsv_pairs,
)
from components.core.tasks.translation.shifts import SHIFTED, Shift, shifts_found
from components.core.tasks.translation.tmx import tmx_pairs

CATALOG_SUFFIXES, MEMORY_SUFFIX = (".po", ".mo"), ".tmx"
SUFFIXES = (*TABLE_SUFFIXES, MEMORY_SUFFIX, *CATALOG_SUFFIXES)
"""Of files that hold pairs by themselves."""

_GETTEXT_FOLDER = re.compile(r"(?:^|/)([A-Za-z]{2,3}(?:[_-][A-Za-z0-9]+)*(?:@\w+)?)/LC_MESSAGES/")
Kind = Literal["Moses", "table", "TMX", "catalog"]


@dataclass(frozen=True, kw_only=True)
class PairFile:
    """A file of pairs, or two files of lines.

    Attributes:
        kind: how it is read.
        names: of the file, or of the source's and the target's.
        swapped: a catalog whose messages are in the target language.
    """

    kind: Kind
    names: tuple[str, ...]
    swapped: bool = False


def find_pair_files(names: Iterable[str], languages: tuple[str, str], place: str) -> list[PairFile]:
    """The files among these names that hold pairs, in the order of the names; others are passed over.

    Raises:
        UserError: one side of two Moses files alone, or catalogs of other languages only.
    """
    listed = sorted(names)
    found = [PairFile(kind="Moses", names=pair) for pair in moses_files(listed, *languages)]
    by_suffix = {suffix: [name for name in listed if name.lower().endswith(suffix)] for suffix in SUFFIXES}
    found += [PairFile(kind="table", names=(name,)) for suffix in TABLE_SUFFIXES for name in by_suffix[suffix]]
    found += [PairFile(kind="TMX", names=(name,)) for name in by_suffix[MEMORY_SUFFIX]]
    # A compiled catalog says nothing that its source beside it does not.
    sources = {name[: -len(".po")] for name in by_suffix[".po"]}
    catalogs = [*by_suffix[".po"], *(name for name in by_suffix[".mo"] if name[: -len(".mo")] not in sources)]
    found += _catalogs(sorted(catalogs), languages, place)
    return sorted(found, key=lambda file: file.names)


def _catalogs(names: Sequence[str], languages: tuple[str, str], place: str) -> list[PairFile]:
    """Those of the translated language; messages are taken to be the other one. A name that says none is taken."""
    swapped = code_of(languages[1]).startswith("en") and not code_of(languages[0]).startswith("en")
    wanted = codes_of(languages[0] if swapped else languages[1])
    said = {name: code_of(match[1]) if (match := _GETTEXT_FOLDER.search(name)) else None for name in names}
    codes = set(said.values()) - {None}
    # Without "pt-br" its "pt" is next, and any "pt-…" for a plain "pt".
    chosen = next((code for code in wanted if code in codes), None)
    regions = {code for code in codes if code and code.split("-")[0] == wanted[0]} if len(wanted) == 1 else set()
    taken = {chosen} if chosen else regions
    kept = [name for name, code in said.items() if code is None or code in taken]
    if names and not kept:
        counted = ", ".join(code for code, _ in Counter(said.values()).most_common(10) if code)
        raise UserError(f"{place} holds gettext catalogs for {counted}, but none for {wanted[0]}")
    return [PairFile(kind="catalog", names=(name,), swapped=swapped) for name in kept]


def read_pairs(
    file: PairFile, paths: Sequence[Path], languages: tuple[str, str], columns: Columns
) -> tuple[Iterator[Pair], list[Shift]]:
    """The pairs of a file, and where two files of lines are shifted: pairs there have that problem.

    Args:
        file: what is read.
        paths: its local files, in the order of `names`.
        languages: of source and target.
        columns: of tables.

    Raises:
        UserError: before the first pair or at a damaged place; see the reader of its kind.
    """
    if file.kind == "Moses":
        pairs = moses_pairs(*paths)
        shifts = shifts_found(*(line_lengths(path) for path in paths))
        return _marked(pairs, shifts) if shifts else pairs, shifts
    if file.kind == "table":
        (path,) = paths
        read = tsv_pairs(path, columns) if path.suffix.lower() == ".tsv" else table_pairs(path, columns, languages)
        return read, []
    if file.kind == "TMX":
        return tmx_pairs(paths[0], source=languages[0], target=languages[1]), []
    pairs = catalog_pairs(paths[0])
    return (_turned(pairs) if file.swapped else pairs), []


def _marked(pairs: Iterator[Pair], shifts: Sequence[Shift]) -> Iterator[Pair]:
    left = list(shifts)
    for number, pair in enumerate(pairs):
        if left and number >= left[0].stop:
            left.pop(0)
        if left and number >= left[0].start and pair.problem is None:
            yield replace(pair, problem=Rejection(SHIFTED, str(left[0])))
        else:
            yield pair


def _turned(pairs: Iterator[Pair]) -> Iterator[Pair]:
    for pair in pairs:
        yield replace(pair, source=pair.target, target=pair.source)
