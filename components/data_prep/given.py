"""A split that came with the data: what of it is used, and which parts are cut from training because it lacks them."""

from collections.abc import Mapping
from dataclasses import dataclass

from components.core.data.dataset import SPLITS
from components.core.errors import UserError
from components.data_prep.splitting import ALL_PARTS

AUTO, GIVEN, CONTENT = "auto", "given", "content"

# Of copies in two splits the one in the test split stays: it is the training split that must not know the answer.
_RANKS = {"test": 0, "validation": 1}


@dataclass(frozen=True, kw_only=True)
class GivenSplit:
    """Which splits the data bring along; without any of them the split is by content.

    Attributes:
        origin: where they come from, for people.
        counts: usable rows of each split that has any; rows without a given split count as training.
    """

    origin: str = ""
    counts: Mapping[str, int]

    @property
    def used(self) -> bool:
        """Whether a given split is followed."""
        return bool(self.counts)

    @property
    def missing(self) -> tuple[str, ...]:
        """The splits that must be cut from training."""
        return tuple(split for split in SPLITS if not self.counts.get(split))

    def is_settled(self, given: str | None) -> bool:
        """Whether the row goes where it is given to, and not where its key says."""
        return self.used and given in _RANKS

    @property
    def parts(self) -> tuple[str, ...]:
        """The splits among which rows are dealt out by their keys."""
        return tuple(part for part in ALL_PARTS if part == "train" or part in self.missing)


def rank(given: str | None) -> int:
    """Which of several copies stays: the smallest; test before validation before training."""
    return _RANKS.get(given or "", 2)


def choose_split(mode: str, origin: str, found: Mapping[str | None, int], dataset: str) -> GivenSplit:
    """The parts of a given split that are used.

    Args:
        mode: the parameter `split`.
        origin: where it comes from, as the source says.
        found: usable rows by the split that they came with.
        dataset: for messages.

    Raises:
        UserError: no split is given although it is asked for, a word that is no split, or nothing for training.
    """
    given = {split: count for split, count in found.items() if split is not None}
    if mode == CONTENT or (mode == AUTO and not given):
        return GivenSplit(counts={})
    if not given:
        raise UserError(
            f"split=given needs a dataset that comes with a split, and {dataset} has none: use folders or tables "
            "called train and test, or a column 'split'"
        )
    for word in given:
        if word not in SPLITS:
            raise UserError(
                f"dataset {dataset}: {origin} says {word[:50]!r}, which is neither train, validation nor test; correct "
                "it, or give split=content to split by content"
            )
    counts = {**given, "train": given.get("train", 0) + found.get(None, 0)}
    if not counts["train"]:
        if mode == AUTO and len(given) == 1:
            return GivenSplit(counts={})
        raise UserError(
            f"dataset {dataset} has no training rows in the split given by {origin}; give split=content to split "
            "by content"
        )
    if len([split for split, count in counts.items() if count]) == 1:
        # All of it is for training: nothing was given that could be followed.
        return GivenSplit(counts={})
    return GivenSplit(origin=origin, counts={split: counts[split] for split in SPLITS if counts.get(split)})
