"""Folders of images and masks: pairs by stem, and the layout of Pascal VOC."""

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from components.core.data.ingestion.image_files import is_image_name, may_be_image, not_read
from components.core.data.ingestion.items import Item, Rejection
from components.core.data.ingestion.locations import Location, SourceFile, UnreadableError
from components.core.data.ingestion.splits import given_splits
from components.core.data.ingestion.table_source import Content, reader
from components.core.errors import UserError
from components.core.tasks.segmentation.class_list import FILE_NAMES, ClassList
from components.core.tasks.segmentation.masks import default_palette
from components.core.tasks.segmentation.targets import NO_PAIR, MaskFile

IMAGE_FOLDERS = ("images", "image", "imgs", "img")
MASK_FOLDERS = ("masks", "mask", "labels", "annotations", "segmentations")
VOC_IMAGES, VOC_MASKS, VOC_SETS = "JPEGImages", "SegmentationClass", "ImageSets/Segmentation"

VOC_CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
"""Pascal VOC 2012, in the order of its palette."""

_MAX_SET_BYTES = 20_000_000


@dataclass(frozen=True, kw_only=True)
class PairLayout:
    """Which two folders hold the images and the masks, and the split that is given by a folder around both."""

    images: str
    masks: str
    voc: bool = False
    split: str | None = None


def find_layouts(location: Location, dataset: str) -> list[PairLayout]:
    """The pairs of folders of a location: one, or one per split (``train/images``, ``train/masks``); else none.

    A folder around everything is passed through.

    Raises:
        UserError: several folders of images or masks.
    """
    folders = location.folders()
    if layout := find_layout(folders, dataset):
        return [layout]
    found = {}
    for name in folders:
        if inside := find_layout(location.folder(name).folders(), f"{dataset}/{name}"):
            found[name] = PairLayout(images=f"{name}/{inside.images}", masks=f"{name}/{inside.masks}", voc=inside.voc)
    if len(found) == 1:
        return list(found.values())
    roles = given_splits(found)
    if found and not roles:
        raise UserError(
            f"dataset {dataset} holds images and masks in each of {', '.join(found)}: give one of them, or call them "
            "train and test if they are splits"
        )
    return [replace(found[name], split=role) for name, role in roles.items()]


def find_layout(folders: list[str], dataset: str) -> PairLayout | None:
    """The layout of a location with these folders; None when there is no pair of folders.

    Raises:
        UserError: several folders of images or masks.
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
    return None


@dataclass(kw_only=True)
class _Pair:
    layout: PairLayout
    images: list[SourceFile] = field(default_factory=list)
    masks: list[SourceFile] = field(default_factory=list)


class PairedFolders:
    """Images and masks of one stem, in two folders that are nested alike.

    A split is given by folders around both, by folders inside of both (``images/train``, ``masks/train``), or by VOC's
    lists.

    Args:
        location: the folder that holds both.
        layouts: their names; several where each split has its own.
        classes: names of the classes; VOC's own where there are none, as long as the masks are VOC's.
        group_folders: the first folder below `images/` is a group.
        dataset: for messages.

    Raises:
        UserError: there are no folders below although they are the groups.
    """

    kind = "folder"

    def __init__(
        self,
        location: Location,
        layouts: Sequence[PairLayout],
        classes: ClassList,
        *,
        group_folders: bool,
        dataset: str,
    ) -> None:
        voc = layouts[0].voc
        if voc:
            classes = with_voc_palette(classes)
        self._location, self._layouts, self._list, self._grouped = location, layouts, classes, group_folders
        self.classes, self.colours = list(classes.names), classes.colours
        nested = _folder(location, layouts[0].images).folders()
        if group_folders and not nested:
            raise UserError(f"group_folders: {dataset}/{layouts[0].images} has no folders that could be groups")
        around = layouts[0].images.removesuffix(VOC_IMAGES).rstrip("/")
        self._sets = _image_sets(_folder(location, around)) if voc else {}
        self._nested = {} if group_folders or len(layouts) > 1 else given_splits(nested)
        self._listed = _listed_splits(self._sets)
        self.split_from = ""
        if len(layouts) > 1:
            self.split_from = f"the folders {', '.join(posixpath.dirname(layout.images) for layout in layouts)}"
        elif self._nested:
            self.split_from = f"the folders {', '.join(f'{layouts[0].images}/{name}' for name in self._nested)}"
        elif set(self._listed.values()) - {"train"}:
            self.split_from = f"the lists in {VOC_SETS}"

    def items(self) -> Iterator[Item]:
        pairs, others = self._pairs()
        for file in others:
            yield Item(name=file.name, label=None, read=lambda limit: b"", rejection=not_read(file.name))
        listed = {name for names in self._sets.values() for name in names}
        for place, stem in sorted(pairs):
            pair = pairs[place, stem]
            # Most images of VOC are there for detection, and have no mask; that is no mistake.
            if not pair.layout.voc or pair.masks or stem in listed:
                yield from self._of(stem, pair)

    def slice_values(self) -> Iterator[tuple[str | None, ...]]:
        """None: a folder has no columns."""
        return iter(())

    def facts(self) -> dict[str, str]:
        """How many images VOC's lists name."""
        if not self._sets:
            return {}
        return {VOC_SETS: ", ".join(f"{name} {len(members):,}" for name, members in sorted(self._sets.items()))}

    def referenced(self) -> Iterator[str]:
        """None: all files are in the folder."""
        return iter(())

    def _pairs(self) -> tuple[dict[tuple[str, str], _Pair], list[SourceFile]]:
        """Pairs by the folder of their images and their stem."""
        pairs: dict[tuple[str, str], _Pair] = {}
        others = []
        sides = [(f"{folder}/", layout) for layout in self._layouts for folder in (layout.images, layout.masks)]
        for file in self._location.walk():
            folder, layout = next((side for side in sides if file.name.startswith(side[0])), ("", None))
            rest = file.name.removeprefix(folder)
            if layout is None or rest in FILE_NAMES:
                continue
            if not may_be_image(file.name):
                others.append(file)
                continue
            stem = posixpath.splitext(rest)[0] if is_image_name(rest) else rest
            pair = pairs.setdefault((layout.images, stem), _Pair(layout=layout))
            (pair.images if folder == f"{layout.images}/" else pair.masks).append(file)
        return pairs, others

    def _split(self, stem: str, layout: PairLayout) -> str | None:
        return layout.split or self._nested.get(stem.partition("/")[0]) or self._listed.get(stem)

    def _of(self, stem: str, pair: _Pair) -> Iterator[Item]:
        problem = None
        if len(pair.images) != 1 or len(pair.masks) != 1:
            problem = _no_pair(stem, pair, pair.layout)
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
                split=self._split(stem, pair.layout),
                unsure=not is_image_name(file.name),
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


def _folder(location: Location, path: str) -> Location:
    for part in path.split("/") if path else []:
        location = location.folder(part)
    return location


def _listed_splits(sets: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The split of each stem that VOC's lists name; "trainval" says no more than its two parts do."""
    roles = {"test": "test", "val": "validation", "train": "train"}
    return {stem: role for name, role in roles.items() for stem in sets.get(name, ())}


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
