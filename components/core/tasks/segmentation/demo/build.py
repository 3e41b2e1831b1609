"""Builds ``scenes.parquet``, the embedded demo of segmentation: synthetic scenes of Fashion-MNIST items.

    python components/core/tasks/segmentation/demo/build.py

Needs nothing but the classification demo beside this task. The source items are dealt out to groups, and a scene takes
its items from one group only. The group is a column of the table that stays in one split, so no source item occurs in
two splits. Everything follows from `SEED`: the same versions of numpy, Pillow and pyarrow give the same bytes.
"""

import colorsys
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageDraw

from components.core.tasks.segmentation.masks import encode

SEED = 20261129
SIDE = 96
NUM_GROUPS = 200
"""By their names 120 of them are for training, 30 for validation and 50 for the test, with the default fractions."""

SCENES_PER_GROUP = 10
MAX_ITEMS = 5
CLASSES = [
    "background", "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag",
    "Ankle boot",
]  # fmt: skip
SOURCE = Path(__file__).parents[2] / "classification" / "demo" / "fashion_mnist.parquet"
TARGET = Path(__file__).with_name("scenes.parquet")

_QUALITY = 65
_MOST_OVERLAP = 0.25
_OUTSIDE = 12
"""Grey values of Fashion-MNIST up to this one, if they are connected to the border, are outside of the item."""


class SourceItem(NamedTuple):
    """Grey values in [0, 1] and coverage 0 or 1, both float `(28, 28)`; `label` in 1..10."""

    grey: np.ndarray
    alpha: np.ndarray
    label: int


class SourceItems(Sequence[SourceItem]):
    """The items of the classification demo, in the order of the file, decoded when they are asked for.

    Class 0 is the background here.
    """

    def __init__(self, table: Path = SOURCE) -> None:
        self._rows = pq.read_table(table).to_pylist()

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, number: Any) -> Any:
        row = self._rows[number]
        grey = np.asarray(Image.open(io.BytesIO(row["image"]["bytes"])).convert("L"))
        return SourceItem(grey / 255.0, coverage(grey), row["label"] + 1)


def coverage(grey: np.ndarray) -> np.ndarray:
    """1.0 on the item and 0.0 outside, for uint8 `(H, W)`: dark parts that the border does not reach are the item's."""
    padded = np.pad(np.where(grey > _OUTSIDE, 255, 0).astype(np.uint8), 1)
    picture = Image.fromarray(padded).copy()  # one that shares the array's memory is not written to
    ImageDraw.floodfill(picture, (0, 0), 128)
    return (np.asarray(picture)[1:-1, 1:-1] != 128).astype(np.float64)


def groups_of(count: int) -> list[np.ndarray]:
    """`NUM_GROUPS` disjoint sets of item numbers below `count`."""
    return [np.sort(part) for part in np.array_split(np.random.default_rng(SEED).permutation(count), NUM_GROUPS)]


def scenes(group: int, members: Sequence[int], items: Sequence[SourceItem]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The scenes of a group: RGB uint8 `(96, 96, 3)` and mask uint8 `(96, 96)`.

    Members are taken in turn, shuffled again when all have been.
    """
    rng = np.random.default_rng([SEED, group])
    waiting: list[int] = []
    for _ in range(SCENES_PER_GROUP):
        image, mask = texture(rng), np.zeros((SIDE, SIDE), dtype=np.uint8)
        count = int(rng.integers(1, MAX_ITEMS + 1))
        for _ in range(count):
            if not waiting:
                waiting = rng.permutation(np.asarray(members)).tolist()
            _place(image, mask, items[waiting.pop()], rng, largest=0.6 if count <= 2 else 0.48)
        yield np.clip(image * 255 + 0.5, 0, 255).astype(np.uint8), mask


def texture(rng: np.random.Generator) -> np.ndarray:
    """A smooth background of two colours, float `(96, 96, 3)` in [0, 1]: clouds, stripes or a gradient."""
    hue, lightness = rng.random(), rng.uniform(0.25, 0.85)
    first = np.array(colorsys.hls_to_rgb(hue, lightness, rng.uniform(0.05, 0.45)))
    second = np.array(
        colorsys.hls_to_rgb((hue + rng.uniform(-0.1, 0.1)) % 1, lightness + rng.uniform(-0.15, 0.15), 0.3)
    )
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    angle = rng.uniform(0, 2 * np.pi)
    along = x * np.cos(angle) + y * np.sin(angle)
    kind = rng.integers(3)
    if kind == 0:
        coarse = rng.random((5, 5)).astype(np.float32)
        weight = np.asarray(Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC), dtype=np.float64)
    elif kind == 1:
        weight = 0.5 + 0.5 * np.sin(2 * np.pi * along * rng.uniform(2, 6))
    else:
        weight = along - along.min()
    return first + np.clip(weight, 0, 1)[..., None] * (second - first)


def _place(image: np.ndarray, mask: np.ndarray, item: SourceItem, rng: np.random.Generator, *, largest: float) -> None:
    """Draws the item where it hides little of the others, else not at all."""
    for _ in range(8):
        side = round(SIDE * rng.uniform(0.28, largest))
        grey, alpha = _turned(item, side, rng.uniform(-35, 35))
        top, left = rng.integers(0, SIDE - side + 1, size=2)
        here = (slice(top, top + side), slice(left, left + side))
        inside = alpha > 0.5
        if (inside & (mask[here] > 0)).sum() > _MOST_OVERLAP * inside.sum():
            continue
        tint = np.array(colorsys.hls_to_rgb(rng.random(), rng.uniform(0.35, 0.75), rng.uniform(0.3, 0.9)))
        colour = tint * (0.25 + 0.95 * grey[..., None])
        image[here] += alpha[..., None] * (np.clip(colour, 0, 1) - image[here])
        mask[here][inside] = item.label
        return


def _turned(item: SourceItem, side: int, degrees: float) -> tuple[np.ndarray, np.ndarray]:
    """Grey values and coverage, scaled to `side` pixels and turned; float `(side, side)` in [0, 1]."""
    planes = []
    for plane in (item.grey, item.alpha):
        picture = Image.fromarray(plane.astype(np.float32)).resize((side, side), Image.Resampling.BICUBIC)
        picture = picture.rotate(degrees, Image.Resampling.BILINEAR)
        planes.append(np.clip(np.asarray(picture, dtype=np.float64), 0, 1))
    return planes[0], planes[1]


def webp(image: np.ndarray) -> bytes:
    """Lossy WebP of an RGB image."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "WEBP", quality=_QUALITY, method=6)
    return buffer.getvalue()


def rows(groups: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Rows of the table for these groups."""
    items = SourceItems()
    members = groups_of(len(items))
    for group in groups:
        for number, (image, mask) in enumerate(scenes(group, members[group].tolist(), items)):
            name = f"{group:03d}-{number:02d}"
            yield {
                "image": {"bytes": webp(image), "path": f"{name}.webp"},
                "mask": {"bytes": encode(mask), "path": f"{name}.png"},
                "group": f"{group:03d}",
            }


def build(target: Path) -> None:
    """Write the Parquet file in the layout of Hugging Face's image data sets; the mask's feature names the classes."""
    features = {"image": {"_type": "Image"}, "mask": {"_type": "Image", "names": CLASSES}}
    info = {"description": "Synthetic scenes of Fashion-MNIST items", "features": features, "license": "MIT"}
    file = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema([("image", file), ("mask", file), ("group", pa.string())])
    table = pa.Table.from_pylist(list(rows(range(NUM_GROUPS))), schema=schema)
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": info})})
    pq.write_table(table, target, compression="zstd", use_dictionary=["group"], row_group_size=500)
    print(f"{target.name}: {table.num_rows} scenes, {target.stat().st_size:,} bytes")


if __name__ == "__main__":
    build(TARGET)
