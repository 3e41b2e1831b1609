"""How many copies of pictures data_prep finds, and how many different pictures it takes for copies.

    python tests/benchmarks/near_copies.py [FOLDER ...]

Of the embedded demo, and of the pictures in each folder: the share of edited copies that are near, by edit, and the
pairs of unedited pictures that are. `--rows N` also groups N synthetic look-alikes and says how long that took.
"""

import argparse
import io
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image, ImageEnhance

from components.core.data.near_copies import group_near
from components.core.tasks.classification.rows import ClassificationRows
from components.core.tasks.images.near import NEAR, shading
from components.core.tasks.images.preprocess import as_rgb

SEED, EDITED = 20261130, 400


def encoded(image: Image.Image, format: str, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, format, quality=quality)
    return Image.open(buffer).convert("RGB")


def resized(image: Image.Image, factor: float) -> Image.Image:
    return image.resize((max(1, round(image.width * factor)), max(1, round(image.height * factor))))


def brighter(image: Image.Image, factor: float) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(factor)


EDITS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG 75": lambda image: encoded(image, "JPEG", 75),
    "JPEG 50": lambda image: encoded(image, "JPEG", 50),
    "WebP 80": lambda image: encoded(image, "WEBP", 80),
    "twice as large": lambda image: resized(image, 2),
    "half as large": lambda image: resized(image, 0.5),
    "0.75 as large, JPEG 75": lambda image: encoded(resized(image, 0.75), "JPEG", 75),
    "10 % brighter": lambda image: brighter(image, 1.1),
    "20 % brighter": lambda image: brighter(image, 1.2),
    "5 % cut off each side": lambda image: image.crop(
        (image.width // 20, image.height // 20, image.width - image.width // 20, image.height - image.height // 20)
    ),
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
}


def demo() -> Iterator[Image.Image]:
    for row in pq.read_table(ClassificationRows.demo.file).column("image").to_pylist():
        yield Image.open(io.BytesIO(row["bytes"])).convert("RGB")


def pictures(folder: Path) -> Iterator[Image.Image]:
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp"):
            image = as_rgb(Image.open(path), None)
            image.thumbnail((1024, 1024))
            yield image


def vectors(images: list[Image.Image]) -> np.ndarray:
    found = np.zeros((len(images), NEAR.dimensions), dtype=np.float16)
    for row, image in zip(found, images, strict=True):
        if (vector := shading(image)) is not None:
            row[:] = np.frombuffer(vector, dtype=np.float16)
    return found


def show(name: str, images: list[Image.Image]) -> None:
    originals = vectors(images)
    plain = ~np.any(originals != 0, axis=1)
    groups = group_near(originals, NEAR.distance)
    joined = int((np.bincount(groups, minlength=len(groups))[groups] > 1).sum())
    print(f"{name}: {len(images):,} pictures, {int(plain.sum())} of one shade, {joined} in groups without any edit")
    for row, group in enumerate(groups):
        if group != row:
            print(f"  {group} and {row}")
    edited = np.random.default_rng(SEED).permutation(np.flatnonzero(~plain))[:EDITED]
    for edit, apply in EDITS.items():
        copies = vectors([apply(images[row]) for row in edited]).astype(np.float32)
        near = np.linalg.norm(copies - originals[edited].astype(np.float32), axis=1) <= NEAR.distance
        print(f"  {edit}: {100 * near.mean():.1f} %")


def scale(rows: int) -> None:
    """Mixtures of two pictures of the demo each, with a little noise; the last hundredth are copies 0.03 away."""
    rng = np.random.default_rng(SEED)
    known, mixed = vectors(list(demo())).astype(np.float32), np.empty((rows, NEAR.dimensions), dtype=np.float16)
    for start in range(0, rows, 50_000):
        part = mixed[start : start + 50_000]
        (one, other), share = rng.integers(0, len(known), (2, len(part))), rng.random((len(part), 1))
        made = share * known[one] + (1 - share) * known[other] + 0.02 * rng.standard_normal(part.shape)
        part[:] = made / np.linalg.norm(made, axis=1, keepdims=True)
    copied = rng.integers(0, rows // 2, rows // 100)
    moved = mixed[copied] + 0.03 / NEAR.dimensions**0.5 * rng.standard_normal((len(copied), NEAR.dimensions))
    mixed[-len(copied) :] = moved / np.linalg.norm(moved, axis=1, keepdims=True)
    before, begin = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    groups = group_near(mixed, NEAR.distance)
    took, after = time.monotonic() - begin, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = float((groups[-len(copied) :] == groups[copied]).mean())
    print(f"{rows:,} rows: {took:.0f} s, {(after - before) / 1e3:.0f} MB more, {100 * found:.2f} % of the copies found")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--rows", type=int, default=0)
    asked = parser.parse_args()
    show("demo", list(demo()))
    for folder in asked.folders:
        show(folder.name, list(pictures(folder)))
    if asked.rows:
        scale(asked.rows)


if __name__ == "__main__":
    main()
