import io
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from components.core.tasks.segmentation.masks import (
    IGNORED,
    REASONS,
    MaskError,
    decode,
    default_palette,
    encode,
    resized,
)

MASK = np.array([[0, 1, 2], [2, 1, IGNORED]], np.uint8)
PALETTE = [(0, 0, 0), (128, 0, 0), (10, 20, 30)]


def saved(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def palette_png(mask: np.ndarray, palette: list[tuple[int, int, int]]) -> bytes:
    image = Image.fromarray(mask).convert("L")
    image.putpalette([channel for colour in palette for channel in colour])
    return saved(image)


def colours(mask: np.ndarray) -> Image.Image:
    table = np.zeros((256, 3), np.uint8)
    table[:3], table[IGNORED] = PALETTE, (224, 224, 192)
    return Image.fromarray(table[mask])


def refused(data: bytes, **options: object) -> str:
    with pytest.raises(MaskError) as caught:
        decode(data, **{"classes": 3, **options})
    assert caught.value.reason in REASONS
    assert str(caught.value).startswith(caught.value.reason)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "data",
    [
        palette_png(MASK, default_palette(256)),
        # The colours of a palette PNG say nothing: a viewer's palette gives the same indices.
        palette_png(MASK, [(number, 255 - number, 7) for number in range(256)]),
        saved(Image.fromarray(MASK)),
        saved(Image.fromarray(MASK), "BMP"),
        saved(Image.fromarray(MASK.astype(np.uint16))),
        saved(Image.fromarray(MASK.astype(np.uint16)), "TIFF"),
    ],
)
def test_palette_grey_and_16_bit_files_give_their_indices(data: bytes) -> None:
    decoded = decode(data, classes=3, size=(2, 3))
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, MASK)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_colours_are_looked_up_in_the_palette(mode: str) -> None:
    np.testing.assert_array_equal(decode(saved(colours(MASK).convert(mode)), classes=3, palette=PALETTE), MASK)


def test_another_ignore_index_becomes_ours() -> None:
    mask = np.array([[0, 7], [1, 2]], np.uint8)
    np.testing.assert_array_equal(decode(saved(Image.fromarray(mask)), classes=3, ignore_index=7)[0], [0, IGNORED])


def test_a_palette_png_may_ignore_its_first_colour() -> None:
    mask = np.array([[0, 1], [1, 2]], np.uint8)
    decoded = decode(palette_png(mask, default_palette(256)), classes=3, ignore_index=0)
    np.testing.assert_array_equal(decoded, [[IGNORED, 1], [1, 2]])


def test_every_unusable_mask_is_named() -> None:
    grey = saved(Image.fromarray(MASK))
    assert refused(grey, size=(3, 2)) == "mask of another size: 3 x 2 pixels, the image 2 x 3"
    assert refused(grey, classes=2) == "unknown mask value: 2 in 2 pixels; classes are 0..1"
    assert refused(saved(Image.fromarray(np.full((4, 5), 255, np.uint8)))) == (
        "nothing labelled: all 20 pixels are ignored"
    )
    assert refused(saved(colours(MASK))).startswith("mask colour without a palette: ")
    odd = colours(MASK)
    odd.putpixel((0, 0), (1, 2, 3))
    assert refused(saved(odd), palette=PALETTE) == "unknown mask colour: (1, 2, 3) in 1 pixels"
    deep = MASK.astype(np.uint16)
    deep[0, :2] = 3000
    assert refused(saved(Image.fromarray(deep))) == "mask value above 255: 3000 in 2 pixels"
    assert refused(saved(colours(MASK), "JPEG")).startswith("mask of another kind: JPEG")
    assert refused(saved(Image.fromarray(MASK.astype(np.float32)), "TIFF")).startswith("mask of another kind: mode F")
    assert refused(b"not an image").startswith("damaged mask: ")
    assert refused(grey[:45]).startswith("damaged mask: ")


@settings(deadline=None)
@given(st.integers(0, 10**6), st.data())
def test_a_damaged_file_is_read_or_refused_with_one_reason(seed: int, data: st.DataObject) -> None:
    intact = data.draw(st.sampled_from([encode(MASK), saved(Image.fromarray(MASK.astype(np.uint16)), "TIFF")]))
    damaged = bytearray(intact)
    for position in np.random.default_rng(seed).integers(0, len(damaged), 3):
        damaged[position] ^= 0x55
    assert outcome(bytes(damaged)) <= {0, 1, 2, IGNORED, *REASONS}


def outcome(data: bytes) -> set[int | str]:
    """The values of the mask, or the reason of the refusal."""
    try:
        return set(np.unique(decode(data, classes=3)).tolist())
    except MaskError as error:
        return {error.reason}


def test_a_file_that_claims_to_be_huge_is_refused_before_it_is_decoded() -> None:
    data = bytearray(encode(MASK))
    at = data.index(b"IHDR") + 4
    data[at : at + 8] = struct.pack(">II", 60_000, 60_000)
    assert refused(bytes(data)).startswith("damaged mask: ")


@settings(deadline=None)
@given(st.integers(1, 256), st.integers(1, 20), st.integers(1, 20), st.integers(0, 10**6))
def test_encoded_masks_decode_to_themselves(values: int, height: int, width: int, seed: int) -> None:
    mask = np.random.default_rng(seed).integers(0, values, (height, width)).astype(np.uint8)
    mask[0, 0] = 0
    np.testing.assert_array_equal(decode(encode(mask), classes=255), mask)


def test_few_classes_take_few_bits() -> None:
    rng = np.random.default_rng(0)
    sizes = [len(encode(rng.integers(0, values, (64, 64), dtype=np.uint8))) for values in (2, 4, 16, 200)]
    assert sizes[0] < 64 * 64 / 8 + 200
    assert sizes[1] < 64 * 64 / 4 + 200
    assert sizes[2] < 64 * 64 / 2 + 300
    assert Image.open(io.BytesIO(encode(MASK % 3))).mode == "P"


def test_the_default_palette_is_vocs() -> None:
    # First entries of VOClabelcolormap in the VOC2012 development kit, and class 20 (tv/monitor).
    expected = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 3: (128, 128, 0), 4: (0, 0, 128), 8: (64, 0, 0)}
    palette = default_palette(256)
    assert {number: palette[number] for number in expected} == expected
    assert palette[20] == (0, 64, 128)
    assert palette[255] == (224, 224, 192)
    assert len(set(palette)) == 256


def test_resizing_takes_the_nearest_pixel() -> None:
    np.testing.assert_array_equal(resized(MASK, 4, 6), MASK.repeat(2, axis=0).repeat(2, axis=1))
    assert set(np.unique(resized(MASK, 7, 11))) <= {0, 1, 2, IGNORED}
    assert resized(MASK, 2, 3) is MASK
