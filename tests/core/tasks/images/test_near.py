"""Which pictures their shading takes for the same, and which it tells apart."""

import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from components.core.tasks.images.near import NEAR, shading


def photo(seed: int, size: tuple[int, int] = (160, 120)) -> Image.Image:
    """Clouds of three scales, as coarse as photographs are, with values from 40 to 200."""
    rng = np.random.default_rng(seed)
    total = np.zeros((size[1], size[0], 3))
    for cells in (3, 6, 12):
        small = rng.random((cells, cells, 3)).astype(np.float32)
        for channel in range(3):
            layer = Image.fromarray(small[..., channel]).resize(size, Image.Resampling.BICUBIC)
            total[..., channel] += np.asarray(layer) / cells
    low, high = total.min(), total.max()
    return Image.fromarray((40 + 160 * (total - low) / (high - low)).astype(np.uint8))


def encoded(image: Image.Image, format: str, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, format, quality=quality)
    return Image.open(buffer).convert("RGB")


def vector(image: Image.Image) -> np.ndarray:
    found = shading(image)
    assert found is not None
    return np.frombuffer(found, dtype=np.float16).astype(np.float64)


def apart(one: Image.Image, other: Image.Image) -> float:
    return float(np.linalg.norm(vector(one) - vector(other)))


COPIES = {
    "JPEG 50": lambda image: encoded(image, "JPEG", 50),
    "WebP 80": lambda image: encoded(image, "WEBP", 80),
    "half as large": lambda image: image.resize((80, 60), Image.Resampling.LANCZOS),
    "twice as large": lambda image: image.resize((320, 240), Image.Resampling.BILINEAR),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.15),
    "smaller, brighter, JPEG": lambda image: encoded(
        ImageEnhance.Brightness(image.resize((120, 90))).enhance(1.1), "JPEG", 75
    ),
}


@pytest.mark.parametrize("edit", COPIES)
def test_a_copy_is_near(edit: str) -> None:
    for seed in range(20):
        assert apart(photo(seed), COPIES[edit](photo(seed))) <= NEAR.distance


def test_different_pictures_are_not_near() -> None:
    vectors = np.stack([vector(photo(seed)) for seed in range(60)])
    distances = np.linalg.norm(vectors[:, None] - vectors[None], axis=2)
    assert distances[~np.eye(60, dtype=bool)].min() > 5 * NEAR.distance


def test_the_vector_is_the_low_part_of_the_cosine_transform_of_length_one() -> None:
    image = photo(3)
    small = np.asarray(image.convert("L").resize((16, 16), Image.Resampling.BICUBIC), dtype=np.float64)
    # Each frequency is a sum over pixels: 2/16 Σ small[y, x] cos(π(2y+1)k/32) cos(π(2x+1)m/32), 1/√2 if k or m is 0.
    y, x = np.mgrid[:16, :16]
    low = [
        2 / 16 * (small * np.cos(np.pi * (2 * y + 1) * k / 32) * np.cos(np.pi * (2 * x + 1) * m / 32)).sum()
        / np.sqrt(2) ** ((k == 0) + (m == 0))
        for k in range(10) for m in range(10)
    ][1:]  # fmt: skip
    assert vector(image) == pytest.approx(low / np.linalg.norm(low), abs=1e-3)
    assert len(vector(image)) == NEAR.dimensions


def test_a_picture_of_one_shade_has_no_shading() -> None:
    noise = np.random.default_rng(0).integers(-4, 5, (64, 64, 3))
    assert shading(Image.fromarray((128 + noise).astype(np.uint8))) is None
