"""Can this image be used? Reads, limits and decodes one image, and says why not."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np
from PIL import Image, UnidentifiedImageError

from components.core.data.ingestion.image_files import HEIC_STARTS, SNIFFED_BYTES, starts_like_image
from components.core.data.ingestion.items import Item, Rejection
from components.core.data.ingestion.locations import UnreadableError
from components.core.tasks.images.deep_colour import HALF_READ, UnsupportedDepthError
from components.core.tasks.images.in_flight import DECODED, picture_bytes
from components.core.tasks.images.levels import measured
from components.core.tasks.images.preprocess import (
    HEIC_INSTALLED,
    IMAGE_FORMATS,
    MAX_PIXELS,
    TooManyPixelsError,
    announced,
    stored_image,
)

T = TypeVar("T")

_FULL_SCALE = 64

REASONS = {
    "unsupported": "not an image file by its suffix, or without one by its first bytes; or of a depth that no decoder "
    "reads as it was meant",
    "oversized": "more bytes or pixels than allowed",
    "unreadable": "missing, or the row points to nothing that can be read",
    "truncated": "the file ends before the image does",
    "corrupt": "not decodable as JPEG, PNG, WebP, BMP, GIF, TIFF or PPM",
    "not installed": "of a format that needs a further package, as HEIC does",
}
"""Every reason that is given here or by a source of images, with its meaning."""


def read_item(item: Item, max_bytes: int) -> bytes | Rejection:
    """The bytes of an item's file, or why there are none; of a file that may be no image the first ones are looked at.

    Raises:
        StoreError: as `read_limited`.
    """
    if item.rejection is not None:
        return item.rejection
    if item.unsure:
        try:
            start = item.read(SNIFFED_BYTES)
        except UnreadableError as error:
            return Rejection("unreadable", str(error))
        if not starts_like_image(start):
            return Rejection("unsupported", "neither its suffix nor its first bytes are those of an image")
    return read_limited(item.read, item.size, max_bytes)


def read_limited(read: Callable[[int], bytes], size: int | None, max_bytes: int) -> bytes | Rejection:
    """The bytes of a file, or why there are none; nothing is read of a file that is known to be too large.

    Raises:
        StoreError: the store behind it does not answer. That says nothing about the file.
    """
    if size is not None and size > max_bytes:
        return _too_many_bytes(size, max_bytes)
    try:
        data = read(max_bytes)
    except UnreadableError as error:
        return Rejection("unreadable", str(error))
    # The size was not known before; `read` has stopped at the limit.
    return _too_many_bytes(None, max_bytes) if len(data) > max_bytes else data


class Inspection(NamedTuple):
    """Facts of an image that was decoded: its size upright in pixels, and `levels.RAW`."""

    width: int
    height: int
    measured: dict[str, Any]


def inspect_image(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Inspection | Rejection:
    """Decode the whole image, as training will; or why that does not work."""

    def decode() -> Inspection:
        (width, height), mode = announced(data, max_pixels=max_pixels)
        with DECODED.holding(picture_bytes(width * height, mode)):
            original = stored_image(data, max_pixels=max_pixels)
            if num_zeros := _zeros_in_place_of_an_end(data):
                raise ValueError(f"truncated: the last {num_zeros:,} bytes are zeros")
            if mode in HALF_READ and _is_faint(original):
                raise UnsupportedDepthError(
                    f"{mode.removesuffix(';16')} of 16 bits of which less than 14 are used; scale it to 8 or 16 bits"
                )
            return Inspection(original.width, original.height, measured(original))

    return try_decoding(data, decode, max_pixels=max_pixels)


def try_decoding(data: bytes, decode: Callable[[], T], *, max_pixels: int = MAX_PIXELS) -> T | Rejection:
    """The result of `decode` for `data`, or the reason of whatever it raises."""
    if not data:
        return Rejection("truncated", "the file is empty")
    try:
        return decode()
    except TooManyPixelsError as error:
        return Rejection("oversized", str(error))
    except UnsupportedDepthError as error:
        return Rejection("unsupported", str(error))
    except Image.DecompressionBombError:
        return Rejection("oversized", f"the limit is {max_pixels:,} pixels")
    except UnidentifiedImageError:
        if data[4:12] in HEIC_STARTS and not HEIC_INSTALLED:
            return Rejection("not installed", "HEIC images need the package pillow-heif: pip install 'trimtab[heic]'")
        return Rejection(
            "corrupt", f"the content is not a {', '.join(IMAGE_FORMATS[:-1])} or {IMAGE_FORMATS[-1]} image"
        )
    except Exception as error:  # noqa: BLE001  a decoder that is fed hostile bytes may raise anything
        detail = " ".join(str(error).split())[:200] or type(error).__name__
        return Rejection("truncated" if _ends_early(data, detail) else "corrupt", detail)


def _is_faint(image: Image.Image) -> bool:
    """Whether no 8-bit sample reaches 64: of 16 bits then 10 or 12 are used, or the picture is very dark."""
    samples = np.asarray(image)
    return int((samples if image.mode == "CMYK" else samples[..., :3]).max()) < _FULL_SCALE


def _zeros_in_place_of_an_end(data: bytes) -> int:
    """Zeros at the end of a JPEG that has no end marker before them: a download that was only reserved on disk.

    libjpeg fills what is missing with grey and Pillow says nothing.
    """
    if data[:2] != b"\xff\xd8":
        return 0
    written = data.rstrip(b"\0")
    return 0 if written.endswith(b"\xff\xd9") else len(data) - len(written)


def _ends_early(data: bytes, detail: str) -> bool:
    if "truncated" in detail.lower():
        return True
    # libwebp's message does not tell; the container states its length.
    is_webp = data[:4] == b"RIFF" and data[8:12] == b"WEBP"
    return is_webp and int.from_bytes(data[4:8], "little") + 8 > len(data)


def _too_many_bytes(size: int | None, max_bytes: int) -> Rejection:
    found = f"{size / 1e6:,.1f} MB" if size is not None else "longer"
    return Rejection("oversized", f"{found}; the limit is {max_bytes / 1e6:,.6g} MB")
