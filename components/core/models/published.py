"""How a library's own weights of an architecture want their images; what a user's copy was most often trained with."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from components.core.errors import UserError
from components.core.models.resampling import CROP_RATIO, INTERPOLATIONS

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_SIDE = 224


@dataclass(frozen=True, kw_only=True)
class PublishedInput:
    """`image_size` in pixels per side; `mean` and `std` normalise RGB in 0..1; for the rest see `Preprocess`."""

    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str = "bilinear"
    crop_ratio: float = CROP_RATIO


def published_input(source: str) -> PublishedInput:
    """Of "timm:NAME" or "torchvision:NAME"; ImageNet's where the library says nothing.

    Raises:
        UserError: neither of the two libraries.
    """
    library, _, name = source.partition(":")
    if library == "timm":
        return _of_timm(name)
    if library == "torchvision":
        return _of_torchvision(name)
    raise UserError(f"architecture must be 'timm:NAME' or 'torchvision:NAME', got {source!r}")


def _of_timm(name: str) -> PublishedInput:
    from timm.models import get_pretrained_cfg

    found = get_pretrained_cfg(name)
    if found is None:
        return PublishedInput(image_size=_SIDE, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    return PublishedInput(
        image_size=found.input_size[-1],
        mean=triple(found.mean),
        std=triple(found.std),
        interpolation=_known(found.interpolation),
        crop_ratio=found.crop_pct or CROP_RATIO,
    )


def _of_torchvision(name: str) -> PublishedInput:
    from torchvision.models import get_model_weights

    try:
        shown = next(iter(get_model_weights(name))).transforms()
    except (ValueError, StopIteration):
        return PublishedInput(image_size=_SIDE, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    size = getattr(shown, "crop_size", None) or getattr(shown, "resize_size", None) or [_SIDE]
    resized = getattr(shown, "resize_size", None) or size
    return PublishedInput(
        image_size=size[0],
        mean=triple(shown.mean),
        std=triple(shown.std),
        interpolation=_known(shown.interpolation.value),
        crop_ratio=_ratio(size[0], resized[0]),
    )


def _known(interpolation: str) -> str:
    return interpolation if interpolation in INTERPOLATIONS else INTERPOLATIONS[0]


def _ratio(crop: int, resized: int) -> float:
    """The ratio of which `int(crop / ratio)` is `resized`."""
    ratio = crop / resized
    return ratio if int(crop / ratio) == resized else math.nextafter(ratio, 0)


def triple(values: Iterable[float]) -> tuple[float, float, float]:
    """Three values, of R, G and B."""
    red, green, blue = values
    return float(red), float(green), float(blue)
