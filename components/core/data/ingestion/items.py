"""Items of a user's data set before and after inspection, and the reasons for rejecting one."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol


class Rejection(NamedTuple):
    """Why an item is rejected: `reason` is the category that is counted, `detail` explains this one case."""

    reason: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class Item:
    """One row of a source.

    Attributes:
        name: relative to the dataset, never an absolute path; as unique as the names in the source are.
        label: class name, None when the item has none.
        read: `read(limit)` gives the content's bytes, at most `limit` + 1; raises `UnreadableError`.
        size: bytes, when known without reading.
        rejection: why there is nothing to read (an empty row, a text file); None normally.
        slices: for each slice column that the source was opened with, the item's value or None.
        target: what the task learns from, for a task whose target is not a label; the task's own source sets it.
        group: items of one group (one patient, one scene) go into one split; None: the item stands alone.
        split: the split that the user has given it: train, validation or test (or a word that is none of these, as it
            stands in the data); None where none is given.
        unsure: the name does not say whether it is an image, so that its first bytes must (`image_files`).
    """

    name: str
    label: str | None
    read: Callable[[int], bytes]
    size: int | None = None
    rejection: Rejection | None = None
    slices: tuple[str | None, ...] = ()
    target: Any = None
    group: str | None = None
    split: str | None = None
    unsure: bool = False


class Source(Protocol):
    """An opened data set whose items have not been decoded yet."""

    kind: str
    """Kind of source, for messages: "folder", "table"."""

    classes: list[str]
    """Class names that the source declares, in their order; empty when it declares none."""

    colours: Mapping[str, tuple[int, int, int]]
    """RGB of the classes that the source declares a colour of, each 0..255."""

    split_from: str
    """Where the splits of the items come from, for people: "the folders train, test"; empty where none are given."""

    def items(self) -> Iterator[Item]:
        """Stream all items, including those that cannot be used."""

    def referenced(self) -> Iterator[str]:
        """Name, size and time (on S3 the etag) of each file that it points to; for a cache key."""

    def slice_values(self) -> Iterator[tuple[str | None, ...]]:
        """Stream only the slice values of each row, as cheaply as the source allows."""

    def facts(self) -> dict[str, str]:
        """How the source was read where that was not evident (which column is the label), for page and manifest."""


@dataclass(frozen=True, kw_only=True)
class Inspected:
    """An item after inspection: its raw `row`, or a `rejection`.

    Attributes:
        name: of the item.
        label: class name for the quarantine table; None for a task without labels.
        row: the columns of the task's raw schema except `source`; empty for a rejected item.
        classes: names of the classes that occur in the row.
        rejection: why it is not used, or None.
        slices: copied from the item.
    """

    name: str
    label: str | None = None
    row: dict[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    rejection: Rejection | None = None
    slices: tuple[str | None, ...] = ()


def printable(name: str) -> str:
    """Escape what is invalid Unicode: a file name may contain it, a Parquet string may not."""
    return name.encode("utf-8", "backslashreplace").decode()
