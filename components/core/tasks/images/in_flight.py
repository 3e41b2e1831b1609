"""How much decoded pictures take at once: a file of a hundred kilobytes can decode to a gigabyte, in every thread."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

PIXEL_BYTES = {"RGB": 16, "L": 16, "RGB;16": 32, "RGBA;16": 40, "RGBX;16": 32}
"""Bytes per pixel while it is decoded, turned upright and brought to RGB, by Pillow's mode; the next for all others.

RGB: 4 bytes in Pillow, 4 more upright, 8 in the decoder of a progressive JPEG. Transparency is laid on white: four more
copies. Deep grey: an array of its values, and two of 8 bits. Deep colour: two images and their arrays.
"""
OTHER_PIXEL_BYTES = 24
MASK_PIXEL_BYTES = 16


class BytesInFlight:
    """Lets threads hold at most so many bytes together. Who asks for more holds them alone."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes, self._held = most_bytes, 0
        self._changed = threading.Condition()

    @contextmanager
    def holding(self, num_bytes: int) -> Iterator[None]:
        """Waits until so many bytes more are allowed. Not to be entered twice by one thread."""
        with self._changed:
            self._changed.wait_for(lambda: not self._held or self._held + num_bytes <= self._most_bytes)
            self._held += num_bytes
        try:
            yield
        finally:
            with self._changed:
                self._held -= num_bytes
                self._changed.notify_all()


DECODED = BytesInFlight(1_500_000_000)
"""Of all pictures and masks that are inspected in this process: about what one picture of the largest size takes."""


def picture_bytes(num_pixels: int, mode: str) -> int:
    """Bytes that a picture of this mode (`stored_mode`) takes until it is inspected."""
    return num_pixels * PIXEL_BYTES.get(mode, OTHER_PIXEL_BYTES)
