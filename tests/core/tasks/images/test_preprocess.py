"""From encoded bytes to the network's input."""

import io
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from torchvision import transforms

from components.core.models.resampling import INTERPOLATIONS
from components.core.tasks.images.preprocess import Preprocess, TooManyPixelsError, open_image

PREPROCESS = Preprocess(image_size=8, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def random_pixels(height: int = 12, width: int = 20) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_input_equals_pillow_and_three_lines_of_numpy(encode: Callable[..., bytes]) -> None:
    pixels = random_pixels()
    resized = np.asarray(Image.fromarray(pixels).resize((8, 8), Image.Resampling.BILINEAR))
    values = resized.astype(np.float32) / np.float32(255)
    expected = (values - np.float32(PREPROCESS.mean)) / np.float32(PREPROCESS.std)
    result = PREPROCESS(encode(pixels))
    assert result.dtype == np.float32
    assert result.flags["C_CONTIGUOUS"]
    np.testing.assert_array_equal(result, expected.transpose(2, 0, 1))


def test_a_batch_is_normalised_like_each_of_its_images(encode: Callable[..., bytes]) -> None:
    images = [encode(random_pixels()), encode(random_pixels(8, 8))]
    batch = PREPROCESS.normalized(np.stack([PREPROCESS.pixels(image) for image in images]))
    np.testing.assert_array_equal(batch, np.stack([PREPROCESS(image) for image in images]))


def test_exif_orientation_is_applied() -> None:
    upright = np.zeros((4, 8, 3), dtype=np.uint8)
    upright[:, 4:] = 255
    lying = Image.fromarray(upright).transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    buffer = io.BytesIO()
    lying.save(buffer, "PNG", exif=exif)
    assert lying.size == (4, 8)
    np.testing.assert_array_equal(np.asarray(open_image(buffer.getvalue())), upright)


def test_sixteen_bit_grey_is_scaled_and_not_saturated(encode: Callable[..., bytes]) -> None:
    grey = np.array([[0, 256, 32768, 65535]], dtype=np.uint16)
    result = np.asarray(open_image(encode(grey)))
    np.testing.assert_array_equal(result[0, :, 0], [0, 1, 128, 255])


def test_transparency_is_laid_on_white(encode: Callable[..., bytes]) -> None:
    pixels = np.array([[[10, 20, 30, 255], [10, 20, 30, 0]]], dtype=np.uint8)
    np.testing.assert_array_equal(np.asarray(open_image(encode(pixels)))[0], [[10, 20, 30], [255, 255, 255]])


@pytest.mark.parametrize("mode", ["L", "LA", "P", "CMYK", "1", "RGBA"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    buffer = io.BytesIO()
    Image.fromarray(random_pixels()).convert("RGB").convert("L" if mode == "LA" else mode).convert(mode).save(
        buffer, "TIFF"
    )
    result = open_image(buffer.getvalue())
    assert (result.mode, result.size) == ("RGB", (20, 12))


def test_a_format_outside_of_the_list_is_not_opened(encode: Callable[..., bytes]) -> None:
    with pytest.raises(OSError, match="cannot identify"):
        open_image(encode(random_pixels(), "TGA"))


def test_too_many_pixels_are_refused_from_the_header(encode: Callable[..., bytes]) -> None:
    image = encode(random_pixels())
    open_image(image, max_pixels=240)
    with pytest.raises(TooManyPixelsError, match="20 × 12 pixels; the limit is 239"):
        open_image(image, max_pixels=239)


def test_json_round_trip_is_exact() -> None:
    document = json.loads(json.dumps(PREPROCESS.to_json()))
    assert Preprocess.from_json(document) == PREPROCESS
    with pytest.raises(ValueError, match="format 1, got 2"):
        Preprocess.from_json({**document, "format": 2})
    with pytest.raises(ValueError, match="exactly"):
        Preprocess.from_json({**document, "crop": 1})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_size": 0}, "image_size must be a whole number"),
        ({"image_size": 64.0}, "image_size must be a whole number"),
        ({"std": (1, 0, 1)}, "std must be positive"),
        ({"mean": (1, 2)}, "mean must be three"),
        ({"mean": (1, 2, float("nan"))}, "mean must be three finite"),
        ({"interpolation": "cubic"}, "unknown interpolation 'cubic'; available: bilinear, bicubic"),
        ({"resize": "stretch"}, "unknown resize 'stretch'; available: squash, fit, letterbox, crop"),
        ({"resize": "crop", "crop_ratio": 0}, "crop_ratio must be above 0 and at most 1, got 0"),
        ({"levels": (5.0, 5.0)}, "levels must be two finite numbers, black below white"),
    ],
)
def test_a_wrong_value_is_named(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Preprocess(**{"image_size": 8, "mean": (0, 0, 0), "std": (1, 1, 1), **change})


def test_the_way_to_the_size_is_said_with_its_ratio() -> None:
    assert PREPROCESS.described == "bilinear, squash"
    published = replace(PREPROCESS, interpolation="bicubic", resize="crop", crop_ratio=0.875)
    assert published.described == "bicubic, crop of 0.875 of the shorter side"


def test_a_centre_crop_keeps_the_middle_and_a_letterbox_everything(encode: Callable[..., bytes]) -> None:
    pixels = np.zeros((8, 16, 3), dtype=np.uint8)
    pixels[:, 4:12] = 200
    cropped = replace(PREPROCESS, resize="crop", crop_ratio=1.0)
    np.testing.assert_array_equal(cropped.pixels(encode(pixels)), np.full((8, 8, 3), 200))
    boxed = replace(PREPROCESS, resize="letterbox").pixels(encode(pixels))
    filling = [round(255 * value) for value in PREPROCESS.mean]
    assert boxed[0, 0].tolist() == boxed[7, 7].tolist() == filling
    assert boxed[2:6, 3:5].min() > 190
    half = replace(PREPROCESS, resize="crop", crop_ratio=0.5).pixels(encode(random_pixels(8, 8)))
    larger = np.asarray(Image.fromarray(random_pixels(8, 8)).resize((16, 16), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(half, larger[4:12, 4:12])


def test_what_a_release_does_not_need_is_not_in_its_file() -> None:
    assert set(PREPROCESS.to_json()) == {"format", "image_size", "mean", "std", "interpolation", "resize"}
    for further in ({"resize": "crop", "crop_ratio": 0.875}, {"levels": (0.0, 4095.0)}):
        preprocess = replace(PREPROCESS, **further)
        assert Preprocess.from_json(json.loads(json.dumps(preprocess.to_json()))) == preprocess


def test_serving_needs_no_torch() -> None:
    code = "import sys, components.core.tasks as t; t.get_task('classification'); print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize(("side", "ratio"), [(224, 0.875), (32, 0.9), (24, 1.0)])
def test_a_centre_crop_is_torchvisions_to_the_pixel(
    encode: Callable[..., bytes], side: int, ratio: float, interpolation: str
) -> None:
    resize = transforms.Resize(int(side / ratio), interpolation=transforms.InterpolationMode(interpolation))
    theirs = transforms.Compose([resize, transforms.CenterCrop(side)])
    ours = replace(PREPROCESS, image_size=side, resize="crop", crop_ratio=ratio, interpolation=interpolation)
    assert Preprocess.from_json(json.loads(json.dumps(ours.to_json()))) == ours
    for height, width in ((300, 401), (401, 300), (257, 299), (90, 33), (37, 36), (256, 256), (224, 224)):
        picture = random_pixels(height, width)
        expected = np.asarray(theirs(Image.fromarray(picture)))
        np.testing.assert_array_equal(ours.pixels(encode(picture)), expected, err_msg=f"{height}x{width}")
