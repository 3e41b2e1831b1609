"""What belongs to a segmentation network: preprocessing, class names and their colours."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from components.core.store.keys import canonical_json
from components.core.tasks.images.assets import ImageAssets, read_image_files, read_image_metadata
from components.core.tasks.segmentation.masks import default_palette

if TYPE_CHECKING:
    from components.core.data.dataset import Dataset

PALETTE = "palette.json"

Colour = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class SegmentationAssets(ImageAssets):
    """`palette`: a colour (R, G, B) per class, for people.

    Raises:
        ValueError: another number of colours than of classes, or a colour outside 0..255.
    """

    palette: list[Colour]

    def __post_init__(self) -> None:
        if len(self.palette) != len(self.labels):
            raise ValueError(f"{len(self.palette)} colours for {len(self.labels)} classes")
        for colour in self.palette:
            if len(colour) != 3 or not all(isinstance(value, int) and 0 <= value <= 255 for value in colour):
                raise ValueError(f"a colour is three numbers from 0 to 255, got {colour!r}")

    def to_files(self) -> dict[str, bytes]:
        """`preprocess.json`, `labels.json` and `palette.json`."""
        return {**super().to_files(), PALETTE: canonical_json([list(colour) for colour in self.palette])}

    def to_metadata(self) -> dict[str, Any]:
        """`preprocess`, `labels` and `palette`."""
        return {**super().to_metadata(), "palette": [list(colour) for colour in self.palette]}


def read_files(files: Mapping[str, bytes]) -> SegmentationAssets:
    """The inverse of `SegmentationAssets.to_files`; ValueError naming what is missing or wrong."""
    preprocess, labels = read_image_files(files)
    if PALETTE not in files:
        raise ValueError(f"{PALETTE} is missing")
    return SegmentationAssets(preprocess=preprocess, labels=labels, palette=_colours(json.loads(files[PALETTE])))


def read_metadata(metadata: Mapping[str, Any]) -> SegmentationAssets:
    """The inverse of `SegmentationAssets.to_metadata`; ValueError naming what is missing or wrong."""
    preprocess, labels = read_image_metadata(metadata)
    if "palette" not in metadata:
        raise ValueError("palette is missing")
    return SegmentationAssets(preprocess=preprocess, labels=labels, palette=_colours(metadata["palette"]))


def palette_of(dataset: "Dataset") -> list[Colour]:
    """The data set's colours, or Pascal VOC's."""
    stored = dataset.manifest.metadata.get("palette")
    if not stored:
        return default_palette(len(dataset.classes))
    return [(int(red), int(green), int(blue)) for red, green, blue in stored]


def _colours(document: Any) -> list[Colour]:
    if not isinstance(document, list) or not all(isinstance(colour, list) and len(colour) == 3 for colour in document):
        raise ValueError("the palette must be a list of colours [R, G, B]")
    return [(colour[0], colour[1], colour[2]) for colour in document]
