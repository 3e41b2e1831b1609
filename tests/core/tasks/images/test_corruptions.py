"""Each corruption against its formula, written out pixel by pixel."""

import io
import math
from hashlib import sha256

import numpy as np
import pytest
from PIL import Image

from components.core.tasks.images.corruptions import (
    CORRUPTIONS,
    SEVERITIES,
    brightness,
    contrast,
    corrupted,
    gaussian_blur,
    gaussian_noise,
    jpeg,
    motion_blur,
    pixelate,
    shot_noise,
)

HEIGHT, WIDTH = 14, 20
SEED = 7


def clouds(seed: int, height: int, width: int) -> np.ndarray:
    """uint8 `(H, W, 3)`: coarse and fine shading from 40 to 200, as photographs have it."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width, 3))
    for cells in (3, 6, 12):
        for channel in range(3):
            layer = Image.fromarray(rng.random((cells, cells)).astype(np.float32))
            total[..., channel] += np.asarray(layer.resize((width, height), Image.Resampling.BICUBIC)) / cells
    return (40 + 160 * (total - total.min()) / np.ptp(total)).astype(np.uint8)


PIXELS = clouds(1, HEIGHT, WIDTH) / 255


def rng() -> np.random.Generator:
    return np.random.default_rng(SEED)


def at(pixels: np.ndarray, row: int, column: int) -> np.ndarray:
    """The pixel, or of a place outside the nearest one inside."""
    return pixels[min(max(row, 0), pixels.shape[0] - 1), min(max(column, 0), pixels.shape[1] - 1)]


def between(pixels: np.ndarray, y: float, x: float) -> np.ndarray:
    """Bilinear."""
    top, left = math.floor(y), math.floor(x)
    down, right = y - top, x - left
    upper = (1 - right) * at(pixels, top, left) + right * at(pixels, top, left + 1)
    lower = (1 - right) * at(pixels, top + 1, left) + right * at(pixels, top + 1, left + 1)
    return (1 - down) * upper + down * lower


def everywhere(pixel_of) -> np.ndarray:
    return np.array([[pixel_of(row, column) for column in range(WIDTH)] for row in range(HEIGHT)])


def test_gaussian_noise_adds_sigma_times_a_normal_number_to_each_value():
    found = gaussian_noise(PIXELS, 0.1, rng())
    assert found == pytest.approx(PIXELS + 0.1 * np.random.default_rng(SEED).normal(size=PIXELS.shape))
    grey = np.full((200, 200, 3), 0.5)
    noise = gaussian_noise(grey, 0.1, rng()) - grey
    assert noise.mean() == pytest.approx(0, abs=2e-3)
    assert noise.std() == pytest.approx(0.1, rel=0.02)


@pytest.mark.parametrize(("value", "photons"), [(0.2, 60), (0.8, 60), (0.5, 6)])
def test_shot_noise_has_the_mean_of_the_picture_and_the_variance_of_photons(value, photons):
    found = shot_noise(np.full((200, 200, 3), value), photons, rng())
    assert found.mean() == pytest.approx(value, rel=0.01)
    assert found.var() == pytest.approx(value / photons, rel=0.03)
    counts = found * photons
    assert counts == pytest.approx(np.rint(counts))


def test_gaussian_blur_is_the_weighted_mean_around_each_pixel():
    sigma = 0.1 * HEIGHT
    reach = range(-math.ceil(3 * sigma), math.ceil(3 * sigma) + 1)
    weights = {(a, b): math.exp(-(a * a + b * b) / (2 * sigma**2)) for a in reach for b in reach}
    total = sum(weights.values())
    wanted = everywhere(
        lambda row, column: sum(w * at(PIXELS, row + a, column + b) for (a, b), w in weights.items()) / total
    )
    assert gaussian_blur(PIXELS, 0.1, rng()) == pytest.approx(wanted)


def test_motion_blur_is_the_mean_along_a_line_through_each_pixel():
    length, angle = 0.3 * HEIGHT, np.random.default_rng(SEED).uniform(0, math.pi)
    count = 2 * math.ceil(length) + 1
    moved = [-length / 2 + length * step / (count - 1) for step in range(count)]
    wanted = everywhere(
        lambda row, column: (
            sum(between(PIXELS, row + t * math.sin(angle), column + t * math.cos(angle)) for t in moved) / count
        )
    )
    assert motion_blur(PIXELS, 0.3, rng()) == pytest.approx(wanted)


def test_brightness_adds_and_contrast_shrinks_towards_the_mean_of_each_channel():
    assert brightness(PIXELS, 0.2, rng()) == pytest.approx(everywhere(lambda row, column: PIXELS[row, column] + 0.2))
    means = [sum(PIXELS[row, column, channel] for row in range(HEIGHT) for column in range(WIDTH)) / (HEIGHT * WIDTH)
             for channel in range(3)]  # fmt: skip
    wanted = everywhere(
        lambda row, column: [0.3 * PIXELS[row, column, channel] + 0.7 * means[channel] for channel in range(3)]
    )
    assert contrast(PIXELS, 0.3, rng()) == pytest.approx(wanted)


@pytest.mark.parametrize("share", [0.6, 0.25, 0.01])
def test_pixelate_gives_each_cell_its_mean(share):
    rows, columns = (max(1, round(share * size)) for size in (HEIGHT, WIDTH))
    wanted = np.zeros_like(PIXELS)
    for row in range(rows):
        for column in range(columns):
            cell = (
                slice(row * HEIGHT // rows, (row + 1) * HEIGHT // rows),
                slice(column * WIDTH // columns, (column + 1) * WIDTH // columns),
            )
            wanted[cell] = PIXELS[cell].mean(axis=(0, 1))
    assert pixelate(PIXELS, share, rng()) == pytest.approx(wanted)


def test_jpeg_is_what_pillow_makes_of_the_picture():
    buffer = io.BytesIO()
    Image.fromarray(np.rint(255 * PIXELS).astype(np.uint8)).save(buffer, "JPEG", quality=12, subsampling=2)
    assert jpeg(PIXELS, 12, rng()) == pytest.approx(np.asarray(Image.open(buffer)) / 255)


def test_there_are_eight_with_three_severities_each():
    assert len(CORRUPTIONS) == 8
    assert SEVERITIES == (1, 2, 3)
    assert {len(one.strengths) for one in CORRUPTIONS.values()} == {3}


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("shape", [(28, 28), (96, 128), (224, 300)])
def test_the_distance_from_the_clean_picture_grows_with_the_severity(name, shape):
    for seed in range(3):
        clean = clouds(seed, *shape)
        before = clean.copy()
        distances = [
            float(np.sqrt(np.mean((corrupted(clean, name, severity, seed=f"{seed}") / 255 - clean / 255) ** 2)))
            for severity in SEVERITIES
        ]
        assert 0 < distances[0] < distances[1] < distances[2], (name, distances)
        assert np.array_equal(clean, before)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_digest_alone_decides_the_draws(name):
    clean = clouds(3, 32, 32)
    seed = sha256(b"a picture").hexdigest()
    found = corrupted(clean, name, 3, seed=seed)
    assert (found.dtype, found.shape) == (np.uint8, clean.shape)
    np.random.seed(1)
    assert np.array_equal(corrupted(clean, name, 3, seed=seed), found)
    draws = int.from_bytes(sha256(f"{seed} {name}".encode()).digest())
    corruption = CORRUPTIONS[name]
    plain = corruption.apply(clean / 255, corruption.strengths[2], np.random.default_rng(draws))
    assert np.array_equal(np.rint(255 * np.clip(plain, 0, 1)), found)
    other = corrupted(clean, name, 3, seed=seed[::-1])
    assert np.array_equal(other, found) == (name not in ("gaussian noise", "shot noise", "motion blur"))
