"""Folders of images and masks: pairs by stem, and the layout of Pascal VOC."""

import posixpath
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from components.core.data.ingestion.items import Item, Rejection
from components.core.data.ingestion.locations import Location, SourceFile, UnreadableError
from components.core.data.ingestion.sources import IMAGE_SUFFIXES, Content, reader
from components.core.errors import UserError
from components.core.tasks.segmentation.class_list import FILE_NAMES, ClassList
from components.core.tasks.segmentation.masks import default_palette
from components.core.tasks.segmentation.targets import NO_PAIR, MaskFile

IMAGE_FOLDERS = ("images", "image", "imgs", "img")
MASK_FOLDERS = ("masks", "mask", "labels", "annotations", "segmentations")
VOC_IMAGES, VOC_MASKS, VOC_SETS = "JPEGImages", "SegmentationClass", "ImageSets/Segmentation"
SPLIT_NAMES = {"train", "training", "val", "valid", "validation", "test", "testing", "eval"}

VOC_CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
"""Pascal VOC 2012, in the order of its palette."""

_MAX_SET_BYTES = 20_000_000


@dataclass(frozen=True, kw_only=True)
class PairLayout:
    """Which two folders hold the images and the masks."""

    images: str
    masks: str
    voc: bool = False


def find_layout(folders: list[str], dataset: str) -> PairLayout | None:
    """The layout of a location with these folders; None when there is no pair of folders.

    Raises:
        UserError: the folders are splits, each with images and masks of its own.
    """
    if VOC_IMAGES in folders and VOC_MASKS in folders:
        return PairLayout(images=VOC_IMAGES, masks=VOC_MASKS, voc=True)
    images = [name for name in folders if name.lower() in IMAGE_FOLDERS]
    masks = [name for name in folders if name.lower() in MASK_FOLDERS]
    if len(images) == 1 and len(masks) == 1:
        return PairLayout(images=images[0], masks=masks[0])
    for what, found in (("images", images), ("masks", masks)):
        if len(found) > 1:
            raise UserError(f"dataset {dataset} holds {' and '.join(found)}: keep one folder of {what}")
    if splits := [name for name in folders if name.lower() in SPLIT_NAMES]:
        raise _splits(dataset, splits)
    return None


def _splits(dataset: str, names: list[str]) -> UserError:
    return UserError(
        f"dataset {dataset} holds {', '.join(names)}: these are splits, and trimtab splits by content itself: put all "
        "images into images/ and all masks into masks/"
    )


@dataclass(kw_only=True)
class _Pair:
    images: list[SourceFile] = field(default_factory=list)
    masks: list[SourceFile] = field(default_factory=list)


class PairedFolders:
    """Images and masks of one stem, in two folders that are nested alike.

    Args:
        location: the folder that holds both.
        layout: their names.
        classes: names of the classes; VOC's own where there are none, as long as the masks are VOC's.
        group_folders: the first folder below `images/` is a group.
        dataset: for messages.

    Raises:
        UserError: the folders below are splits, or there are none although they are the groups.
    """

    kind = "folder"

    def __init__(
        self, location: Location, layout: PairLayout, classes: ClassList, *, group_folders: bool, dataset: str
    ) -> None:
        if layout.voc:
            classes = with_voc_palette(classes)
        self._location, self._layout, self._list, self._grouped = location, layout, classes, group_folders
        self.classes, self.colours = list(classes.names), classes.colours
        nested = location.folder(layout.images).folders()
        if splits := [name for name in nested if name.lower() in SPLIT_NAMES]:
            raise _splits(dataset, [f"{layout.images}/{name}" for name in splits])
        if group_folders and not nested:
            raise UserError(f"group_folders: {dataset}/{layout.images} has no folders that could be groups")
        self._sets = _image_sets(location) if layout.voc else {}

    def items(self) -> Iterator[Item]:
        pairs, others = self._pairs()
        for file in others:
            suffix = posixpath.splitext(file.name)[1].lower()
            rejection = Rejection("unsupported", f"files {suffix or 'without a suffix'} are not read")
            yield Item(name=file.name, label=None, read=lambda limit: b"", rejection=rejection)
        listed = {name for names in self._sets.values() for name in names}
        for stem in sorted(pairs):
            # Most images of VOC are there for detection, and have no mask; that is no mistake.
            if not self._layout.voc or pairs[stem].masks or stem in listed:
                yield from self._of(stem, pairs[stem])

    def slice_values(self) -> Iterator[tuple[str | None, ...]]:
        """None: a folder has no columns."""
        return iter(())

    def facts(self) -> dict[str, str]:
        """How many images VOC's lists name; trimtab splits by content instead."""
        if not self._sets:
            return {}
        listed = ", ".join(f"{name} {len(members):,}" for name, members in sorted(self._sets.items()))
        return {VOC_SETS: f"{listed} (not followed: the split is by content)"}

    def _pairs(self) -> tuple[dict[str, _Pair], list[SourceFile]]:
        pairs: dict[str, _Pair] = defaultdict(_Pair)
        others = []
        for file in self._location.walk():
            folder, _, rest = file.name.partition("/")
            if folder not in (self._layout.images, self._layout.masks) or rest in FILE_NAMES:
                continue
            stem, suffix = posixpath.splitext(rest)
            if suffix.lower() not in IMAGE_SUFFIXES:
                others.append(file)
            elif folder == self._layout.images:
                pairs[stem].images.append(file)
            else:
                pairs[stem].masks.append(file)
        return pairs, others

    def _of(self, stem: str, pair: _Pair) -> Iterator[Item]:
        problem = None
        if len(pair.images) != 1 or len(pair.masks) != 1:
            problem = _no_pair(stem, pair, self._layout)
        group = stem.partition("/")[0] if self._grouped and "/" in stem else None
        for file in pair.images if problem is None else [*pair.images, *pair.masks]:
            target = None
            if problem is None:
                mask = pair.masks[0]
                content = Content(name=mask.name, read=reader(self._location, mask.name), size=mask.size)
                target = MaskFile(content=content, classes=self._list)
            yield Item(
                name=file.name,
                label=None,
                read=reader(self._location, file.name),
                size=file.size,
                rejection=problem,
                target=target,
                group=group,
            )


def _no_pair(stem: str, pair: _Pair, layout: PairLayout) -> Rejection:
    if not pair.masks:
        return Rejection(NO_PAIR, f"no mask {layout.masks}/{stem}.png")
    if not pair.images:
        return Rejection(NO_PAIR, f"no image {layout.images}/{stem}.*")
    several = ", ".join(file.name for file in [*pair.images, *pair.masks])
    return Rejection(NO_PAIR, f"several files of one stem: {several}"[:500])


def with_voc_palette(classes: ClassList) -> ClassList:
    """VOC's names where none are declared, and VOC's colours where no colours are."""
    names = classes.names or VOC_CLASSES
    palette = classes.palette or tuple(default_palette(len(names)))
    return ClassList(names=names, palette=palette, numbers=classes.numbers)


def _image_sets(location: Location) -> dict[str, list[str]]:
    """Stems that each list in ``ImageSets/Segmentation`` names; empty without lists."""
    sets: dict[str, list[str]] = {}
    for name in ("train", "val", "trainval", "test"):
        try:
            text = location.read(f"{VOC_SETS}/{name}.txt", _MAX_SET_BYTES)
        except UnreadableError:
            continue
        sets[name] = text.decode("utf-8", "replace").split()
    return sets
