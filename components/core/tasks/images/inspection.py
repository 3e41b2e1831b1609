"""Can this image be used? Reads, limits and decodes one image, and says why not."""

from collections.abc import Callable
from typing import TypeVar

from PIL import Image, UnidentifiedImageError

from components.core.data.ingestion.items import Rejection
from components.core.data.ingestion.locations import UnreadableError
from components.core.tasks.images.preprocess import TooManyPixelsError, open_image

T = TypeVar("T")

MAX_PIXELS = 8192 * 8192
"""Larger images are quarantined unread: decoded they would take more than 200 MB each."""

REASONS = {
    "unsupported": "not an image file by its suffix",
    "oversized": "more bytes or pixels than allowed",
    "unreadable": "missing, or the row points to nothing that can be read",
    "truncated": "the file ends before the image does",
    "corrupt": "not decodable as JPEG, PNG, WebP, BMP, GIF or TIFF",
}
"""Every reason that is given here or by a source of images, with its meaning."""


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


def inspect_image(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Rejection | None:
    """Decode the whole image, as training will; None when that works."""
    opened = decoded_image(data, max_pixels=max_pixels)
    return opened if isinstance(opened, Rejection) else None


def decoded_image(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Image.Image | Rejection:
    """The whole image, upright and RGB, as training will see it; or why it cannot be decoded."""
    return try_decoding(data, lambda: open_image(data, max_pixels=max_pixels), max_pixels=max_pixels)


def try_decoding(data: bytes, decode: Callable[[], T], *, max_pixels: int = MAX_PIXELS) -> T | Rejection:
    """What `decode` makes of `data`, or the reason of what it raises, whatever that is."""
    if not data:
        return Rejection("truncated", "the file is empty")
    try:
        return decode()
    except TooManyPixelsError as error:
        return Rejection("oversized", str(error))
    except Image.DecompressionBombError:
        return Rejection("oversized", f"the limit is {max_pixels:,} pixels")
    except UnidentifiedImageError:
        return Rejection("corrupt", "the content is not a JPEG, PNG, WebP, BMP, GIF or TIFF image")
    except Exception as error:  # noqa: BLE001  a decoder that is fed hostile bytes may raise anything
        detail = " ".join(str(error).split())[:200] or type(error).__name__
        return Rejection("truncated" if _ends_early(data, detail) else "corrupt", detail)


def _ends_early(data: bytes, detail: str) -> bool:
    if "truncated" in detail.lower():
        return True
    # libwebp's message does not tell; the container states its length.
    is_webp = data[:4] == b"RIFF" and data[8:12] == b"WEBP"
    return is_webp and int.from_bytes(data[4:8], "little") + 8 > len(data)


def _too_many_bytes(size: int | None, max_bytes: int) -> Rejection:
    found = f"{size / 1e6:,.1f} MB" if size is not None else "longer"
    return Rejection("oversized", f"{found}; the limit is {max_bytes / 1e6:,.6g} MB")
