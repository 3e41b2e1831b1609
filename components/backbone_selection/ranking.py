"""Orders the candidates by transfer and by size, and chooses one."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from components.core.errors import UserError
from components.core.numbers import compact


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One row of the ranking. Transfer columns are None for a rejected candidate, whose features are not computed.

    Ranks start at 1. `static_rank` orders all candidates by parameters, largest first, without looking at the data;
    `transfer_rank` orders those within the limits by k-NN accuracy, then LogME. `pretrained` says which published
    weights it starts from; None where it has none, or was rejected before they were read.
    """

    name: str
    architecture: str
    input: str
    parameters: int
    macs: int
    size_mb: float
    latency_ms: float
    top1_published: float | None
    knn_accuracy: float | None = None
    knn_standard_error: float | None = None
    logme: float | None = None
    static_rank: int | None = None
    transfer_rank: int | None = None
    rejected: str | None = None
    pretrained: str | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """The ranked candidates (best transfer first, rejected last), the chosen name, and why."""

    candidates: tuple[Candidate, ...]
    chosen: str
    reason: str

    def winner(self) -> Candidate:
        return next(candidate for candidate in self.candidates if candidate.name == self.chosen)


def rank_and_choose(candidates: Sequence[Candidate]) -> Ranking:
    """Fills both ranks and chooses the one with the fewest MACs among those near the best.

    Near: a k-NN accuracy within one standard error of the best one's. Equal MACs are decided by k-NN accuracy, then by
    name. Only figures that are the same in every run with the same seed decide, so the choice is too. UserError when
    no candidate is left.
    """
    left = [candidate for candidate in candidates if candidate.rejected is None]
    if not left:
        raise UserError("no backbone is within the limits")
    by_size = sorted(candidates, key=lambda c: (-c.parameters, -c.macs, c.name))
    static = {candidate.name: rank for rank, candidate in enumerate(by_size, start=1)}
    by_transfer = sorted(left, key=lambda c: (-_accuracy(c), -(c.logme or 0.0), c.name))
    transfer = {candidate.name: rank for rank, candidate in enumerate(by_transfer, start=1)}

    best = by_transfer[0]
    margin = best.knn_standard_error or 0.0
    near = [candidate for candidate in left if _accuracy(candidate) >= _accuracy(best) - margin]
    chosen = min(near, key=lambda c: (c.macs, -_accuracy(c), c.name))

    rejected = [candidate for candidate in by_size if candidate.rejected is not None]
    ranked = tuple(
        replace(candidate, static_rank=static[candidate.name], transfer_rank=transfer.get(candidate.name))
        for candidate in (*by_transfer, *rejected)
    )
    largest = next(candidate for candidate in by_size if candidate.rejected is None)
    return Ranking(candidates=ranked, chosen=chosen.name, reason=_reason(chosen, best, near, left, largest))


def _accuracy(candidate: Candidate) -> float:
    assert candidate.knn_accuracy is not None, candidate.name
    return candidate.knn_accuracy


def _reason(
    chosen: Candidate, best: Candidate, near: Sequence[Candidate], left: Sequence[Candidate], largest: Candidate
) -> str:
    accuracy = f"{100 * _accuracy(best):.1f} %"
    if len(left) == 1:
        return f"{chosen.name} is the only candidate within the limits (k-NN accuracy {accuracy})"
    if len(near) == 1:
        reason = f"{chosen.name} has the best k-NN accuracy, {accuracy}, by more than one standard error"
    elif chosen.name == best.name:
        reason = f"{chosen.name} has the best k-NN accuracy, {accuracy}, and none that comes close has fewer MACs"
    else:
        reason = (
            f"{chosen.name} has the fewest MACs ({compact(chosen.macs)}) of the {len(near)} candidates within one "
            f"standard error ({100 * (best.knn_standard_error or 0.0):.1f} points) of the best k-NN accuracy, "
            f"{accuracy} ({best.name})"
        )
    if largest.name == chosen.name:
        return f"{reason}; size alone would have chosen the same"
    return f"{reason}; size alone would have chosen {largest.name}"
