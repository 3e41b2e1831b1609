"""The assets of a segmentation network: preprocessing, class names and their colours."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from components.core.errors import UserError
from components.core.json_documents import parse_json
from components.core.store.keys import canonical_json
from components.core.tasks.images.assets import ImageAssets, read_image_files, read_image_metadata
from components.core.tasks.segmentation.inference import Inference
from components.core.tasks.segmentation.masks import default_palette

if TYPE_CHECKING:
    from components.core.data.dataset import Dataset

PALETTE, INFERENCE = "palette.json", "inference.json"

Colour = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class SegmentationAssets(ImageAssets):
    """`palette`: a colour (R, G, B) per class, for people. `inference`: how images of other sizes are taken.

    Raises:
        ValueError: another number of colours than of classes, a colour outside 0..255, or images that are squashed and
            not to be resized.
    """

    palette: list[Colour]
    inference: Inference = field(default_factory=Inference)

    def __post_init__(self) -> None:
        if len(self.palette) != len(self.labels):
            raise ValueError(f"{len(self.palette)} colours for {len(self.labels)} classes")
        _check_palette(self.palette)
        if not self.inference.is_resize and self.preprocess.resize != "fit":
            raise ValueError(f"inference {self.inference.mode} needs images that keep their aspect ratio (fit)")

    def to_files(self) -> dict[str, bytes]:
        """`preprocess.json`, `labels.json` and `palette.json`; `inference.json` if images are not resized."""
        files = {**super().to_files(), PALETTE: canonical_json([list(colour) for colour in self.palette])}
        # Without it, as before there were other ways: the digests of releases stay.
        return files if self.inference.is_resize else {**files, INFERENCE: canonical_json(self.inference.to_json())}

    def to_metadata(self) -> dict[str, Any]:
        """`preprocess`, `labels` and `palette`; `inference` if images are not resized."""
        facts = {**super().to_metadata(), "palette": [list(colour) for colour in self.palette]}
        return facts if self.inference.is_resize else {**facts, "inference": self.inference.to_json()}

    def describe(self) -> dict[str, str]:
        """Input size, number of classes, and how images are taken that are not resized."""
        side = self.preprocess.image_size
        ways = {
            "sliding": f"in windows of {side} × {side} px, logits averaged",
            "whole": f"at their own size, padded to multiples of {self.inference.divisor} px",
        }
        facts = super().describe()
        return facts if self.inference.is_resize else {**facts, "images": ways[self.inference.mode]}

    def resized(self, teacher: ImageAssets, size: int) -> Self:
        """As for any image, but images that keep their resolution need their teacher's size."""
        if not self.inference.is_resize and size not in (0, teacher.preprocess.image_size):
            raise UserError(f"student_size {size} needs inference resize, got {self.inference.mode}")
        return super().resized(teacher, size)


def read_files(files: Mapping[str, bytes]) -> SegmentationAssets:
    """The inverse of `SegmentationAssets.to_files`; ValueError naming what is missing or wrong."""
    preprocess, labels = read_image_files(files)
    if PALETTE not in files:
        raise ValueError(f"{PALETTE} is missing")
    inference = Inference.from_json(parse_json(files[INFERENCE])) if INFERENCE in files else Inference()
    palette = _colours(parse_json(files[PALETTE]))
    return SegmentationAssets(preprocess=preprocess, labels=labels, palette=palette, inference=inference)


def read_metadata(metadata: Mapping[str, Any]) -> SegmentationAssets:
    """The inverse of `SegmentationAssets.to_metadata`; ValueError naming what is missing or wrong."""
    preprocess, labels = read_image_metadata(metadata)
    if "palette" not in metadata:
        raise ValueError("palette is missing")
    inference = Inference.from_json(metadata["inference"]) if "inference" in metadata else Inference()
    palette = _colours(metadata["palette"])
    return SegmentationAssets(preprocess=preprocess, labels=labels, palette=palette, inference=inference)


def palette_of(dataset: "Dataset") -> list[Colour]:
    """The data set's colours, or Pascal VOC's.

    Raises:
        UserError: its manifest has something else as colours.
    """
    stored = dataset.manifest.metadata.get("palette")
    if not stored:
        return default_palette(len(dataset.classes))
    try:
        palette = _colours(stored)
        _check_palette(palette)
    except ValueError as error:
        raise UserError(f"the dataset's manifest: {error}; prepare the data again") from None
    return palette


def _check_palette(palette: Sequence[Colour]) -> None:
    for colour in palette:
        if len(colour) != 3 or not all(isinstance(value, int) and 0 <= value <= 255 for value in colour):
            raise ValueError(f"a colour is three numbers from 0 to 255, got {colour!r}")


def _colours(document: Any) -> list[Colour]:
    if not isinstance(document, list) or not all(isinstance(colour, list) and len(colour) == 3 for colour in document):
        raise ValueError("the palette must be a list of colours [R, G, B]")
    return [(colour[0], colour[1], colour[2]) for colour in document]
