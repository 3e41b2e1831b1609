"""Annotations in COCO's JSON as masks: polygons and run lengths, uncompressed and compressed.

Class 0 is background, the categories follow in the order of their ids. Where objects overlap, the smaller one is on
top. Crowds are drawn like objects: they are pixels of their class. https://cocodataset.org/#format-data
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np

from components.core.data.ingestion.items import Item, Rejection
from components.core.data.ingestion.labels import check_lengths, class_name
from components.core.data.ingestion.locations import Location, UnreadableError, open_location
from components.core.data.ingestion.reach import leaves
from components.core.data.ingestion.table_source import reader
from components.core.errors import UserError
from components.core.tasks.segmentation.masks import MAX_CLASSES
from components.core.tasks.segmentation.targets import DrawnMask

BACKGROUND = "background"
_FOLDERS = ("", "images", "train", "val", "test", "images/train", "images/val", "images/test")
_LOOKED_FOR = 5
_FARTHEST = 1e9


class CocoSource:
    """The images that a COCO file lists.

    Args:
        location: where the file lies; images are looked for beside it, in its ``images/``, and the same one folder up.
        name: of the file.
        dataset: for messages.

    Raises:
        UserError: it is not COCO's format, has no categories, or none of its first images is found.
    """

    kind = "COCO"
    colours: Mapping[str, tuple[int, int, int]] = MappingProxyType({})

    def __init__(self, location: Location, name: str, dataset: str) -> None:
        document = _read(location, name, dataset)
        self._images: list[dict[str, Any]] = document["images"]
        self.classes, self._numbers = _classes(document["categories"], dataset)
        self._annotations: dict[Any, list[dict[str, Any]]] = defaultdict(list)
        for annotation in document["annotations"]:
            self._annotations[annotation.get("image_id")].append(annotation)
        self._location, self._prefix = _image_location(location, self._images, dataset)
        self.name, self.split_from = name, ""

    def items(self) -> Iterator[Item]:
        for image in self._images:
            name = image["file_name"]
            path = f"{self._prefix}/{name}" if self._prefix else name
            target = DrawnMask(
                draw=partial(drawn, self._annotations[image.get("id")], self._numbers),
                stated_size=(image.get("height"), image.get("width")),
            )
            rejection = Rejection("unreadable", "the file's name leaves the folder") if leaves(name) else None
            yield Item(name=name, label=None, read=reader(self._location, path), target=target, rejection=rejection)

    def slice_values(self) -> Iterator[tuple[str | None, ...]]:
        """None: COCO has no columns."""
        return iter(())

    def referenced(self) -> Iterator[str]:
        """The listing of the folder with the images."""
        for file in self._location.walk():
            yield f"{file.name}\0{file.size} {file.stamp}\n"

    def facts(self) -> dict[str, str]:
        return {}


class CocoSplits:
    """Several COCO files, one per split (``instances_train.json``, ``instances_val.json``).

    Raises:
        UserError: they have other categories, or the same in another order.
    """

    kind = "COCO"
    colours: Mapping[str, tuple[int, int, int]] = MappingProxyType({})

    def __init__(self, sources: Mapping[CocoSource, str], dataset: str) -> None:
        first, *others = self._sources = dict(sources)
        for other in others:
            if other.classes != first.classes:
                raise UserError(f"dataset {dataset}: {other.name} has other categories than {first.name}")
        self.classes = first.classes
        self.split_from = f"the files {', '.join(source.name for source in sources)}"

    def items(self) -> Iterator[Item]:
        for source, split in self._sources.items():
            for item in source.items():
                yield replace(item, split=split)

    def slice_values(self) -> Iterator[tuple[str | None, ...]]:
        """None: COCO has no columns."""
        return iter(())

    def referenced(self) -> Iterator[str]:
        for source in self._sources:
            yield from source.referenced()

    def facts(self) -> dict[str, str]:
        return {}


def _read(location: Location, name: str, dataset: str) -> dict[str, Any]:
    try:
        document = json.loads(location.read(name, None))
    except UnreadableError as error:
        raise UserError(f"dataset not found: {dataset} ({error})") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"dataset {dataset} is not valid JSON: {' '.join(str(error).split())[:120]}") from error
    for key in ("images", "annotations", "categories"):
        entries = document.get(key) if isinstance(document, dict) else None
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise UserError(f"dataset {dataset} is not in COCO's format: it has no list {key!r}")
    if not all(isinstance(image.get("file_name"), str) for image in document["images"]):
        raise UserError(f"dataset {dataset}: an image has no file_name")
    for key, entry_key in (
        ("images", "id"),
        ("categories", "id"),
        ("annotations", "image_id"),
        ("annotations", "category_id"),
    ):
        for entry in document[key]:
            if not isinstance(entry.get(entry_key), str | int | float | None):
                raise UserError(f"dataset {dataset}: {entry_key} in {key} must be a number or a text")
            if entry_key == "id" and entry.get("id") is None:
                raise UserError(f"dataset {dataset}: an entry of {key} has no id")
    return document


def _classes(categories: Sequence[Mapping[str, Any]], dataset: str) -> tuple[list[str], dict[Any, int]]:
    """Names with background first, and the number of each category id."""
    ordered = sorted(categories, key=lambda category: (str(type(category.get("id"))), category.get("id")))
    names, numbers = [BACKGROUND], {}
    for category in ordered:
        name = class_name(str(category.get("name")))
        check_lengths([name], f"dataset {dataset}")
        if name.lower() == BACKGROUND:
            numbers[category.get("id")] = 0
            continue
        if name in names:
            raise UserError(f"dataset {dataset} has two categories called {name!r}")
        numbers[category.get("id")] = len(names)
        names.append(name)
    if len(names) == 1:
        raise UserError(f"dataset {dataset} has no categories")
    if len(names) > MAX_CLASSES:
        raise UserError(f"dataset {dataset} has {len(names) - 1} categories; masks hold at most {MAX_CLASSES - 1}")
    return names, numbers


def _image_location(location: Location, images: Sequence[Mapping[str, Any]], dataset: str) -> tuple[Location, str]:
    """The location and the folder in it where the first images lie."""
    parent, _, _ = location.address.rstrip("/").rpartition("/")
    parents = [location]
    if parent and parent != "s3:/":
        parents.append(open_location(parent))
    for candidate in parents:
        for folder in _FOLDERS:
            for image in images[:_LOOKED_FOR]:
                name = image["file_name"]
                if _exists(candidate, f"{folder}/{name}" if folder else name):
                    return candidate, folder
    if not images:
        raise UserError(f"dataset {dataset} lists no images")
    raise UserError(
        f"dataset {dataset}: image {images[0]['file_name']!r} is neither beside the file, nor in images/, nor one "
        "folder up"
    )


def _exists(location: Location, name: str) -> bool:
    if leaves(name):
        return False
    try:
        location.find(name)
    except (UnreadableError, UserError):
        return False
    return True


def drawn(annotations: Sequence[Mapping[str, Any]], numbers: Mapping[Any, int], height: int, width: int) -> np.ndarray:
    """The mask uint8 `(height, width)` of an image's annotations; smaller objects over larger ones.

    Raises:
        ValueError: a shape that is not valid, or an unknown category.
    """
    areas: list[tuple[int, int]] = []
    for annotation in annotations:
        if annotation.get("category_id") not in numbers:
            raise ValueError(f"unknown category_id {annotation.get('category_id')!r}")
        areas.append((-int(object_mask(annotation.get("segmentation"), height, width).sum()), len(areas)))
    mask = np.zeros((height, width), dtype=np.uint8)
    # Drawn a second time: some hundred objects of a large image do not fit into memory together.
    for _, index in sorted(areas):
        inside = object_mask(annotations[index].get("segmentation"), height, width)
        mask[inside] = numbers[annotations[index]["category_id"]]
    return mask


def object_mask(segmentation: Any, height: int, width: int) -> np.ndarray:
    """Bool `(height, width)` of a list of polygons, or of run lengths.

    Raises:
        ValueError: neither, or one that does not fit the image.
    """
    if isinstance(segmentation, list) and segmentation:
        mask = np.zeros((height, width), dtype=bool)
        for polygon in segmentation:
            mask |= polygon_mask(polygon, height, width)
        return mask
    if isinstance(segmentation, Mapping):
        if segmentation.get("size") != [height, width]:
            raise ValueError(f"run lengths of size {segmentation.get('size')!r}, the image is [{height}, {width}]")
        counts = segmentation.get("counts")
        if isinstance(counts, str):
            counts = decompressed(counts)
        return run_length_mask(counts, height, width)
    raise ValueError("an annotation has neither polygons nor run lengths")


def polygon_mask(polygon: Any, height: int, width: int) -> np.ndarray:
    """Pixels whose centre lies inside `[x1, y1, x2, y2, …]` by the even-odd rule; bool `(height, width)`."""
    if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
        raise ValueError("a polygon needs three points or more, as [x1, y1, x2, y2, …]")
    try:
        points = np.asarray(polygon, dtype=np.float64).reshape(-1, 2)
    except (TypeError, ValueError, OverflowError):
        raise ValueError("a polygon holds something that is no number") from None
    # Beyond it differences overflow, and no image is that large.
    if not (np.abs(points) < _FARTHEST).all():
        raise ValueError("a polygon holds a number that is no coordinate of an image")
    # Each edge toggles, in every row whose centre it crosses, all pixels to the right of the crossing.
    toggles = np.zeros((height, width + 1), dtype=bool)
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
        low, high = min(y0, y1), max(y0, y1)
        rows = np.arange(max(0, int(np.ceil(low - 0.5))), min(height, int(np.ceil(high - 0.5))))
        if not len(rows):
            continue
        crossings = x0 + (rows + 0.5 - y0) * (x1 - x0) / (y1 - y0)
        toggles[rows, np.clip(np.ceil(crossings - 0.5), 0, width).astype(np.int64)] ^= True
    return np.logical_xor.accumulate(toggles, axis=1)[:, :width]


def run_length_mask(counts: Any, height: int, width: int) -> np.ndarray:
    """Runs of outside and inside in turn, down the columns; bool `(height, width)`."""
    if not isinstance(counts, list) or not all(type(count) is int and count >= 0 for count in counts):
        raise ValueError("run lengths must be whole numbers, at least 0")
    if sum(counts) != height * width:
        raise ValueError(f"run lengths cover {sum(counts)} pixels, the image has {height * width}")
    inside = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return inside.reshape(width, height).T


def decompressed(text: str) -> list[int]:
    """COCO's compressed run lengths as numbers.

    Five bits per character from ASCII 48 up, the lowest first; bit 6 says that more follow, and bit 5 of the last is
    the sign. From the fourth number on each is the difference to the one two before (`rleFrString` of the COCO API).
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            raise ValueError(f"compressed run lengths hold {character!r}")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("compressed run lengths end early")
    return counts
