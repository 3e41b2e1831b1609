"""A task's description of its rows: how a user's items become stored rows, and what data sets and stages ask of them.

`components.core.tasks` implements it, one `rows.py` per task; `task.rows` gives it. Nothing here knows a task.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from components.core.data.ingestion.items import Inspected, Item, Source
from components.core.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

    from components.core.data.near_copies import NearCopies

DEMO = "demo"
"""Name of the task's own embedded data set, for users."""

CONTENT_IN_TWO_SPLITS = "content in two splits"
"""Reason of the quarantine for rows that `RowFormat.apart_columns` keeps apart."""


@dataclass(frozen=True, kw_only=True)
class Demo:
    """A data set that needs no download: a table in the repository, or files of packages of an extra.

    Attributes:
        licence: as manifests and cards state it.
        file: the table.
        packages, extra: names of the packages, and of the extra that installs them; where there is no `file`.
        description: what must be said of its rows wherever a figure of them is shown: that they are synthetic.
    """

    licence: str
    file: Path | None = None
    packages: tuple[str, ...] = ()
    extra: str = ""
    description: str | None = None


class StoredRows(Protocol):
    """Description of rows for reading and writing a data set."""

    @property
    def task(self) -> str:
        """Name of the task, as the manifest states it."""

    @property
    def schema(self) -> "pa.Schema":
        """Columns of a stored row; always with `digest` (sha256 hex of the content) and `source`."""

    @property
    def target_columns(self) -> tuple[str, ...]:
        """The stored columns that `target_key` and `class_counts` read."""

    def target_key(self, row: Mapping[str, Any]) -> bytes:
        """The row's target as bytes, for the data set's fingerprint: equal for equal targets, however encoded."""

    def class_counts(self, row: Mapping[str, Any], num_classes: int) -> np.ndarray | None:
        """The row's count for each class, int64 `(num_classes,)`: one image, or its pixels; None without classes."""


class MixedRows(StoredRows, Protocol):
    """Description of stored rows for drift: the groups whose shares it compares, most often the classes."""

    @property
    def mix_titles(self) -> tuple[str, str]:
        """The nouns for a group and for what has drifted when shares change: "class" and "labels"."""

    @property
    def usual_reasons(self) -> frozenset[str]:
        """Reasons of the quarantine that are no faults: that more rows have them says nothing of what arrives."""

    @property
    def mix_columns(self) -> tuple[str, ...]:
        """The stored columns that `mix` reads."""

    def mix_groups(self, classes: Sequence[str]) -> list[str]:
        """Names of the groups for a data set with these classes."""

    def mix(self, row: Mapping[str, Any], num_classes: int) -> np.ndarray | None:
        """The row's count for each group, int64 `(groups,)`."""


class RowFormat(MixedRows, Protocol):
    """A task's rows from a user's data set to the stored row; see the module. Implementations are stateless."""

    @property
    def noun(self) -> str:
        """The noun for rows, in the plural: "images"."""

    @property
    def counted(self) -> str:
        """The noun for what `class_counts` counts, in the plural: "images", "pixels"."""

    @property
    def accepted(self) -> str:
        """The accepted kinds of data sets, as the end of "give …" in a refusal."""

    @property
    def file_suffixes(self) -> tuple[str, ...]:
        """Suffixes of single files that are a data set, in lower case."""

    @property
    def demo(self) -> Demo:
        """The embedded data set."""

    @property
    def reasons(self) -> Mapping[str, str]:
        """Every reason of the quarantine, with its meaning."""

    def with_options(self, options: Mapping[str, Any]) -> "RowFormat":
        """The same with the task's own data parameters; UserError for an unknown name or a wrong value."""

    # What comes in

    def open_source(
        self, dataset: str, scratch: Path, *, slice_columns: Sequence[str] = (), allow_paths: Sequence[str] = ()
    ) -> Source:
        """The source that `dataset` names.

        Args:
            dataset: "demo", or what `accepted` says.
            scratch: an existing folder for copies of remote files, which the caller removes.
            slice_columns: columns of the table that each item brings along.
            allow_paths: folders and s3:// URIs that the rows of a table may name beside what lies in the table's own
                folder or bucket (`ingestion.reach`).

        Raises:
            UserError: not found, unknown kind, nothing in it, or slice columns that it cannot have; one line each.
        """

    def look(self, source: Source, dataset: str) -> list[str]:
        """Classes of the source as far as a moment's look shows them.

        Raises:
            UserError: it cannot work: one class only, no labels, nothing usable among what was looked at.
        """

    def inspect(self, item: Item, *, max_bytes: int) -> Inspected:
        """Read and check one item; called in several threads. The cheap reasons to refuse it come first.

        Raises:
            StoreError: the store behind the item does not answer. That says nothing about the item.
        """

    # Raw rows: before the numbers of the classes are known

    @property
    def raw_schema(self) -> "pa.Schema":
        """Columns of a raw row; always with `digest` and `source`."""

    @property
    def raw_target(self) -> str:
        """The raw text column that is equal for equal targets."""

    @property
    def raw_target_columns(self) -> tuple[str, ...]:
        """The raw columns that `finished` needs for a row's target."""

    @property
    def index_columns(self) -> tuple[str, ...]:
        """The raw columns that `stratum` and `split_key` read; small ones, they are held in memory by parts."""

    @property
    def measured_columns(self) -> tuple[str, ...]:
        """The raw columns that `training_facts` and `doubts` read; small ones."""

    def training_facts(self, rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
        """Facts of the training rows that preprocessing needs, for the manifest; most often none."""

    def doubts(self, rows: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
        """A title and a sentence for whatever looks wrong with the rows that are kept."""

    @property
    def near(self) -> "NearCopies | None":
        """How near copies are found; None where the task does not look for them."""

    @property
    def conflict(self) -> str:
        """The reason under which one content with two targets is quarantined."""

    def target_name(self, raw_target: str) -> str:
        """A raw target for people, "cats"; empty when it has no name."""

    def order_classes(self, found: Mapping[str, int], declared: Sequence[str], dataset: str) -> list[str]:
        """Class names in the order of their numbers.

        Args:
            found: usable rows per class that was seen; 0 where all were refused.
            declared: as the source declares them.
            dataset: for messages.

        Raises:
            UserError: fewer than two classes.
        """

    def strata(self, found: Mapping[str, int]) -> list[str]:
        """Names of the parts of the data of which each split must have something."""

    def stratum_title(self, stratum: str) -> str:
        """A stratum in a message: "class 'boot'"."""

    def stratum(self, raw: Mapping[str, Any]) -> str:
        """Which of `strata` a raw row belongs to."""

    def split_key(self, raw: Mapping[str, Any]) -> str:
        """sha256 hex digest that decides the split: the content's own, or that of its group."""

    @property
    def apart_columns(self) -> Mapping[str, str]:
        """Raw uint64 columns whose values must not lie on both sides of a split, with their names for people.

        Most often none.

        A row of the training split that shares such a value with a row of the test or validation split is left out, and
        so is one of the validation split that shares it with the test split. Given splits and groups do not matter.
        """

    def finished(self, raw: Mapping[str, Any], numbers: Mapping[str, int]) -> dict[str, Any]:
        """The stored row; of a raw row with some columns only, those columns. `numbers` are those of the classes."""

    # Pages

    def data_blocks(self, dataset: Any) -> list[Any]:
        """The data page's block on the classes."""

    def samples(self, dataset: Any) -> list[Any]:
        """The data page's block on the training rows."""


def group_key(raw: Mapping[str, Any]) -> str:
    """The key that decides the split of a raw row: its digest, or that of the name of its `group`, sha256 in hex."""
    group = raw["group"]
    return str(raw["digest"]) if group is None else hashlib.sha256(f"group\0{group}".encode()).hexdigest()


def refuse_wrong_texts(rows: Any, *names: str) -> None:
    """UserError for the first of these attributes that is no text."""
    for name in names:
        if not isinstance(getattr(rows, name), str):
            raise UserError(f"{name} must be text, got {getattr(rows, name)!r}")


def refuse_options(task: str, options: Mapping[str, Any], known: Sequence[str] = ()) -> None:
    """UserError for the first option that the task's rows do not know."""
    for name in options:
        if name not in known:
            has = f"known: {', '.join(known)}" if known else f"{task} has no data parameters of its own"
            raise UserError(f"unknown data parameter {name!r} for {task}; {has}")
