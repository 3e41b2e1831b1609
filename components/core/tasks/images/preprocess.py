"""Encoded image in, network input out: PIL and numpy only, so that serving needs neither torch nor torchvision."""

import importlib.util
import io
import math
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageOps, features

from components.core.models.resampling import INTERPOLATIONS
from components.core.tasks.images.deep_colour import LOWER, READABLE, colour_values, read_lower, stored_mode

HEIC_INSTALLED = importlib.util.find_spec("pillow_heif") is not None
if HEIC_INSTALLED:
    import pillow_heif

    pillow_heif.register_heif_opener()

IMAGE_FORMATS = (
    *("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM"),
    *(("AVIF",) if features.check("avif") else ()),
    *(("HEIF",) if HEIC_INSTALLED else ()),
)
"""Formats that `open_image` accepts, by content. Pillow knows more, also formats that run an interpreter (EPS)."""

MAX_PIXELS = 8192 * 8192
"""Larger images are quarantined unread: decoded they would take more than 200 MB each."""

_MOST_TIMES = 100
"""Of one side against the other: "crop" brings the shorter side to the network's and the longer one along with it."""

RESIZES = ("squash", "fit", "letterbox", "crop")

_TRIPLE = 3
_STRIP_PIXELS = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """How an image becomes the network's input; stored beside the weights as ``preprocess.json``.

    The image is turned upright (EXIF), converted to RGB, brought to `image_size` × `image_size`, then per channel
    ``(value / 255 - mean) / std`` in float32. Four ways to the size:

    squash: the aspect ratio is given up, nothing is cut off.
    fit: an image that is larger is shrunk until it fits and put into the upper left corner; the mean fills the rest.
    letterbox: the longer side is brought to `image_size` and the image is centred; the mean fills the rest.
    crop: the shorter side is brought to ``image_size / crop_ratio``, and the square in the centre is cut out, as
        torchvision's `Resize` and `CenterCrop` do it to the pixel; timm's and torchvision's networks are evaluated so.

    Args:
        image_size: side of the square input, pixels.
        mean: per channel R, G, B on the scale 0..1.
        std: per channel, positive.
        interpolation: "bilinear" or "bicubic" as Pillow does them: widened when shrinking (antialiased).
        resize: one of `RESIZES`.
        crop_ratio: for "crop", in (0, 1]; ImageNet networks were mostly evaluated at 0.875.
        levels: black and white of images with more than 8 bits per sample (`levels`); None: 16 bits.

    Raises:
        ValueError: a value out of range, named.
    """

    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str = "bilinear"
    resize: str = "squash"
    crop_ratio: float = 1.0
    levels: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if type(self.image_size) is not int or not 1 <= self.image_size <= 4096:
            raise ValueError(f"image_size must be a whole number of pixels in 1..4096, got {self.image_size!r}")
        for name in ("mean", "std"):
            values = tuple(float(value) for value in getattr(self, name))
            if len(values) != _TRIPLE or not all(math.isfinite(value) for value in values):
                raise ValueError(f"{name} must be three finite numbers (R, G, B), got {values!r}")
            object.__setattr__(self, name, values)
        if min(self.std) <= 0:
            raise ValueError(f"std must be positive, got {self.std!r}")
        if self.interpolation not in INTERPOLATIONS:
            raise ValueError(f"unknown interpolation {self.interpolation!r}; available: {', '.join(INTERPOLATIONS)}")
        if self.resize not in RESIZES:
            raise ValueError(f"unknown resize {self.resize!r}; available: {', '.join(RESIZES)}")
        if not 0 < self.crop_ratio <= 1:
            raise ValueError(f"crop_ratio must be above 0 and at most 1, got {self.crop_ratio!r}")
        if self.levels is not None:
            low, high = self.levels
            if not (math.isfinite(low) and math.isfinite(high) and low < high):
                raise ValueError(f"levels must be two finite numbers, black below white, got {self.levels!r}")
            object.__setattr__(self, "levels", (float(low), float(high)))

    def pixels(self, image: bytes) -> np.ndarray:
        """Decode and resize: uint8 `(image_size, image_size, 3)`, RGB."""
        return self.resized(open_image(image, levels=self.levels))

    @property
    def pixels_key(self) -> tuple[Hashable, ...]:
        """Preprocessings with equal keys give equal `pixels`; the mean is of them where it fills the square."""
        filling = self.mean if self.resize in ("fit", "letterbox") else None
        further = (self.crop_ratio, self.levels) if (self.crop_ratio, self.levels) != (1.0, None) else ()
        return self.image_size, self.interpolation, self.resize, filling, *further

    @property
    def described(self) -> str:
        """The filter and the way to the size, in words."""
        cut = f" of {self.crop_ratio:g} of the shorter side" if self.resize == "crop" else ""
        return f"{self.interpolation}, {self.resize}{cut}"

    def resized(self, image: Image.Image) -> np.ndarray:
        """Resize an upright RGB image: uint8 `(image_size, image_size, 3)`."""
        side = (self.image_size, self.image_size)
        size = self.placed(image.size)
        if image.size != size:
            image = image.resize(size, Image.Resampling[self.interpolation.upper()])
        if size == side:
            return np.asarray(image, dtype=np.uint8)
        left, top = self.offset(size)
        if self.resize == "crop":
            return np.asarray(image.crop((-left, -top, self.image_size - left, self.image_size - top)), dtype=np.uint8)
        filled = np.empty((*side, _TRIPLE), dtype=np.uint8)
        filled[:] = [round(255 * value) for value in self.mean]
        filled[top : top + size[1], left : left + size[0]] = np.asarray(image, dtype=np.uint8)
        return filled

    def offset(self, size: tuple[int, int]) -> tuple[int, int]:
        """Where the left upper corner of the resized image comes to lie, x and y; negative where it is cut off."""
        if self.resize == "crop":
            return -round((size[0] - self.image_size) / 2), -round((size[1] - self.image_size) / 2)
        if self.resize != "letterbox":
            return 0, 0
        return (self.image_size - size[0]) // 2, (self.image_size - size[1]) // 2

    def placed(self, size: tuple[int, int]) -> tuple[int, int]:
        """Width and height to which an image of this width and height is resized; of "crop" before it is cut."""
        if self.resize == "squash":
            return self.image_size, self.image_size
        if self.resize == "crop":
            shorter = max(self.image_size, int(self.image_size / self.crop_ratio))
            return int(shorter * size[0] / min(size)), int(shorter * size[1] / min(size))
        scale = self.image_size / max(size)
        if self.resize == "fit":
            scale = min(1.0, scale)
        return max(1, round(scale * size[0])), max(1, round(scale * size[1]))

    def normalized(self, pixels: np.ndarray) -> np.ndarray:
        """`(..., H, W, 3)` uint8 → `(..., 3, H, W)` float32 contiguous: ``(value / 255 - mean) / std``."""
        values = pixels.astype(np.float32)
        values /= np.float32(255)
        values -= np.asarray(self.mean, dtype=np.float32)
        values /= np.asarray(self.std, dtype=np.float32)
        return np.ascontiguousarray(np.moveaxis(values, -1, -3))

    def __call__(self, image: bytes) -> np.ndarray:
        """Encoded image → float32 `(3, image_size, image_size)`, ready for the network."""
        return self.normalized(self.pixels(image))

    def to_json(self) -> dict[str, Any]:
        """The content of ``preprocess.json``."""
        return {
            "format": 1,
            "image_size": self.image_size,
            "mean": list(self.mean),
            "std": list(self.std),
            "interpolation": self.interpolation,
            "resize": self.resize,
            # Only where they matter: a release that does not need them keeps its digest.
            **({"crop_ratio": self.crop_ratio} if self.resize == "crop" else {}),
            **({"levels": list(self.levels)} if self.levels is not None else {}),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Preprocess":
        """The inverse of `to_json`; ValueError naming a missing, unknown or wrong entry."""
        names = {"image_size", "mean", "std", "interpolation", "resize"}
        if not isinstance(document, Mapping):
            raise ValueError(f"preprocess.json must hold an object, got {type(document).__name__}")
        if document.get("format") != 1:
            raise ValueError(f"preprocess.json must have format 1, got {document.get('format')!r}")
        further = set(document) & {"crop_ratio", "levels"}
        if set(document) - further != names | {"format"}:
            raise ValueError(f"preprocess.json must have exactly {sorted(names)}, got {sorted(document)}")
        values = {name: document[name] for name in names | further}
        try:
            if "levels" in values:
                values["levels"] = tuple(values["levels"])
            return cls(**values)
        except (TypeError, OverflowError) as error:  # another kind of value, or a whole number too large for a float
            raise ValueError(f"preprocess.json: {error}") from None


class TooManyPixelsError(ValueError):
    """The image's header announces more pixels than allowed, now or when it is resized; nothing was decoded."""


def open_image(
    image: bytes, *, max_pixels: int | None = None, levels: tuple[float, float] | None = None
) -> Image.Image:
    """Decode an encoded image to upright RGB (first frame of an animation).

    EXIF orientation is applied; deep grey and colour are scaled to 8 bits by `levels` (Pillow alone would saturate
    grey, and make colour of 12 bits almost black);
    transparency is laid on white, as a viewer would show it. Which formats: `IMAGE_FORMATS`. A release's `client.py`
    repeats this.

    Raises:
        TooManyPixelsError: width × height is above `max_pixels` (a small file can unpack to gigabytes).
        OSError, SyntaxError, ValueError: Pillow's, for damaged bytes. Data preparation has quarantined such files.
    """
    return as_rgb(stored_image(image, max_pixels=max_pixels, deep=levels is not None), levels)


def stored_image(image: bytes, *, max_pixels: int | None = None, deep: bool = True) -> Image.Image:
    """Decode an encoded image in its own mode, upright; raises as `open_image`.

    With `deep`, an image of 16-bit colour comes with what Pillow leaves out of it (`LOWER`).
    """
    with Image.open(io.BytesIO(image), formats=IMAGE_FORMATS) as opened:
        _check_pixels(opened.size, max_pixels)
        with_lower = deep and stored_mode(opened) in READABLE
        opened.load()
        upright = _upright(opened)
    if with_lower:
        with Image.open(io.BytesIO(image), formats=IMAGE_FORMATS) as opened:
            read_lower(opened)
            opened.load()
            upright.info[LOWER] = _upright(opened)
    return upright


def announced(image: bytes, *, max_pixels: int | None = None) -> tuple[tuple[int, int], str]:
    """(width, height) and mode (`stored_mode`) as the header says, undecoded; raises as `open_image`."""
    with Image.open(io.BytesIO(image), formats=IMAGE_FORMATS) as opened:
        _check_pixels(opened.size, max_pixels)
        return opened.size, stored_mode(opened)


def as_rgb(image: Image.Image, levels: tuple[float, float] | None = None) -> Image.Image:
    """Convert any Pillow mode to 8-bit RGB; see `open_image`."""
    if levels is not None and LOWER in image.info:
        image = _eight_bit_colour(image, levels)
    if image.mode == "RGB":
        return image
    if levels is not None and (image.mode == "F" or image.mode.startswith("I")):
        return _eight_bits(image, lambda values: _by_levels(values, levels))
    if image.mode.startswith("I"):
        return _eight_bits(image, lambda values: values.astype(np.int64).clip(0, 65535) >> 8)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def strips(pixels: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """`(H, W, …)` in strips of about a million pixels, with their rows: arithmetic on all at once takes gigabytes."""
    num_rows = max(1, _STRIP_PIXELS // max(1, pixels.shape[1]))
    for top in range(0, pixels.shape[0], num_rows):
        rows = slice(top, top + num_rows)
        yield rows, pixels[rows]


def _by_levels(values: np.ndarray, levels: tuple[float, float]) -> np.ndarray:
    low, high = levels
    values = np.nan_to_num(values.astype(np.float64), nan=low, posinf=high, neginf=low)
    return np.rint((values.clip(low, high) - low) * (255 / (high - low)))


def _eight_bit_colour(image: Image.Image, levels: tuple[float, float]) -> Image.Image:
    """RGB or RGBA of 16 bits by the levels. Transparency has no levels: its upper 8 bits stay."""
    lower, pixels = np.asarray(image.info[LOWER]), np.array(image)
    for rows, strip in strips(pixels):
        values = colour_values(strip, lower[rows])
        strip[..., :_TRIPLE] = _by_levels(values, levels)
        if "transparency" in image.info:  # one colour that stands for nothing, given in 16 bits
            strip[(values == image.info["transparency"]).all(axis=-1)] = 255
    return Image.fromarray(pixels)


def _eight_bits(image: Image.Image, scaled: Callable[[np.ndarray], np.ndarray]) -> Image.Image:
    values = np.asarray(image)
    grey = np.empty(values.shape, dtype=np.uint8)
    for rows, strip in strips(values):
        grey[rows] = scaled(strip)
    return Image.fromarray(grey).convert("RGB")


def _check_pixels(size: tuple[int, int], max_pixels: int | None) -> None:
    width, height = size
    if max_pixels is not None and width * height > max_pixels:
        raise TooManyPixelsError(f"{width} × {height} pixels; the limit is {max_pixels:,} in all")
    if max_pixels is not None and max(size) > _MOST_TIMES * min(size):
        raise TooManyPixelsError(f"{width} × {height} pixels; one side may be at most {_MOST_TIMES} times the other")


def _upright(image: Image.Image) -> Image.Image:
    # A broken EXIF block says nothing about the pixels, which have been decoded by now.
    try:
        return ImageOps.exif_transpose(image)
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, ZeroDivisionError):
        return image.copy()
