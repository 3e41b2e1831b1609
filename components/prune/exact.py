"""The exact choice of widths: the least sum of measured losses within the target."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from torch import Tensor, nn

from components.core.data.batch import Batch
from components.core.errors import UserError
from components.core.pruning.allocation import Limit, OutOfReachError, allocate
from components.core.pruning.member import ChannelGroup
from components.core.tasks import Task
from components.prune.prices import Prices
from components.prune.result import Sensitivity
from components.prune.sensitivity import Trial, at_each_step, loss_increases, steps_of

ROUNDS = 2
"""Losses of groups do not add up far from where they were measured: the second time they are measured around the choice
of the first. The choice of which more of the answers stay is taken."""


def exact_plan(
    module: nn.Module,
    groups: Sequence[ChannelGroup],
    scores: Mapping[str, Tensor],
    batches: Iterable[Batch],
    task: Task,
    prices: Prices,
    *,
    macs_fraction: float,
    round_to: int,
) -> tuple[dict[str, list[int]], Sensitivity]:
    """The channels to remove from each group, ascending, and what the choice rests on; arguments as of `Trial`.

    Raises:
        UserError: the fraction is out of reach; says which is not.
    """
    trial = Trial(module, groups, scores, batches, task)
    steps = {group.name: steps_of(group.channels, round_to=round_to) for group in groups}
    whole = prices.cost({})
    limit = Limit(parts=prices.parts, most=macs_fraction * whole)
    rounds: list[Sensitivity] = []
    chosen: dict[str, int] = {}
    for _ in range(ROUNDS):
        curves = loss_increases(trial, groups, round_to=round_to, around=chosen)
        try:
            found = allocate({name: at_each_step(curve, steps[name]) for name, curve in curves.items()}, [limit])
        except OutOfReachError as error:
            raise UserError(
                f"macs_fraction {macs_fraction:g} cannot be reached: pruning leaves at least "
                f"{error.least[0] / whole:.4f} of {prices.unit}"
            ) from None
        chosen = found.removed
        rounds.append(Sensitivity(curves=curves, removed=chosen, measured=trial.loss(chosen), gap=found.gap))
    best = min(rounds, key=lambda one: one.measured)
    removal = {
        name: sorted(score.argsort(stable=True)[: best.removed[name]].tolist()) for name, score in scores.items()
    }
    return removal, replace(best, curves=rounds[0].curves)
