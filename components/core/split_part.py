"""A part of the test split: a retraining can be judged on rows that few have been judged on before."""

from dataclasses import dataclass
from hashlib import sha256

from components.core.errors import UserError

# 52 bits, as for the splits themselves: exact in a float.
_DIGITS = 13


@dataclass(frozen=True, kw_only=True)
class SplitPart:
    """Part `number`, from 1, `of` as many; 1 of 1 is the whole split.

    Raises:
        UserError: no such part.
    """

    number: int = 1
    of: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.of:
            raise UserError(f"a part of {self.of} must be a number from 1 to {self.of}, got {self.number}")

    @property
    def is_whole(self) -> bool:
        """Whether it is the whole split."""
        return self.of == 1

    @property
    def said(self) -> str:
        """part 2 of 4"""
        return f"part {self.number} of {self.of}"

    def holds(self, digest: str) -> bool:
        """Whether a row of this sha256 hex digest is in it: ⌊u · of⌋ + 1 = number, u a fraction from the digest.

        Of a row that depends on others give the key of its group, so that all of them are in one part.

        u is that of sha256 over the digest, since the split was cut by the digest itself: within the test split that
        one is not uniform. It is the same in every data set that holds the row.
        """
        if self.is_whole:
            return True
        place = int(sha256(digest.encode()).hexdigest()[:_DIGITS], 16) / 16**_DIGITS
        return int(place * self.of) + 1 == self.number

    def overlaps(self, other: "SplitPart") -> bool:
        """Whether the two may have a row in common; parts of one number of parts have none."""
        return self.number * other.of > (other.number - 1) * self.of and other.number * self.of > (
            (self.number - 1) * other.of
        )


def all_parts(of: int) -> tuple[SplitPart, ...]:
    """Every part, in order."""
    return tuple(SplitPart(number=number, of=of) for number in range(1, of + 1))
