"""Can this image be used? Reads, limits and decodes one image, and says why not."""

import hashlib
from dataclasses import dataclass

from PIL import Image, UnidentifiedImageError

from components.core.data.ingestion.locations import UnreadableError
from components.core.data.ingestion.sources import Item, Rejection
from components.core.tasks.images.preprocess import TooManyPixelsError, open_image

MAX_PIXELS = 8192 * 8192
"""Larger images are quarantined unread: decoded they would take more than 200 MB each."""

REASONS = {
    "unsupported": "not an image file by its suffix",
    "unlabelled": "outside of the class folders, or its row has no label",
    "oversized": "more bytes or pixels than allowed",
    "unreadable": "missing, or the row points to nothing that can be read",
    "truncated": "the file ends before the image does",
    "corrupt": "not decodable as JPEG, PNG, WebP, BMP, GIF or TIFF",
    "conflicting labels": "the same bytes occur under different labels",
}
"""Every reason of the quarantine, with its meaning."""


@dataclass(frozen=True, kw_only=True)
class Inspected:
    """An item after inspection: `data`, its sha256 `digest` and its `slices`, or a `rejection`."""

    name: str
    label: str | None
    data: bytes = b""
    digest: str = ""
    rejection: Rejection | None = None
    slices: tuple[str | None, ...] = ()


def inspect_item(item: Item, *, max_bytes: int, max_pixels: int = MAX_PIXELS) -> Inspected:
    """Read and decode one item; the cheap reasons to refuse it come first.

    Raises:
        StoreError: the store behind the item does not answer. That says nothing about the image.
    """
    rejection = item.rejection
    data = b""
    if rejection is None and item.label is None:
        rejection = Rejection("unlabelled", "no class folder or label")
    if rejection is None and item.size is not None and item.size > max_bytes:
        rejection = _too_many_bytes(item.size, max_bytes)
    if rejection is None:
        try:
            data = item.read(max_bytes)
        except UnreadableError as error:
            rejection = Rejection("unreadable", str(error))
        else:
            # The size was not known before; `read` has stopped at the limit.
            too_long = len(data) > max_bytes
            rejection = _too_many_bytes(None, max_bytes) if too_long else inspect_image(data, max_pixels=max_pixels)
    if rejection is not None:
        return Inspected(name=item.name, label=item.label, rejection=rejection)
    digest = hashlib.sha256(data).hexdigest()
    return Inspected(name=item.name, label=item.label, data=data, digest=digest, slices=item.slices)


def inspect_image(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Rejection | None:
    """Decode the whole image, as training will; None when that works."""
    if not data:
        return Rejection("truncated", "the file is empty")
    try:
        open_image(data, max_pixels=max_pixels)
    except TooManyPixelsError as error:
        return Rejection("oversized", str(error))
    except Image.DecompressionBombError:
        return Rejection("oversized", f"the limit is {max_pixels:,} pixels")
    except UnidentifiedImageError:
        return Rejection("corrupt", "the content is not a JPEG, PNG, WebP, BMP, GIF or TIFF image")
    except Exception as error:  # noqa: BLE001  a decoder that is fed hostile bytes may raise anything
        detail = " ".join(str(error).split())[:200] or type(error).__name__
        return Rejection("truncated" if _ends_early(data, detail) else "corrupt", detail)
    return None


def _ends_early(data: bytes, detail: str) -> bool:
    if "truncated" in detail.lower():
        return True
    # libwebp's message does not tell; the container states its length.
    is_webp = data[:4] == b"RIFF" and data[8:12] == b"WEBP"
    return is_webp and int.from_bytes(data[4:8], "little") + 8 > len(data)


def _too_many_bytes(size: int | None, max_bytes: int) -> Rejection:
    found = f"{size / 1e6:,.1f} MB" if size is not None else "longer"
    return Rejection("oversized", f"{found}; the limit is {max_bytes / 1e6:,.6g} MB")
