"""Pictures of stored rows: data preparation has decoded each, but who may write to the store may put others there."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from PIL import Image

from components.core.errors import UserError
from components.core.tasks.images.preprocess import MAX_PIXELS, open_image


def open_stored(row: Mapping[str, Any], levels: tuple[float, float] | None = None) -> Image.Image:
    """The image of a stored row, upright RGB; see `preprocess.open_image`.

    Raises:
        UserError: as `decodable`; or it has more than `MAX_PIXELS`.
    """
    with decodable(row):
        return open_image(row["image"], max_pixels=MAX_PIXELS, levels=levels)


@contextmanager
def decodable(row: Mapping[str, Any], what: str = "image") -> Iterator[None]:
    """Decoding a stored row's image or mask.

    Raises:
        UserError: whatever a decoder raises, with the row's digest where the row has it.
    """
    try:
        yield
    except (MemoryError, UserError):
        raise
    except Exception as error:
        of_row = f" of the row {row['digest'][:12]}" if "digest" in row else ""
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(
            f"the {what}{of_row} in the data set cannot be used: {reason}; prepare the data again"
        ) from error
