"""Mask files in, class indices out, and back: numpy and PIL only."""

import io
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache

import numpy as np
from PIL import Image

from components.core.errors import UserError
from components.core.tasks.images.preprocess import strips

IGNORED = 255
"""Index of pixels that count nowhere, in every mask here."""

MAX_CLASSES = 255
_MAX_PIXELS = 64_000_000

Palette = Sequence[tuple[int, int, int]]


class MaskError(ValueError):
    """A mask that cannot be used. `reason` is the short name under which such masks are counted."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


REASONS = (
    "damaged mask",
    "mask of another size",
    "unknown mask value",
    "mask colour without a palette",
    "unknown mask colour",
    "mask value above 255",
    "mask of another kind",
    "nothing labelled",
)
"""Every reason that a MaskError gives."""


def decode(
    data: bytes,
    *,
    classes: int,
    size: tuple[int, int] | None = None,
    palette: Palette | None = None,
    ignore_index: int = IGNORED,
    numbers: Mapping[int, int] | None = None,
) -> np.ndarray:
    """A mask file as class indices: uint8 `(H, W)`, values in [0, classes) or `IGNORED`.

    Palette PNGs give their indices, whatever the colours; 8-bit and 16-bit grey give their values; RGB is looked up in
    the palette. Of an alpha channel nothing is used. EXIF orientation is not applied: masks are no photographs.

    Args:
        data: the file.
        classes: number of classes, 1..255.
        size: (height, width) of the upright image, None = not checked.
        palette: colour of each class, for RGB masks; VOC's (224, 224, 192) means ignored unless a class has it.
        ignore_index: value in the file that means ignored; it becomes `IGNORED`. A negative one: none does.
        numbers: class of each value of grey and palette files; None: the value is the class.

    Raises:
        MaskError: with one of `REASONS`, and values and counts in the message.
    """
    if not 1 <= classes <= MAX_CLASSES:
        raise ValueError(f"classes must be in 1..{MAX_CLASSES}, got {classes}")
    values = _values(data, palette, size)
    looked_up = values.dtype == np.int16
    if numbers is not None and not looked_up:
        values, looked_up = _renumbered(values, numbers, ignore_index), True
    ignored = values == (IGNORED if looked_up else ignore_index)
    unknown = (values >= classes) & ~ignored
    if unknown.any():
        worst = int(values[unknown].max())
        if worst > IGNORED:
            raise MaskError("mask value above 255", f"{worst} in {int((values == worst).sum())} pixels")
        common, count = _most_common(values[unknown])
        raise MaskError("unknown mask value", f"{common} in {count} pixels; classes are 0..{classes - 1}")
    if ignored.all():
        raise MaskError("nothing labelled", f"all {values.size} pixels are ignored")
    return np.where(ignored, IGNORED, values).astype(np.uint8)


def stored_mask(mask: bytes, classes: int = MAX_CLASSES) -> np.ndarray:
    """The class numbers of a stored mask: uint8 `(H, W)`, below `classes`, and 255 where ignored.

    Raises:
        UserError: it is no such mask, as one that somebody else has put into the store.
    """
    try:
        return decode(mask, classes=min(max(classes, 1), MAX_CLASSES))
    except MaskError as error:
        raise UserError(f"a mask of the data set cannot be used: {error}; prepare the data again") from None


def encode(mask: np.ndarray, palette: Palette | None = None) -> bytes:
    """A mask uint8 `(H, W)` as PNG: palette mode with 1, 2, 4 or 8 bits a pixel, `decode`'s inverse.

    `palette`: colours of the indices for viewers, default `default_palette(256)`; only those in use are written.
    """
    colours = list(palette if palette is not None else default_palette(256))
    needed = int(mask.max(initial=0)) + 1
    filled = [*colours, *default_palette(256)[len(colours) :]][:needed]
    image = Image.fromarray(np.ascontiguousarray(mask, dtype=np.uint8)).convert("L")
    image.putpalette([channel for colour in filled for channel in colour])
    buffer = io.BytesIO()
    bits = next(bits for bits in (1, 2, 4, 8) if needed <= 2**bits)
    image.save(buffer, "PNG", bits=bits)
    return buffer.getvalue()


def resized(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """A mask uint8 `(H, W)` at another size: the nearest pixel, so that no class appears between two others."""
    if mask.shape == (height, width):
        return mask
    return np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))


@cache
def default_palette(classes: int) -> list[tuple[int, int, int]]:
    """Colours of PASCAL VOC: bits 0, 1, 2 of the class number are the top bits of red, green, blue, and so on.

    The colour map of the VOC development kit (`VOClabelcolormap`): black, dark red, dark green, dark yellow, …
    """
    colours = []
    for number in range(classes):
        channels = [0, 0, 0]
        for bit in range(8):
            for channel in range(3):
                channels[channel] |= ((number >> (3 * bit + channel)) & 1) << (7 - bit)
        colours.append((channels[0], channels[1], channels[2]))
    return colours


_VOC_IGNORED = (224, 224, 192)


def _values(data: bytes, palette: Palette | None, size: tuple[int, int] | None) -> np.ndarray:
    image = _opened(data, size)
    if image.mode in ("P", "L", "1"):
        # A bilevel image is 0 and 1 here, as in a palette of two; PIL's array of it is boolean.
        return np.asarray(image).astype(np.uint8)
    if image.mode in ("LA", "PA"):
        return np.asarray(image)[..., 0].astype(np.uint8)
    if image.mode.startswith("I"):
        return np.asarray(image).astype(np.int32)
    if image.mode in ("RGB", "RGBA"):
        if palette is None:
            raise MaskError("mask colour without a palette", f"a {image.mode} mask needs the colour of each class")
        return _looked_up(np.asarray(image)[..., :3], palette)
    raise MaskError("mask of another kind", f"mode {image.mode}; masks are palette, grey or RGB images")


def _opened(data: bytes, size: tuple[int, int] | None) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data), formats=("PNG", "BMP", "GIF", "TIFF", "WEBP", "JPEG"))
            if image.width * image.height > _MAX_PIXELS:
                raise MaskError("damaged mask", f"{image.width} x {image.height} pixels are more than {_MAX_PIXELS}")
            if image.format == "JPEG":
                # Lossy: the values between two classes would be classes of their own.
                raise MaskError("mask of another kind", "JPEG changes values; masks need a lossless format, as PNG")
            if size is not None and (image.height, image.width) != tuple(size):
                raise MaskError(
                    "mask of another size",
                    f"{image.width} x {image.height} pixels, the image {size[1]} x {size[0]}",
                )
            image.load()
    except MaskError:
        raise
    # Pillow's decoders raise SyntaxError for damaged PNGs and struct.error (a ValueError's cousin) for TIFFs.
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        text = str(error).splitlines()[0][:100] if str(error) else type(error).__name__
        raise MaskError("damaged mask", text) from None
    return image


def _renumbered(values: np.ndarray, numbers: Mapping[int, int], ignore_index: int) -> np.ndarray:
    """Class numbers int16 `(H, W)` of the values; `IGNORED` for `ignore_index`, unless that is a class's value."""
    indices, unknown = _by_table(values, {ignore_index: IGNORED, **numbers})
    if unknown:
        count, value = max((count, value) for value, count in unknown.items())
        known = ", ".join(map(str, sorted(numbers)[:20]))
        raise MaskError("unknown mask value", f"{value} in {count} pixels; the classes' values are {known}")
    return indices


def _looked_up(pixels: np.ndarray, palette: Palette) -> np.ndarray:
    """Class indices int16 `(H, W)` of the colours `(H, W, 3)`."""
    numbers = {tuple(colour): number for number, colour in reversed(list(enumerate(palette)))}
    table = {_key(colour): number for colour, number in {_VOC_IGNORED: IGNORED, **numbers}.items()}
    weights = np.array([1 << 16, 1 << 8, 1], dtype=np.uint32)
    indices, unknown = _by_table(pixels, table, lambda strip: strip.astype(np.uint32) @ weights)
    if unknown:
        count, key = max((count, key) for key, count in unknown.items())
        colour = (key >> 16, (key >> 8) & 255, key & 255)
        more = f", and {len(unknown) - 1} more colours" if len(unknown) > 1 else ""
        raise MaskError("unknown mask colour", f"{colour} in {count} pixels{more}")
    return indices


def _key(colour: tuple[int, ...]) -> int:
    red, green, blue = colour
    return red << 16 | green << 8 | blue


def _by_table(
    pixels: np.ndarray, table: Mapping[int, int], key: Callable[[np.ndarray], np.ndarray] = np.asarray
) -> tuple[np.ndarray, Counter[int]]:
    """The table's entry for each pixel's key, int16 `(H, W)`; and the keys that it lacks, with their pixels."""
    indices = np.empty(pixels.shape[:2], dtype=np.int16)
    unknown: Counter[int] = Counter()
    for rows, strip in strips(pixels):
        keys = key(strip)
        found, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
        unknown.update(
            {int(one): int(count) for one, count in zip(found, counts, strict=True) if int(one) not in table}
        )
        numbers = np.array([table.get(int(one), IGNORED) for one in found], dtype=np.int16)
        indices[rows] = numbers[inverse.reshape(keys.shape)]
    return indices, unknown


def _most_common(values: np.ndarray) -> tuple[int, int]:
    found, counts = np.unique(values, return_counts=True)
    largest = int(counts.argmax())
    return int(found[largest]), int(counts[largest])
