"""Which split a row belongs to: decided by its own content, or its group, so that new data never moves an old row.

Everything here is about keys: sha256 hex digests of a content or of the name of a group.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from components.core.errors import UserError
from components.core.parameters import check_declared

MIN_PER_CLASS = 3
"""One row, or group of rows, for each split."""

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


def split_of(key: str, fractions: Fractions) -> str:
    """Test lies at the beginning of [0, 1), then validation, then training.

    A larger `test` takes from validation and training only; test images stay test images.
    """
    place = position(key)
    if place < fractions.test:
        return "test"
    return "validation" if place < fractions.test + fractions.validation else "train"


def split_small_stratum(keys: Sequence[str], fractions: Fractions) -> dict[str, str]:
    """Splits for a stratum of which `split_of` would leave a split empty.

    Its keys in their order are cut where `split_of` would cut them, except that each split gets at least one, taken
    from the largest. Depends on the set of keys only, not on their order; but a new key can move an old one, which
    `split_of` never does.

    Args:
        keys: distinct sha256 digests, at least `MIN_PER_CLASS`.
    """
    ordered = sorted(keys)
    if len(ordered) < MIN_PER_CLASS:
        raise ValueError(f"a stratum needs {MIN_PER_CLASS} keys, got {len(ordered)}")
    names = [split_of(key, fractions) for key in ordered]
    sizes = {name: names.count(name) for name in ("test", "validation", "train")}
    for empty in ("test", "validation", "train"):
        if not sizes[empty]:
            largest = max(sizes, key=lambda name: sizes[name])
            sizes[largest] -= 1
            sizes[empty] += 1
    cuts = [name for name in ("test", "validation", "train") for _ in range(sizes[name])]
    return dict(zip(ordered, cuts, strict=True))


def small_strata(counts: Mapping[str, Mapping[str, int]], *, title: Callable[[str], str], noun: str) -> list[str]:
    """Strata (classes, or the whole) with an empty split, from stratum → split → number of keys; sorted.

    Args:
        counts: see above.
        title: a stratum's name in a message, "class 'boot'".
        noun: what is counted, in the plural.

    Raises:
        UserError: a stratum with fewer than `MIN_PER_CLASS` keys, which cannot be split at all.
    """
    small = sorted(name for name, splits in counts.items() if not all(splits.values()))
    for name in small:
        total = sum(counts[name].values())
        if total < MIN_PER_CLASS:
            raise UserError(
                f"{title(name)} has {total} usable {noun.removesuffix('s') if total == 1 else noun}; at least "
                f"{MIN_PER_CLASS} are needed, one each for training, validation and test (see the quarantine for what "
                "was left out)"
            )
    return small
