"""Orders the candidates by transfer and by size, and chooses one."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from components.core.errors import UserError
from components.core.numbers import compact
from components.core.tasks.metric import Metric

KNN = Metric(name="knn_accuracy", label="k-NN accuracy", reduce=lambda sums: sums[..., 0])
"""Scores of candidates by how well their features separate the classes."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One row of the ranking. Transfer columns are None for a rejected candidate, whose features are not computed.

    Ranks start at 1. `static_rank` orders all candidates by parameters, largest first, without looking at the data;
    `transfer_rank` orders those within the limits by k-NN accuracy, then LogME; without classes by `untrained`, the
    task's metric before any training, then by the loss there. `pretrained` says which published
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
    untrained: float | None = None
    untrained_error: float | None = None
    untrained_loss: float | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON-able; figures that nobody computed are left out where they cannot be."""
        shown = asdict(self)
        return (
            shown if self.untrained is not None else {k: v for k, v in shown.items() if not k.startswith("untrained")}
        )

    @property
    def transfer(self) -> float | None:
        """Its score; None if it was rejected."""
        return self.knn_accuracy if self.untrained is None else self.untrained

    @property
    def transfer_error(self) -> float:
        """One standard error of it."""
        return (self.knn_standard_error if self.untrained is None else self.untrained_error) or 0.0

    @property
    def tie_break(self) -> float:
        """Breaks ties between equal scores; larger is better."""
        return (self.logme or 0.0) if self.untrained_loss is None else -self.untrained_loss


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """The ranked candidates (best transfer first, rejected last), the chosen name, and why."""

    candidates: tuple[Candidate, ...]
    chosen: str
    reason: str
    metric: Metric = KNN

    def winner(self) -> Candidate:
        return next(candidate for candidate in self.candidates if candidate.name == self.chosen)


def rank_and_choose(candidates: Sequence[Candidate], metric: Metric = KNN) -> Ranking:
    """Fills both ranks and chooses the one with the fewest MACs among those near the best.

    Near: a figure (k-NN accuracy, or the task's `metric` before training) within one standard error of the best one's.
    Equal MACs are decided by that figure, then by name. Only figures that are the same in every run with the same seed
    decide, so the choice is too. UserError when no candidate is left.
    """
    left = [candidate for candidate in candidates if candidate.rejected is None]
    if not left:
        raise UserError("no backbone meets the limits")
    by_size = sorted(candidates, key=lambda c: (-c.parameters, -c.macs, c.name))
    static = {candidate.name: rank for rank, candidate in enumerate(by_size, start=1)}
    by_transfer = sorted(left, key=lambda c: (-_figure(c), -c.tie_break, c.name))
    transfer = {candidate.name: rank for rank, candidate in enumerate(by_transfer, start=1)}

    best = by_transfer[0]
    near = [candidate for candidate in left if _figure(candidate) >= _figure(best) - best.transfer_error]
    chosen = min(near, key=lambda c: (c.macs, -_figure(c), c.name))

    rejected = [candidate for candidate in by_size if candidate.rejected is not None]
    ranked = tuple(
        replace(candidate, static_rank=static[candidate.name], transfer_rank=transfer.get(candidate.name))
        for candidate in (*by_transfer, *rejected)
    )
    largest = next(candidate for candidate in by_size if candidate.rejected is None)
    reason = _reason(chosen, best, near, left, largest, metric)
    return Ranking(candidates=ranked, chosen=chosen.name, reason=reason, metric=metric)


def _figure(candidate: Candidate) -> float:
    assert candidate.transfer is not None, candidate.name
    return candidate.transfer


def figure_name(metric: Metric) -> str:
    """For people: "k-NN accuracy", or "BLEU before training"."""
    return metric.label if metric is KNN else f"{metric.label} before training"


def _reason(
    chosen: Candidate,
    best: Candidate,
    near: Sequence[Candidate],
    left: Sequence[Candidate],
    largest: Candidate,
    metric: Metric,
) -> str:
    name = figure_name(metric)
    accuracy = f"{100 * _figure(best):.1f} %" if metric.percent else f"{_figure(best):.1f}"
    if len(left) == 1:
        return f"{chosen.name} is the only candidate within the limits ({name} {accuracy})"
    if len(near) == 1:
        reason = f"{chosen.name} has the best {name}, {accuracy}, by more than one standard error"
    elif chosen.name == best.name:
        reason = f"{chosen.name} has the best {name}, {accuracy}, and none that comes close has fewer MACs"
    else:
        reason = (
            f"{chosen.name} has the fewest MACs ({compact(chosen.macs)}) of the {len(near)} candidates within one "
            f"standard error ({metric.points_per_unit * best.transfer_error:.1f} points) of the best {name}, "
            f"{accuracy} ({best.name})"
        )
    if largest.name == chosen.name:
        return f"{reason}; size alone would have chosen the same"
    return f"{reason}; size alone would have chosen {largest.name}"
