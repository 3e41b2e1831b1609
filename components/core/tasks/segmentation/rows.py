"""Rows of semantic segmentation: an image, and a mask of class numbers."""

import hashlib
import posixpath
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa

from components.core.data.ingestion.columns import IMAGE_COLUMNS, Columns
from components.core.data.ingestion.items import Inspected, Item, Rejection, Source
from components.core.data.ingestion.locations import Location
from components.core.data.ingestion.sources import locate, refuse_without_images, tables_in
from components.core.data.ingestion.splits import given_splits
from components.core.data.ingestion.table_source import TableFiles, TableSource
from components.core.data.ingestion.tables import TABLE_SUFFIXES, Row
from components.core.data.rows import DEMO, Demo, group_key, refuse_options, refuse_wrong_texts
from components.core.data.stored_columns import STORED
from components.core.errors import UserError
from components.core.tasks.images import inspection
from components.core.tasks.images.assets import check_classes
from components.core.tasks.images.in_flight import DECODED, MASK_PIXEL_BYTES
from components.core.tasks.images.levels import MEASURED, RAW, doubts_of, levels_of
from components.core.tasks.images.near import NEAR
from components.core.tasks.images.preprocess import strips
from components.core.tasks.segmentation.class_list import FILE_NAMES, ClassList, find_class_list
from components.core.tasks.segmentation.coco import CocoSource, CocoSplits
from components.core.tasks.segmentation.layouts import PairedFolders, find_layouts
from components.core.tasks.segmentation.masks import IGNORED, MAX_CLASSES, encode, stored_mask
from components.core.tasks.segmentation.targets import NO_PAIR, MaskFile

if TYPE_CHECKING:
    from components.core.data.dataset import Dataset

MASK_COLUMNS = ("mask", "annotation", "mask_path", "mask_file", "segmentation", "segmentation_mask", "seg_map")
_LOOKED_AT = 64
_LOOK_SECONDS = 2.0
_FIELDS = {name: STORED[name] for name in ("image", "mask", "digest", "source")}
_RAW = {"target": pa.string(), "numbered": pa.bool_(), "group": pa.string(), **RAW}


@dataclass(frozen=True, kw_only=True)
class SegmentationRows:
    """Rows (image as it was encoded, mask as PNG of class numbers with 255 ignored, digest of the image, source).

    Attributes:
        ignore_index: value in the mask files that counts nowhere; -1: none.
        group_column: column of a table whose equal values stay in one split.
        group_folders: the folders below `images/` stay whole in one split.
        image_column, mask_column: columns of a table; empty: known names are looked for.
        classes_file: path or ``s3://`` URI of a list of classes (`class_list`); empty: the one beside the data.
        classes: of a model that is there already, in its order; empty: the data say which there are.

    Raises:
        UserError: a value out of range, or two ways to group.
    """

    ignore_index: int = IGNORED
    group_column: str = ""
    group_folders: bool = False
    classes_file: str = ""
    image_column: str = ""
    mask_column: str = ""
    classes: Sequence[str] = ()

    task = "segmentation"
    noun = "images"
    counted = "pixels"
    accepted = (
        "'demo', a folder with images/ and masks/ (same stems), Pascal VOC's folders, a COCO .json file, a .parquet, "
        ".csv, .tsv or .jsonl file (columns image and mask), or an s3:// URI of these"
    )
    file_suffixes = (*TABLE_SUFFIXES, ".json")
    schema = pa.schema([pa.field(name, kind, nullable=False) for name, kind in _FIELDS.items()])
    target_columns = mix_columns = ("mask",)
    mix_titles = ("class", "labels")
    usual_reasons = frozenset({"unsupported"})
    demo = Demo(
        file=Path(__file__).with_name("demo") / "scenes.parquet",
        licence=(
            "MIT (synthetic scenes of Fashion-MNIST items, Zalando SE; see "
            "components/core/tasks/segmentation/demo/NOTICE)"
        ),
        description="synthetic scenes of Fashion-MNIST items",
    )
    conflict = "conflicting masks"

    raw_schema = pa.schema(list((_FIELDS | _RAW).items()))
    raw_target = "target"
    raw_target_columns = ("mask", "numbered")
    index_columns = ("group",)
    measured_columns = tuple(MEASURED)
    near = NEAR
    apart_columns: ClassVar[Mapping[str, str]] = {}

    def __post_init__(self) -> None:
        if type(self.ignore_index) is not int or not -1 <= self.ignore_index <= 65535:
            raise UserError(f"ignore_index must be a whole number in -1..65535 (-1: none), got {self.ignore_index!r}")
        refuse_wrong_texts(self, "group_column", "classes_file", "image_column", "mask_column")
        if type(self.group_folders) is not bool:
            raise UserError(f"group_folders must be true or false, got {self.group_folders!r}")
        if self.group_column and self.group_folders:
            raise UserError("group_column is for tables and group_folders for folders; give one of them")

    @property
    def reasons(self) -> Mapping[str, str]:
        """Of images, of pairs, and of masks (`masks.REASONS`)."""
        return {
            **inspection.REASONS,
            NO_PAIR: "an image without a mask, a mask without an image, or several of one stem",
            "damaged mask": "the mask cannot be decoded or drawn",
            "mask of another size": "the mask has not the image's width and height",
            "unknown mask value": "the mask holds a value that is no class and not ignored",
            "mask colour without a palette": "an RGB mask, and no list says which colour is which class",
            "unknown mask colour": "the mask holds a colour that is no class's",
            "mask value above 255": "the mask holds numbers that are no classes, as instance numbers or depth",
            "mask of another kind": "JPEG, which changes values, or a kind of image that holds no classes",
            "nothing labelled": "every pixel is ignored",
            self.conflict: "the same image occurs with different masks",
        }

    def with_options(self, options: Mapping[str, Any]) -> "SegmentationRows":
        """The same with other attributes."""
        refuse_options(self.task, options, [field.name for field in fields(self)])
        return replace(self, **options)

    # Stored rows

    def target_key(self, row: Mapping[str, Any]) -> bytes:
        """sha256 over height, width and the class numbers: the encoder of the PNG does not matter."""
        return _mask_digest(stored_mask(row["mask"]))

    def class_counts(self, row: Mapping[str, Any], num_classes: int) -> np.ndarray:
        """Pixels of each class; ignored ones count nowhere."""
        return np.bincount(stored_mask(row["mask"], num_classes).reshape(-1), minlength=256)[:num_classes].astype(
            np.int64
        )

    mix = class_counts

    def mix_groups(self, classes: Sequence[str]) -> list[str]:
        """The classes."""
        return list(classes)

    # What comes in

    def open_source(
        self, dataset: str, scratch: Path, *, slice_columns: Sequence[str] = (), allow_paths: Sequence[str] = ()
    ) -> Source:
        """Pairs of folders, VOC, COCO, a table, or a folder of tables."""
        location, file = locate(dataset, self)
        files = TableFiles(location, scratch, self.accepted, allow_paths)
        if file is not None and not file.lower().endswith(".json"):
            return self._table(files, [file], slice_columns, dataset)
        if file is None and (layouts := find_layouts(location, dataset)):
            self._refuse_columns(slice_columns, dataset)
            classes = find_class_list(location, self.classes_file)
            if not classes.names and "/" in layouts[0].images:
                classes = find_class_list(location.folder(layouts[0].images.partition("/")[0]))
            return PairedFolders(location, layouts, classes, group_folders=self.group_folders, dataset=dataset)
        documents = [file] if file is not None else _documents(location)
        if len(documents) == 1:
            self._refuse_columns(slice_columns, dataset)
            self._refuse_group_folders(dataset)
            return CocoSource(location, documents[0], dataset)
        if splits := given_splits(documents):
            self._refuse_columns(slice_columns, dataset)
            self._refuse_group_folders(dataset)
            return CocoSplits({CocoSource(location, name, dataset): split for name, split in splits.items()}, dataset)
        if len(documents) > 1:
            raise UserError(f"dataset {dataset} holds {', '.join(documents[:5])}: name one of these COCO files")
        if tables := tables_in(location, TABLE_SUFFIXES):
            return self._table(files, tables, slice_columns, dataset)
        refuse_without_images(
            location, dataset, self.accepted, "holds images but no pair of folders: put images into images/ and masks "
            "of the same stems into masks/"
        )  # fmt: skip

    def _table(self, files: TableFiles, tables: list[str], slice_columns: Sequence[str], dataset: str) -> TableSource:
        self._refuse_group_folders(dataset)
        columns = Columns(
            files={
                "image": (self.image_column,) if self.image_column else IMAGE_COLUMNS,
                "mask": (self.mask_column,) if self.mask_column else MASK_COLUMNS,
            },
            # No item of the demo's scenes is in two groups.
            group="group" if dataset == DEMO else self.group_column or None,
            slices=tuple(slice_columns),
        )

        def target(table: str, row: Row) -> MaskFile:
            return MaskFile(content=files.content(table, row.number, row.files["mask"], "mask"), classes=classes)

        source = TableSource(files, tables, columns, declaring=MASK_COLUMNS, target=target)
        if source.declared and not self.classes_file:
            classes = ClassList(names=tuple(source.declared))
        else:
            classes = find_class_list(files.location, self.classes_file)
        source.classes, source.colours = list(classes.names), classes.colours
        return source

    def _refuse_columns(self, slice_columns: Sequence[str], dataset: str) -> None:
        for name, column in (("slice_columns", next(iter(slice_columns), "")), ("group_column", self.group_column)):
            if column:
                raise UserError(
                    f"{name} needs a table, and dataset {dataset} has no column {column!r}; give a .parquet, .csv or "
                    ".jsonl file with image, mask and that column"
                )

    def _refuse_group_folders(self, dataset: str) -> None:
        if self.group_folders:
            raise UserError(
                f"group_folders needs the folders images/ and masks/, which dataset {dataset} does not have"
            )

    def look(self, source: Source, dataset: str) -> list[str]:
        """Reads the first pairs until one can be used and two classes are known.

        A data set of which none of the first 64 pairs can be used is refused.
        """
        classes, num_usable, start = list(source.classes), 0, time.monotonic()
        first: Inspected | None = None
        complete = True
        for number, item in enumerate(source.items()):
            late = num_usable > 0 and time.monotonic() - start > _LOOK_SECONDS
            if late or number >= _LOOKED_AT or (num_usable and len(classes) > 1):
                complete = False
                break
            inspected = self.inspect(item, max_bytes=1_000_000_000)
            if inspected.rejection is None:
                num_usable += 1
                classes += [name for name in inspected.classes if name not in classes]
            else:
                first = first or inspected
        if not num_usable and first is None:
            raise UserError(f"dataset {dataset} has no images; give {self.accepted}")
        if not num_usable and first is not None and first.rejection is not None:
            many = f"of {number + 1} pairs none" if complete else f"of the first {_LOOKED_AT} pairs none"
            raise UserError(f"dataset {dataset}: {many} can be used; first: {first.name}: {': '.join(first.rejection)}")
        if complete:
            self._check(classes, dataset)
        return classes

    def _check(self, classes: Sequence[str], dataset: str) -> None:
        if len(classes) < 2:
            hint = ""
            if self.ignore_index == IGNORED and not self.classes_file:
                hint = (
                    '; value 255 is ignored: if it is an object, write {"background": 0, "object": 255} into '
                    "classes.json beside the data"
                )
            raise UserError(f"dataset {dataset} has one class only ({classes[0]!r}); at least two are needed{hint}")
        if len(classes) > MAX_CLASSES:
            raise UserError(f"dataset {dataset} has {len(classes)} classes; masks hold at most {MAX_CLASSES}")

    def inspect(self, item: Item, *, max_bytes: int) -> Inspected:
        """Decodes image and mask; keeps the image as it was encoded, and the mask as PNG of numbers."""
        data = inspection.read_item(item, max_bytes)
        if isinstance(data, Rejection):
            return Inspected(name=item.name, rejection=data)
        image = inspection.inspect_image(data)
        if isinstance(image, Rejection):
            return Inspected(name=item.name, rejection=image)
        size = (image.height, image.width)
        numbered = item.target.numbered
        with DECODED.holding(image.height * image.width * MASK_PIXEL_BYTES):
            mask = item.target.mask(size=size, max_bytes=max_bytes, ignore_index=self.ignore_index)
            if isinstance(mask, Rejection):
                return Inspected(name=item.name, rejection=mask)
            row = {
                "image": data,
                "mask": encode(mask),
                "digest": hashlib.sha256(data).hexdigest(),
                "target": _mask_digest(mask).hex(),
                "numbered": numbered,
                "group": item.group,
                **image.measured,
            }
            counts = np.zeros(256, dtype=np.int64)
            for _, strip in strips(mask):
                counts += np.bincount(strip.reshape(-1), minlength=256)
        values = np.flatnonzero(counts[:IGNORED]).tolist()
        classes = () if numbered else tuple(map(str, values))
        return Inspected(name=item.name, row=row, classes=classes, slices=item.slices)

    # Raw rows

    def target_name(self, raw_target: str) -> str:
        """None: a mask has no name."""
        return ""

    def order_classes(self, found: Mapping[str, int], declared: Sequence[str], dataset: str) -> list[str]:
        """All that are declared, so that masks keep their numbers; else the values that were found, in their order."""
        classes = list(declared) or sorted(found, key=int)
        self._check(classes, dataset)
        if self.classes:
            # Masks hold numbers, so the order counts as well.
            check_classes(classes, self.classes)
        return classes

    def strata(self, found: Mapping[str, int]) -> list[str]:
        """The whole: an image has many classes, so that none can be dealt out by itself."""
        return [""]

    def stratum_title(self, stratum: str) -> str:
        """The whole."""
        return "the data set"

    def stratum(self, raw: Mapping[str, Any]) -> str:
        """The whole."""
        return ""

    def split_key(self, raw: Mapping[str, Any]) -> str:
        """The digest of the image, or of its group's name."""
        return group_key(raw)

    def finished(self, raw: Mapping[str, Any], numbers: Mapping[str, int]) -> dict[str, Any]:
        """Class numbers in place of values, and without the columns that only the preparation needs."""
        row = {name: value for name, value in raw.items() if name not in _RAW}
        if not raw["numbered"] and any(int(name) != number for name, number in numbers.items()):
            table = np.full(256, IGNORED, dtype=np.uint8)
            for name, number in numbers.items():
                table[int(name)] = number
            row["mask"] = encode(table[stored_mask(raw["mask"])])
        return row

    def training_facts(self, rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
        """`levels` of images deeper than 8 bits."""
        levels = levels_of(rows)
        return {} if levels is None else {"levels": list(levels)}

    def doubts(self, rows: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
        """Pictures of one colour, and pictures that look the same."""
        return doubts_of(rows, self.noun)

    # Pages

    def data_blocks(self, dataset: "Dataset") -> list[Any]:
        """Pixels per class."""
        from components.core.tasks.segmentation.data_page import data_blocks

        return data_blocks(dataset)

    def samples(self, dataset: "Dataset") -> list[Any]:
        """Images with their masks over them."""
        from components.core.tasks.segmentation.data_page import samples

        return samples(dataset)


def _mask_digest(mask: np.ndarray) -> bytes:
    height, width = mask.shape
    return hashlib.sha256(f"{height}x{width}\0".encode() + mask.tobytes()).digest()


def _documents(location: Location) -> list[str]:
    """COCO files of a folder: its own, or those in ``annotations/``; not its list of classes."""
    found = [
        file.name
        for file in location.walk()
        if file.name.lower().endswith(".json")
        and posixpath.dirname(file.name) in ("", "annotations")
        and file.name not in FILE_NAMES
    ]
    return sorted(found)
