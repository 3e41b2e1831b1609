"""Rows of image classification: an image and one label."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from components.core.data.ingestion.items import Inspected, Item, Rejection, Source, printable
from components.core.data.ingestion.locations import Location
from components.core.data.ingestion.sources import (
    TableFiles,
    TableSource,
    locate,
    refuse_without_images,
    tables_in,
)
from components.core.data.ingestion.tables import IMAGE_COLUMNS, LABEL_COLUMN, TABLE_SUFFIXES, Columns
from components.core.data.rows import Demo, refuse_options
from components.core.errors import UserError
from components.core.tasks.classification.class_folders import ClassFolders
from components.core.tasks.images.inspection import REASONS, inspect_image, read_limited

if TYPE_CHECKING:
    from components.core.data.dataset import Dataset

_SPLIT_NAMES = {"train", "training", "val", "valid", "validation", "test", "testing", "eval"}
_FIELDS = {"image": pa.binary(), "label": pa.int32(), "digest": pa.string(), "source": pa.string()}


class ClassificationRows:
    """Rows (image as it was encoded, label, digest of the image, source); see `rows.RowFormat`."""

    task = "classification"
    noun = counted = "images"
    accepted = (
        "'demo', a folder with one sub-folder of images per class, a .parquet, .csv or .jsonl file "
        "(columns label and image, path or uri), or an s3:// URI of these"
    )
    file_suffixes = TABLE_SUFFIXES
    schema = pa.schema([pa.field(name, kind, nullable=False) for name, kind in _FIELDS.items()])
    target_columns = ("label",)
    demo = Demo(
        file=Path(__file__).with_name("demo") / "fashion_mnist.parquet",
        # Part of every manifest of the demo that was ever written; a note at that path says where NOTICE lies now.
        licence="MIT (Fashion-MNIST, Zalando SE; see components/data_prep/demo/NOTICE)",
    )
    reasons = {  # noqa: RUF012  nothing changes it
        **REASONS,
        "unlabelled": "outside of the class folders, or its row has no label",
        "conflicting labels": "the same bytes occur under different labels",
    }
    conflict = "conflicting labels"

    raw_schema = pa.schema([(name, pa.string() if name == "label" else kind) for name, kind in _FIELDS.items()])
    raw_target = "label"
    raw_target_columns = index_columns = ("label",)

    def with_options(self, options: Mapping[str, Any]) -> "ClassificationRows":
        """There are none."""
        refuse_options(self.task, options)
        return self

    # Stored rows

    def target_key(self, row: Mapping[str, Any]) -> bytes:
        """The label as 4 bytes, big-endian."""
        return int(row["label"]).to_bytes(4, "big", signed=True)

    def class_counts(self, row: Mapping[str, Any], num_classes: int) -> np.ndarray:
        """One image of its class."""
        counts = np.zeros(num_classes, dtype=np.int64)
        counts[row["label"]] = 1
        return counts

    # What comes in

    def open_source(self, dataset: str, scratch: Path, *, slice_columns: Sequence[str] = ()) -> Source:
        """Class folders, a table, or a folder of tables."""
        location, table = locate(dataset, self)
        if table is not None:
            return self._table(location, [table], scratch, slice_columns)
        folders = location.folders()
        if len(folders) > 1 and {name.lower() for name in folders} <= _SPLIT_NAMES:
            raise UserError(
                f"dataset {dataset} holds {', '.join(folders)}: these are splits, not classes; trimtab splits by "
                "content itself: give one folder with one sub-folder per class"
            )
        source = ClassFolders(location, folders)
        if any(True for _ in source.labels()):
            if slice_columns:
                raise UserError(
                    f"slice_columns needs a table, and dataset {dataset} is a folder of images, which has no column "
                    f"{slice_columns[0]!r}; give a .parquet, .csv or .jsonl file with label, path and the slice columns"
                )
            return source
        if tables := tables_in(location, TABLE_SUFFIXES):
            return self._table(location, tables, scratch, slice_columns)
        refuse_without_images(
            location, dataset, self.accepted, "holds images but no class folders: put them in one sub-folder per class"
        )

    def _table(self, location: Location, tables: list[str], scratch: Path, slice_columns: Sequence[str]) -> TableSource:
        columns = Columns(files={"image": IMAGE_COLUMNS}, label=LABEL_COLUMN, slices=tuple(slice_columns))
        return TableSource(TableFiles(location, scratch, self.accepted), tables, columns, declaring=(LABEL_COLUMN,))

    def look(self, source: Source, dataset: str) -> list[str]:
        """Two classes are enough of a long table; a folder names all its classes at once."""
        assert isinstance(source, TableSource | ClassFolders), "a source that was opened here"
        classes: list[str] = []
        for label in source.labels():
            if label is not None and label not in classes:
                classes.append(label)
            if len(classes) > 1 and isinstance(source, TableSource):
                break
        self._check(classes, dataset)
        return classes

    def _check(self, classes: Sequence[str], dataset: str) -> None:
        if not classes:
            raise UserError(f"dataset {dataset} has no labelled image; give {self.accepted}")
        if len(classes) == 1:
            raise UserError(f"dataset {dataset} has one class only ({classes[0]!r}); at least two are needed")

    def inspect(self, item: Item, *, max_bytes: int) -> Inspected:
        """Decodes the image, and keeps it as it was encoded."""
        label = None if item.label is None else printable(item.label)
        rejection = item.rejection
        if rejection is None and label is None:
            rejection = Rejection("unlabelled", "no class folder or label")
        data: bytes | Rejection = rejection or read_limited(item.read, item.size, max_bytes)
        if not isinstance(data, Rejection):
            data = inspect_image(data) or data
        # A folder of text files is no class; a folder of broken images is one, and its loss must be said.
        seen = label is not None and not (isinstance(data, Rejection) and data.reason == "unsupported")
        classes = (label,) if label is not None and seen else ()
        if isinstance(data, Rejection):
            return Inspected(name=item.name, label=label, classes=classes, rejection=data)
        row = {"image": data, "label": label, "digest": hashlib.sha256(data).hexdigest()}
        return Inspected(name=item.name, label=label, row=row, classes=classes, slices=item.slices)

    # Raw rows

    def target_name(self, raw_target: str) -> str:
        """The label."""
        return raw_target

    def order_classes(self, found: Mapping[str, int], declared: Sequence[str], dataset: str) -> list[str]:
        """The declared order; else numbers by value; else by name."""
        self._check(list(found), dataset)
        if declared:
            return [name for name in declared if name in found]
        if all(name.isascii() and name.isdigit() for name in found):
            return sorted(found, key=lambda name: (int(name), name))
        return sorted(found)

    def strata(self, found: Mapping[str, int]) -> list[str]:
        """Each class."""
        return list(found)

    def stratum_title(self, stratum: str) -> str:
        """The class by name."""
        return f"class {stratum!r}"

    def stratum(self, raw: Mapping[str, Any]) -> str:
        """Its class."""
        return raw["label"]

    def split_key(self, raw: Mapping[str, Any]) -> str:
        """The digest of the image."""
        return raw["digest"]

    def finished(self, raw: Mapping[str, Any], numbers: Mapping[str, int]) -> dict[str, Any]:
        """The class's number in place of its name."""
        return {**raw, "label": numbers[raw["label"]]}

    # Pages

    def data_blocks(self, dataset: "Dataset") -> list[Any]:
        """Images per class."""
        from components.core.tasks.classification.data_page import data_blocks

        return data_blocks(dataset)

    def samples(self, dataset: "Dataset") -> list[Any]:
        """Images of each class."""
        from components.core.tasks.classification.data_page import samples

        return samples(dataset)
