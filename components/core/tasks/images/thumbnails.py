"""Images for pages: small, in a form that every browser shows."""

import io

from PIL import Image

from components.core.tasks.images.deep_colour import stored_mode
from components.core.tasks.images.levels import is_deep
from components.core.tasks.images.preprocess import IMAGE_FORMATS, open_image

MEDIA_TYPES = {name: f"image/{name.lower()}" for name in ("PNG", "JPEG", "WEBP", "GIF", "BMP")}
_WHOLE_BYTES = 12_000
_SAMPLE_PIXELS = 160


def embeddable(image: bytes, levels: tuple[float, float] | None = None) -> tuple[bytes, str]:
    """Bytes and media type for a page: a small file that browsers show as it is, all else as a JPEG thumbnail.

    `levels`: of the data set, for images with more than 8 bits, of which browsers know no levels.
    """
    with Image.open(io.BytesIO(image), formats=IMAGE_FORMATS) as opened:
        media_type = "" if is_deep(stored_mode(opened)) else MEDIA_TYPES.get(opened.format or "")
    if media_type and len(image) <= _WHOLE_BYTES:
        return image, media_type
    small = open_image(image, levels=levels)
    small.thumbnail((_SAMPLE_PIXELS, _SAMPLE_PIXELS))
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", quality=85)
    return buffer.getvalue(), "image/jpeg"
