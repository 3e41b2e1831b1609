"""Which split an image belongs to: decided by its own content, so that new data never moves an old image."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from components.core.errors import UserError
from components.core.parameters import check_declared

MIN_PER_CLASS = 3
"""One image for each split."""

# 52 bits: exact in a float, so that the position stays below 1.
_POSITION_DIGITS = 13


@dataclass(frozen=True, kw_only=True)
class Fractions:
    """Shares of the data: `validation` and `test` above 0, at least a tenth is left for training.

    Raises:
        UserError: a share out of range, named.
    """

    validation: float
    test: float

    def __post_init__(self) -> None:
        check_declared({"validation_fraction": self.validation, "test_fraction": self.test})


def position(digest: str) -> float:
    """The first 52 bits of a sha256 hex digest as a fraction in [0, 1): uniform, and the same for ever."""
    return int(digest[:_POSITION_DIGITS], 16) / 16**_POSITION_DIGITS


def split_of(digest: str, fractions: Fractions) -> str:
    """Test lies at the beginning of [0, 1), then validation, then training.

    A larger `test` takes from validation and training only; test images stay test images.
    """
    place = position(digest)
    if place < fractions.test:
        return "test"
    return "validation" if place < fractions.test + fractions.validation else "train"


def split_small_class(digests: Sequence[str], fractions: Fractions) -> dict[str, str]:
    """Splits for a class of which the content rule would leave a split empty.

    The class's images in the order of their digests are cut where `split_of` would cut them, except that each split
    gets at least one, taken from the largest. Depends on the set of images only, not on their order; but a new image
    can move an old one, which `split_of` never does.

    Args:
        digests: distinct sha256 digests, at least `MIN_PER_CLASS`.
    """
    ordered = sorted(digests)
    if len(ordered) < MIN_PER_CLASS:
        raise ValueError(f"a class needs {MIN_PER_CLASS} images, got {len(ordered)}")
    names = [split_of(digest, fractions) for digest in ordered]
    sizes = {name: names.count(name) for name in ("test", "validation", "train")}
    for empty in ("test", "validation", "train"):
        if not sizes[empty]:
            largest = max(sizes, key=lambda name: sizes[name])
            sizes[largest] -= 1
            sizes[empty] += 1
    cuts = [name for name in ("test", "validation", "train") for _ in range(sizes[name])]
    return dict(zip(ordered, cuts, strict=True))


def small_classes(counts: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Classes with an empty split, from class → split → number of images; sorted.

    Raises:
        UserError: a class with fewer than `MIN_PER_CLASS` images, which cannot be split at all.
    """
    small = sorted(name for name, splits in counts.items() if not all(splits.values()))
    for name in small:
        total = sum(counts[name].values())
        if total < MIN_PER_CLASS:
            images = "image" if total == 1 else "images"
            raise UserError(
                f"class {name!r} has {total} usable {images}; every class needs at least {MIN_PER_CLASS}, "
                "one each for training, validation and test (see the quarantine for what was left out)"
            )
    return small
