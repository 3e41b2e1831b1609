"""Which split a row belongs to: decided by its own content, or its group, so that new data never moves an old row.

Everything here is about keys: sha256 hex digests of a content or of the name of a group.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from components.core.parameters import check_declared

ALL_PARTS = ("test", "validation", "train")
"""The splits in the order of the positions that they take in [0, 1)."""

MIN_PER_CLASS = len(ALL_PARTS)
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


def split_of(key: str, fractions: Fractions, parts: Sequence[str] = ALL_PARTS) -> str:
    """Test lies at the beginning of [0, 1), then validation, then training.

    A larger `test` takes from validation and training only; test images stay test images. With fewer `parts` ("train"
    is always one) the others are the user's own, and no key gets them.
    """
    place, end = position(key), 0.0
    for split, share in (("test", fractions.test), ("validation", fractions.validation)):
        if split in parts:
            end += share
            if place < end:
                return split
    return "train"


def split_small_stratum(keys: Sequence[str], fractions: Fractions, parts: Sequence[str] = ALL_PARTS) -> dict[str, str]:
    """Splits for a stratum of which `split_of` would leave a split empty.

    Its keys in their order are cut where `split_of` would cut them, except that each split gets at least one, taken
    from the largest. Depends on the set of keys only, not on their order; but a new key can move an old one, which
    `split_of` never does.

    Args:
        keys: distinct sha256 digests, at least one per part.
        fractions: of the splits.
        parts: the splits to fill, in this order; one that is not among them is the user's own, and gets none.
    """
    ordered = sorted(keys)
    if len(ordered) < len(parts):
        raise ValueError(f"a stratum needs {len(parts)} keys, got {len(ordered)}")
    names = [split_of(key, fractions, parts) for key in ordered]
    sizes = {name: names.count(name) for name in parts}
    for empty in parts:
        if not sizes[empty]:
            largest = max(sizes, key=lambda name: sizes[name])
            sizes[largest] -= 1
            sizes[empty] += 1
    cuts = [name for name in parts for _ in range(sizes[name])]
    return dict(zip(ordered, cuts, strict=True))


def small_strata(counts: Mapping[str, Mapping[str, int]], parts: Sequence[str] = ALL_PARTS) -> list[str]:
    """Strata (classes, or the whole) with nothing in one of `parts`, from stratum → split → number of keys; sorted."""
    return sorted(name for name, splits in counts.items() if not all(splits[part] for part in parts))


def split_shared_keys(members: Mapping[str, Set[str]], fractions: Fractions, parts: Sequence[str]) -> dict[str, str]:
    """Splits of keys that several strata share, as groups do: each key has one, and each stratum something in each.

    Keys are placed by `split_of`; then, for each stratum without a key in some part, the first one that no other
    stratum needs where it is moves there. Depends on the sets only.

    Args:
        members: the keys of each stratum.
        fractions: of the splits.
        parts: the splits to fill.

    Raises:
        UnsplittableError: names a stratum for which no key can move.
    """
    splits = {key: split_of(key, fractions, parts) for keys in members.values() for key in keys}

    def movable(key: str) -> bool:
        # It may leave its split if every stratum that has it has another key there.
        return all(
            any(splits[other] == splits[key] for other in keys if other != key)
            for keys in members.values()
            if key in keys
        )

    for stratum in sorted(members):
        for part in parts:
            own = sorted(members[stratum])
            if any(splits[key] == part for key in own):
                continue
            sizes = {name: sum(splits[key] == name for key in own) for name in parts}
            candidates = [key for key in own if movable(key)]
            if not candidates:
                raise UnsplittableError(stratum)
            splits[min(candidates, key=lambda key: (-sizes[splits[key]], key))] = part
    return splits


class UnsplittableError(ValueError):
    """Not every split can have something of the `stratum`."""

    def __init__(self, stratum: str) -> None:
        super().__init__(f"stratum {stratum!r} cannot be in every split")
        self.stratum = stratum
