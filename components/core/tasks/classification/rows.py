"""Rows of image classification: an image and one label."""

import hashlib
import posixpath
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa

from components.core.data.ingestion.columns import IMAGE_COLUMNS, LABEL_COLUMNS, Columns
from components.core.data.ingestion.folders import FolderTree, find_class_layout, refuse_without_classes
from components.core.data.ingestion.image_files import is_picture_name
from components.core.data.ingestion.items import Inspected, Item, Rejection, Source, printable
from components.core.data.ingestion.sources import locate, refuse_without_images
from components.core.data.ingestion.table_source import TableFiles, TableSource
from components.core.data.ingestion.tables import TABLE_SUFFIXES
from components.core.data.rows import Demo, group_key, refuse_options, refuse_wrong_texts
from components.core.data.stored_columns import STORED
from components.core.errors import UserError
from components.core.tasks.classification.class_folders import ClassFolders
from components.core.tasks.images.inspection import REASONS, inspect_image, read_item
from components.core.tasks.images.levels import MEASURED, RAW, doubts_of, levels_of
from components.core.tasks.images.near import NEAR

if TYPE_CHECKING:
    from components.core.data.dataset import Dataset

_METADATA = "metadata"
_LOOKED_AT_ROWS = 1000
_SHOWN_CLASSES = 5
_RAW = {"group": pa.string(), **RAW}
_FIELDS = {name: STORED[name] for name in ("image", "label", "digest", "source")}


@dataclass(frozen=True, kw_only=True)
class ClassificationRows:
    """Rows (image as it was encoded, label, digest of the image, source); see `rows.RowFormat`.

    Attributes:
        image_column, label_column: columns of a table; empty: known names are looked for.
        group_column: column of a table whose equal values stay in one split.
        classes: of a model that is there already, in its order; empty: the data say which there are.

    Raises:
        UserError: a value that is no text.
    """

    image_column: str = ""
    label_column: str = ""
    group_column: str = ""
    classes: Sequence[str] = ()

    task = "classification"
    noun = counted = "images"
    accepted = (
        "'demo', a folder with one sub-folder of images per class, a .parquet, .csv, .tsv or .jsonl file "
        "(columns label and image, path or uri), or an s3:// URI of these"
    )
    file_suffixes = TABLE_SUFFIXES
    schema = pa.schema([pa.field(name, kind, nullable=False) for name, kind in _FIELDS.items()])
    target_columns = mix_columns = ("label",)
    mix_titles = ("class", "labels")
    usual_reasons = frozenset({"unsupported"})
    demo = Demo(
        file=Path(__file__).with_name("demo") / "fashion_mnist.parquet",
        # Part of every manifest of the demo that was ever written; a note at that path says where NOTICE lies now.
        licence="MIT (Fashion-MNIST, Zalando SE; see components/data_prep/demo/NOTICE)",
    )
    reasons: ClassVar[Mapping[str, str]] = {
        **REASONS,
        "unlabelled": "outside of the class folders, or its row has no label",
        "empty folder": "a folder among the class folders that holds no file",
        "conflicting labels": "the same bytes occur under different labels",
    }
    conflict = "conflicting labels"

    raw_schema = pa.schema(
        [*((name, pa.string() if name == "label" else kind) for name, kind in _FIELDS.items()), *_RAW.items()]
    )
    raw_target = "label"
    raw_target_columns = ("label",)
    index_columns = ("label", "group")
    measured_columns = tuple(MEASURED)
    near = NEAR
    apart_columns: ClassVar[Mapping[str, str]] = {}

    def __post_init__(self) -> None:
        refuse_wrong_texts(self, "image_column", "label_column", "group_column")

    def with_options(self, options: Mapping[str, Any]) -> "ClassificationRows":
        """The same with other attributes."""
        refuse_options(self.task, options, [field.name for field in fields(self)])
        return replace(self, **options) if options else self

    # Stored rows

    def target_key(self, row: Mapping[str, Any]) -> bytes:
        """The label as 4 bytes, big-endian."""
        return int(row["label"]).to_bytes(4, "big", signed=True)

    def class_counts(self, row: Mapping[str, Any], num_classes: int) -> np.ndarray:
        """One image of its class."""
        counts = np.zeros(num_classes, dtype=np.int64)
        counts[row["label"]] = 1
        return counts

    mix = class_counts

    def mix_groups(self, classes: Sequence[str]) -> list[str]:
        """The classes."""
        return list(classes)

    # What comes in

    def open_source(
        self, dataset: str, scratch: Path, *, slice_columns: Sequence[str] = (), allow_paths: Sequence[str] = ()
    ) -> Source:
        """Class folders, a table, or a folder of tables."""
        location, table = locate(dataset, self)
        files = TableFiles(location, scratch, self.accepted, allow_paths)
        if table is not None:
            return self._table(files, [table], slice_columns)
        tree = FolderTree(location, TABLE_SUFFIXES)
        if tree.tables and not tree.num_images():
            return self._table(files, sorted(tree.tables), slice_columns)
        if not tree.num_images():
            refuse_without_images(location, dataset, self.accepted)
        described = sorted(name for name in tree.tables if posixpath.splitext(posixpath.basename(name))[0] == _METADATA)
        if described and (source := self._metadata(files, described, slice_columns)):
            return source
        if not tree.folders():
            refuse_without_classes(tree, dataset)
        layout = find_class_layout(tree, dataset)
        folders = ClassFolders(location, tree, layout)
        if tree.tables and len(set(folders.labels())) < 2:
            refuse_without_classes(tree, dataset)
        self._refuse_columns(slice_columns, dataset)
        return folders

    def _refuse_columns(self, slice_columns: Sequence[str], dataset: str) -> None:
        for name, column in (("slice_columns", next(iter(slice_columns), "")), ("group_column", self.group_column)):
            if column:
                raise UserError(
                    f"{name} needs a table, and dataset {dataset} is a folder of images, which has no column "
                    f"{column!r}; give a .parquet, .csv or .jsonl file with label, path and that column"
                )

    def _table(self, files: TableFiles, tables: list[str], slice_columns: Sequence[str]) -> TableSource:
        columns = Columns(
            files={"image": (self.image_column,) if self.image_column else IMAGE_COLUMNS},
            label=(self.label_column,) if self.label_column else LABEL_COLUMNS,
            group=self.group_column or None,
            slices=tuple(slice_columns),
        )
        return TableSource(files, tables, columns)

    def _metadata(self, files: TableFiles, tables: list[str], slice_columns: Sequence[str]) -> TableSource | None:
        """Hugging Face's form: ``metadata.csv`` beside the images; None where it says nothing of classes."""
        try:
            source = self._table(files, tables, ())
            if not any(label is not None for label in islice(source.labels(), _LOOKED_AT_ROWS)):
                return None
        except UserError:
            # A table about something else, as a camera's log, says nothing against class folders.
            return None
        return self._table(files, tables, slice_columns)

    def look(self, source: Source, dataset: str) -> list[str]:
        """Two classes are enough of a long table; a folder names all its classes at once."""
        assert isinstance(source, TableSource | ClassFolders), "a source that was opened here"
        classes: list[str] = []
        for label in source.labels():
            if label is not None and label not in classes:
                classes.append(label)
                self._refuse_unknown(classes, dataset)
            if len(classes) > 1 and isinstance(source, TableSource):
                break
        self._check(classes, dataset)
        if isinstance(source, ClassFolders):
            self._refuse_missing(classes, dataset)
        return classes

    def _refuse_unknown(self, found: Iterable[str], dataset: str) -> None:
        if self.classes and (unknown := [name for name in found if name not in self.classes]):
            raise UserError(
                f"dataset {dataset} has {_listed(unknown)}, which the model does not know; its classes are "
                f"{_listed(self.classes)}: labels must be the class names of the data, in the order of the "
                "model's outputs"
            )

    def _refuse_missing(self, found: Collection[str], dataset: str) -> None:
        if missing := [name for name in self.classes if name not in found]:
            raise UserError(
                f"dataset {dataset} has no images of {_listed(missing)}, which the model predicts; every class of "
                "the model needs data"
            )

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
        data: bytes | Rejection = rejection or read_item(item, max_bytes)
        look = data if isinstance(data, Rejection) else inspect_image(data)
        if isinstance(look, Rejection):
            data = look
        # A folder of text files is no class; a folder of broken images is one, and its loss must be said.
        other = isinstance(data, Rejection) and data.reason == "unsupported" and not is_picture_name(item.name)
        seen = label is not None and not other
        classes = (label,) if label is not None and seen else ()
        if isinstance(data, Rejection) or isinstance(look, Rejection):
            rejected = next(one for one in (data, look) if isinstance(one, Rejection))
            return Inspected(name=item.name, label=label, classes=classes, rejection=rejected)
        row = {"image": data, "label": label, "digest": hashlib.sha256(data).hexdigest(), "group": item.group}
        row |= look.measured
        return Inspected(name=item.name, label=label, row=row, classes=classes, slices=item.slices)

    # Raw rows

    def target_name(self, raw_target: str) -> str:
        """The label."""
        return raw_target

    def order_classes(self, found: Mapping[str, int], declared: Sequence[str], dataset: str) -> list[str]:
        """The model's order, where one is there already; the declared one; else numbers by value; else by name."""
        self._check(list(found), dataset)
        if self.classes:
            self._refuse_unknown(found, dataset)
            self._refuse_missing(found, dataset)
            return list(self.classes)
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
        """The digest of the image, or of its group's name."""
        return group_key(raw)

    def finished(self, raw: Mapping[str, Any], numbers: Mapping[str, int]) -> dict[str, Any]:
        """The class's number in place of its name."""
        row = {name: value for name, value in raw.items() if name not in _RAW}
        return {**row, "label": numbers[raw["label"]]}

    def training_facts(self, rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
        """`levels` of images deeper than 8 bits."""
        levels = levels_of(rows)
        return {} if levels is None else {"levels": list(levels)}

    def doubts(self, rows: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
        """Pictures of one colour, and pictures that look the same."""
        return doubts_of(rows, self.noun)

    # Pages

    def data_blocks(self, dataset: "Dataset") -> list[Any]:
        """Images per class."""
        from components.core.tasks.classification.data_page import data_blocks

        return data_blocks(dataset)

    def samples(self, dataset: "Dataset") -> list[Any]:
        """Images of each class."""
        from components.core.tasks.classification.data_page import samples

        return samples(dataset)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:_SHOWN_CLASSES])
    return f"{shown} and {len(names) - _SHOWN_CLASSES} more" if len(names) > _SHOWN_CLASSES else shown
