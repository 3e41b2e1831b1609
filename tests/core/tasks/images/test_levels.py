"""Pixels deeper than 8 bits."""

import io
from collections.abc import Callable
from pathlib import Path

import deep_colour_files
import numpy as np
import pytest
from PIL import Image

from components.core.data.dataset import open_dataset
from components.core.models.catalog import find_backbone, load_catalog
from components.core.store import open_store
from components.core.tasks import get_task
from components.core.tasks.images.levels import doubts_of, levels_of, measured
from components.core.tasks.images.preprocess import open_image
from components.data_prep.prepare import Prepared, prepare
from components.data_prep.settings import Settings

TASK = get_task("classification")


@pytest.fixture
def prepared(tmp_path: Path) -> Callable[..., tuple[dict, Prepared]]:
    def run(make: Callable[[int], Image.Image | bytes]) -> tuple[dict, Prepared]:
        for number in range(12):
            folder = tmp_path / "data" / "ab"[number % 2]
            folder.mkdir(parents=True, exist_ok=True)
            image = make(number)
            if isinstance(image, bytes):
                (folder / f"{number}.png").write_bytes(image)
            else:
                image.save(folder / f"{number}.{'tif' if image.mode in 'IF' else 'png'}")
        store = open_store(str(tmp_path / "store"))
        result = prepare(Settings(rows=TASK.rows, dataset=str(tmp_path / "data")), tmp_path / "out", store)
        dataset = open_dataset(tmp_path / "out", store)
        backbone = find_backbone("efficientnet_lite0", load_catalog())
        return TASK.assets(backbone, dataset, 8).preprocess.to_json(), result

    return run


@pytest.mark.parametrize(
    ("dtype", "highest", "white"),
    [(np.uint16, 255, 255.0), (np.uint16, 4000, 4095.0), (np.uint16, 65535, 65535.0), (np.int32, 255, 255.0),
     (np.float32, 1.0, 1.0), (np.float32, 65535.0, 65535.0)],
)  # fmt: skip
def test_white_is_what_the_training_images_hold(
    dtype: type, highest: float, white: float, prepared: Callable[..., tuple[dict, Prepared]]
) -> None:
    def make(number: int) -> Image.Image:
        ramp = np.linspace(0, highest, 64).reshape(8, 8)
        return Image.fromarray(np.roll(ramp, number).astype(dtype))

    preprocess, result = prepared(make)
    assert preprocess["levels"] == [0.0, white]
    assert result.warnings == []
    buffer = io.BytesIO()
    make(0).save(buffer, "TIFF")
    pixels = np.asarray(open_image(buffer.getvalue(), levels=tuple(preprocess["levels"])))
    assert (pixels.min(), pixels.max() >= 248) == (0, True)


def test_images_of_eight_bits_have_no_levels(prepared: Callable[..., tuple[dict, Prepared]]) -> None:
    preprocess, _ = prepared(
        lambda number: Image.fromarray(np.roll(np.arange(64, dtype=np.uint8), number).reshape(8, 8))
    )
    assert "levels" not in preprocess


def test_even_and_equal_pictures_are_warned_of(prepared: Callable[..., tuple[dict, Prepared]]) -> None:
    def make(number: int) -> Image.Image:
        image = Image.new("RGB", (8, 8), (90, 90, 90))
        if number > 3:
            image.putpixel((number % 8, number // 8), (200, 0, 0))
        # Different files, one picture.
        image.info["number"] = number
        return image if number > 3 else image.resize((8 + number, 8))

    _, result = prepared(make)
    assert [warning.title for warning in result.warnings] == ["Even pictures", "Pictures that look the same"]
    assert result.warnings[0].text.startswith("4 of 12 images show one even colour")


@pytest.mark.parametrize(("highest", "white"), [(255, 255), (1000, 1023), (4000, 4095), (65535, 65535)])
def test_colour_of_16_bits_is_scaled_by_what_the_training_images_hold(
    highest: int, white: int, prepared: Callable[..., tuple[dict, Prepared]]
) -> None:
    draw = np.random.default_rng(0)
    shades = draw.integers(0, highest + 1, (12, 8, 8, 3)).astype(np.uint16)
    shades[:, 0, 0] = highest
    preprocess, result = prepared(lambda number: deep_colour_files.png(shades[number]))
    assert preprocess["levels"] == [0.0, white]
    assert result.warnings == []
    assert not result.quarantine.files
    for data in (deep_colour_files.png(shades[0]), deep_colour_files.tiff(shades[0])):
        pixels = np.asarray(open_image(data, levels=tuple(preprocess["levels"])))
        np.testing.assert_array_equal(pixels, np.rint(shades[0] * (255 / white)))


def test_pictures_of_8_bits_that_are_nearly_black_are_warned_of() -> None:
    draw = np.random.default_rng(0)
    dark = [Image.fromarray(draw.integers(0, 16, (8, 8, 3)).astype(np.uint8)) for _ in range(20)]
    assert [title for title, _ in doubts_of([measured(image) for image in dark], "images")] == ["Faint pictures"]


def test_negative_values_are_kept() -> None:
    assert levels_of([{"darkest": -1.0, "brightest": 1.0}, {"darkest": None, "brightest": None}]) == (-1.0, 1.0)
    assert levels_of([{"darkest": None, "brightest": None}]) is None
