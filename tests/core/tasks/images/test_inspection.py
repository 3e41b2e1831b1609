"""One image at a time: used, or refused with the right reason."""

import io
import struct
import zlib
from collections.abc import Callable

import deep_colour_files
import numpy as np
import pytest
from PIL import Image

from components.core.data.ingestion.items import Rejection
from components.core.tasks.images.inspection import REASONS, Inspection, inspect_image

Picture = Callable[..., bytes]
FORMATS = ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"]


def png_header(width: int, height: int) -> bytes:
    """A PNG that announces a size and holds almost nothing: a decompression bomb's face."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_a_jpeg_whose_second_half_is_zeros_is_truncated(picture: Picture) -> None:
    data = picture(0, "JPEG", (96, 96))
    half = len(data) // 2
    rejection = inspect_image(data[:half] + bytes(len(data) - half))
    assert isinstance(rejection, Rejection)
    assert (rejection.reason, rejection.detail.endswith("bytes are zeros")) == ("truncated", True)
    assert not isinstance(inspect_image(data + bytes(100)), Rejection)


@pytest.mark.parametrize("format", FORMATS)
def test_every_accepted_format_is_usable(format: str, picture: Picture) -> None:
    assert not isinstance(inspect_image(picture(0, format)), Rejection)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"])
@pytest.mark.parametrize("keep", [0.5, 0.9])
def test_a_file_that_ends_early_is_never_used(format: str, keep: float, picture: Picture) -> None:
    data = picture(0, format)
    rejection = inspect_image(data[: int(len(data) * keep)])
    assert rejection is not None
    assert rejection.reason in ("truncated", "corrupt")
    if format in ("JPEG", "PNG", "WEBP", "BMP"):
        assert rejection.reason == "truncated"


def test_an_empty_file_is_truncated_and_a_text_is_corrupt() -> None:
    assert inspect_image(b"") == Rejection("truncated", "the file is empty")
    rejection = inspect_image(b"<html></html>")
    assert rejection is not None
    assert rejection.reason == "corrupt"


def test_damaged_bytes_inside_a_png_are_corrupt(picture: Picture) -> None:
    data = bytearray(picture(0, "PNG"))
    data[len(data) // 2] ^= 0xFF
    rejection = inspect_image(bytes(data))
    assert rejection is not None
    assert rejection.reason == "corrupt"


def test_a_bomb_is_refused_from_its_header() -> None:
    for side in (8193, 50_000):  # above our limit; above Pillow's own, which raises already when it opens
        rejection = inspect_image(png_header(side, side))
        assert rejection is not None
        assert rejection.reason == "oversized"


def test_a_narrow_picture_that_cropping_would_make_huge_is_refused_from_its_header() -> None:
    for size in ((1, 101), (20_200, 200), (1, 60_000_000)):
        rejection = inspect_image(png_header(*size))
        assert rejection is not None
        assert rejection.reason == "oversized"
        assert rejection.detail == f"{size[0]} × {size[1]} pixels; one side may be at most 100 times the other"


def test_a_picture_at_the_limit_of_narrowness_is_read() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (2, 200)).save(buffer, "PNG")
    found = inspect_image(buffer.getvalue())
    assert isinstance(found, Inspection)
    assert (found.width, found.height) == (2, 200)


def test_whatever_a_decoder_raises_is_a_reason_and_no_crash(monkeypatch: pytest.MonkeyPatch, picture: Picture) -> None:
    def fail(self: object) -> None:
        raise IndexError

    data = picture(0)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fail)
    assert inspect_image(data) == Rejection("corrupt", "IndexError")


def test_every_reason_that_inspection_gives_is_explained(picture: Picture) -> None:
    found = {inspect_image(data) for data in (b"", b"x", picture(0)[:-100], png_header(9000, 9000))}
    assert {rejection.reason for rejection in found if rejection} <= set(REASONS)


@pytest.mark.parametrize("deflated", [False, True])
def test_deep_colour_in_planes_which_pillow_would_read_as_noise_is_refused(deflated: bool) -> None:
    pixels = np.random.default_rng(0).integers(0, 65536, (6, 7, 3)).astype(np.uint16)
    assert not isinstance(inspect_image(deep_colour_files.tiff(pixels, deflated=deflated)), Rejection)
    rejection = inspect_image(deep_colour_files.tiff(pixels, deflated=deflated, planar=True))
    assert isinstance(rejection, Rejection)
    assert (rejection.reason, "separate planes" in rejection.detail) == ("unsupported", True)


def test_grey_with_alpha_of_16_bits_is_refused_where_its_scale_cannot_be_seen() -> None:
    pixels = np.random.default_rng(0).integers(0, 4096, (6, 7, 2)).astype(np.uint16)
    pixels[..., 1] = 65535
    rejection = inspect_image(deep_colour_files.png(pixels))
    assert isinstance(rejection, Rejection)
    assert (rejection.reason, "scale it to 8 or 16 bits" in rejection.detail) == ("unsupported", True)
    pixels[..., 0] *= 16
    assert not isinstance(inspect_image(deep_colour_files.png(pixels)), Rejection)
