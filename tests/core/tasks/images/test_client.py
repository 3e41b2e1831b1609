"""The release's own code against the training decoder."""

import io
import itertools
from types import ModuleType
from typing import Any

import deep_colour_files
import numpy as np
import pytest
from PIL import Image, ImageMode

from components.core.models.resampling import INTERPOLATIONS
from components.core.tasks.classification import pages as classification
from components.core.tasks.images.preprocess import RESIZES, Preprocess
from components.core.tasks.segmentation import pages as segmentation

MODES = (
    "1",
    "L",
    "LA",
    "P",
    "PA",
    "RGB",
    "RGBA",
    "RGBa",
    "RGBX",
    "CMYK",
    "YCbCr",
    "HSV",
    "LAB",
    "I",
    "F",
    "I;16",
    "I;16B",
)

DEEP = {"I": np.int32, "I;16": np.uint16, "I;16B": np.dtype(">u2"), "F": np.float32}

PROGRAMS = {
    "classification": classification.CLIENT,
    **{f"segmentation-{mode}": program for mode, program in segmentation.CLIENTS.items()},
}


@pytest.fixture(scope="module", params=PROGRAMS.values(), ids=PROGRAMS)
def client(request: pytest.FixtureRequest) -> ModuleType:
    module = ModuleType("client")
    exec(request.param, module.__dict__)
    return module


def encoded(mode: str) -> bytes:
    """A picture of this mode with values over its whole range, in the first format that can hold it."""
    pixels = np.random.default_rng(0).integers(0, 256, (14, 22, 4), dtype=np.uint8)
    image = Image.fromarray(pixels, "RGBA")
    if mode in DEEP:
        values = np.linspace(0, 4000, 14 * 22).reshape(14, 22)
        image = Image.fromarray(values.astype(DEEP[mode]))
    elif mode == "LAB":
        image = Image.frombytes("LAB", image.size, image.convert("RGB").tobytes())
    elif mode in ("LA", "PA"):
        image = image.convert("LA").convert(mode) if mode != "PA" else image.convert("P").convert("PA")
    elif mode == "RGBa":
        image = image.convert("RGBa")
    else:
        image = image.convert("RGB").convert("L" if mode == "1" else mode).convert(mode)
    assert ImageMode.getmode(mode).mode == mode
    for format in ("PNG", "TIFF", "WEBP"):
        buffer = io.BytesIO()
        try:
            image.save(buffer, format)
        except (OSError, ValueError, KeyError):
            continue
        return buffer.getvalue()
    raise AssertionError(f"no format holds {mode}")


def test_every_mode_of_pillow_is_among_them() -> None:
    # Pillow converts La to no mode that is used here, and reads no file as one of the last two.
    assert set(Image.MODES) <= {*MODES, "La", "I;16L", "I;16N"}


@pytest.mark.parametrize("levels", [None, (0.0, 4095.0)])
@pytest.mark.parametrize("mode", MODES)
def test_the_client_sees_what_training_sees(mode: str, levels: Any, client: ModuleType) -> None:
    data = encoded(mode)
    for resize, interpolation in itertools.product(RESIZES, INTERPOLATIONS):
        mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
        preprocess = Preprocess(
            image_size=9,
            mean=mean,
            std=std,
            interpolation=interpolation,
            resize=resize,
            crop_ratio=0.8,
            levels=levels,
        )
        prepare = preprocess.to_json()
        image = client.upright_rgb(data, prepare.get("levels"))
        np.testing.assert_array_equal(client.network_input(image, prepare), preprocess(data))


def test_the_client_lays_transparent_palettes_on_white_and_turns_upright(client: ModuleType) -> None:
    image = Image.new("P", (6, 4))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 1), 1)
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(buffer, "PNG", transparency=0, exif=exif)
    preprocess = Preprocess(image_size=6, mean=(0, 0, 0), std=(1, 1, 1), resize="letterbox")
    rgb = client.upright_rgb(buffer.getvalue())
    assert (rgb.size, rgb.getpixel((0, 0))) == ((4, 6), (255, 255, 255))
    np.testing.assert_array_equal(client.network_input(rgb, preprocess.to_json()), preprocess(buffer.getvalue()))


def deep_colours() -> dict[str, tuple[bytes, np.ndarray]]:
    """Files of 16-bit colour by name, and their samples with transparency laid on white."""
    draw = np.random.default_rng(0)
    rgb, rgba = (draw.integers(0, 4096, (9, 11, samples)).astype(np.uint16) for samples in (3, 4))
    rgba[..., 3] = np.where(rgba[..., 3] < 2048, 0, 65535)
    laid = np.where(rgba[..., 3:] == 0, 4095, rgba[..., :3])
    holed = rgb.copy()
    holed[2, 3] = 4095
    return {
        "PNG": (deep_colour_files.png(rgb), rgb),
        "PNG with alpha": (deep_colour_files.png(rgba), laid),
        "PNG with a transparent colour": (deep_colour_files.png(rgb, transparent=tuple(rgb[2, 3])), holed),
        "TIFF": (deep_colour_files.tiff(rgb), rgb),
        "TIFF of the other byte order": (deep_colour_files.tiff(rgb, order=">"), rgb),
        "TIFF with alpha": (deep_colour_files.tiff(rgba), laid),
        "TIFF, compressed": (deep_colour_files.tiff(rgb, deflated=True), rgb),
        "TIFF of the other byte order, compressed": (deep_colour_files.tiff(rgb, order=">", deflated=True), rgb),
    }


@pytest.mark.parametrize("name", deep_colours())
def test_the_client_scales_colour_of_16_bits_as_training_does(name: str, client: ModuleType) -> None:
    data, samples = deep_colours()[name]
    for levels in ((0.0, 4095.0), (0.0, 65535.0), None):
        preprocess = Preprocess(image_size=9, mean=(0, 0, 0), std=(1, 1, 1), resize="crop", levels=levels)
        seen = client.upright_rgb(data, levels)
        np.testing.assert_array_equal(client.network_input(seen, preprocess.to_json()), preprocess(data))
        if levels == (0.0, 4095.0):
            np.testing.assert_array_equal(np.asarray(seen), np.rint(samples * (255 / 4095)))
