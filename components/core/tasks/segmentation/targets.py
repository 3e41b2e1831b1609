"""Where the mask of an item comes from: a file, or shapes that are drawn. Either gives class numbers or a reason."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from components.core.data.ingestion.items import Rejection
from components.core.data.ingestion.table_source import Content
from components.core.tasks.images.inspection import read_limited
from components.core.tasks.segmentation.class_list import ClassList
from components.core.tasks.segmentation.masks import MAX_CLASSES, MaskError, decode

NO_PAIR = "no pair"


class Target(Protocol):
    """The mask of an item, not read yet."""

    numbered: bool
    """Whether values are class numbers already; else the values themselves are the names of the classes."""

    def mask(self, *, size: tuple[int, int], max_bytes: int, ignore_index: int) -> np.ndarray | Rejection:
        """uint8 `(H, W)`, 255 where ignored; `size` is (height, width) of the upright image."""


@dataclass(frozen=True, kw_only=True)
class MaskFile:
    """A mask in a file of its own, or in a table's cell."""

    content: Content
    classes: ClassList

    @property
    def numbered(self) -> bool:
        return bool(self.classes.names)

    def mask(self, *, size: tuple[int, int], max_bytes: int, ignore_index: int) -> np.ndarray | Rejection:
        content = self.content
        if content.problem is not None:
            return Rejection(NO_PAIR, f"mask {content.name}: {content.problem}")
        data = read_limited(content.read, content.size, max_bytes)
        if isinstance(data, Rejection):
            missing = data.reason == "unreadable"
            return Rejection(NO_PAIR if missing else data.reason, f"mask {content.name}: {data.detail}")
        try:
            return decode(
                data,
                classes=len(self.classes.names) or MAX_CLASSES,
                size=size,
                palette=self.classes.palette,
                ignore_index=ignore_index,
                numbers=self.classes.numbers,
            )
        except MaskError as error:
            return Rejection(error.reason, f"mask {content.name}: {error.detail}")


@dataclass(frozen=True, kw_only=True)
class DrawnMask:
    """A mask that is drawn of annotations: `draw(height, width)` gives it, or raises ValueError for bad shapes."""

    draw: Callable[[int, int], np.ndarray]
    stated_size: tuple[Any, Any]
    """(height, width) as the annotations state it."""

    numbered: bool = True

    def mask(self, *, size: tuple[int, int], max_bytes: int, ignore_index: int) -> np.ndarray | Rejection:
        if self.stated_size != size:
            stated, real = (f"{width} x {height}" for height, width in (self.stated_size, size))
            return Rejection("mask of another size", f"annotated at {stated} pixels, the image has {real}")
        try:
            return self.draw(*size)
        except ValueError as error:
            return Rejection("damaged mask", str(error)[:200])
