"""The cost of widths: the network is tried without channels, as if nothing read them.

The loss is the one that distillation starts from, the divergence from the whole network's answers. The increase of the
loss against labels was tried and drowns in chance: on 128 rows that the network has learnt, half of the increases were
below 0.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.core.data.batch import Batch
from components.core.pruning.member import ChannelGroup, is_depthwise
from components.core.pruning.plan import MAX_RATIO, block_sizes
from components.core.tasks import Task
from components.core.training.batchnorm import batch_statistics
from components.core.training.device import place_batch

POINTS = (0.25, 0.5, 0.7, 0.85, 1.0)
"""Measured parts of what may go of a group."""

Curve = Mapping[int, float]
"""Channels removed → increase of the loss."""

TRIAL_IMAGES = 64
"""Training rows on which widths are tried; fewer of a large network, down to `FEWEST_IMAGES`."""

FEWEST_IMAGES = 8

MOST_MACS = 10**13
"""Multiply-accumulates that all trials may take: some ten minutes of one thread."""

_ANSWERS = 4096
"""Of each batch at most, evenly spread; an image of pixels has more."""


def trial_rows(macs: int, num_groups: int, *, rounds: int) -> int:
    """How many training rows the widths of a network are tried on.

    Args:
        macs: multiply-accumulates of one row.
        num_groups: of channels; each is tried at `POINTS`.
        rounds: how often each is tried.
    """
    trials = rounds * (num_groups * len(POINTS) + 1)
    return max(FEWEST_IMAGES, min(TRIAL_IMAGES, MOST_MACS // (trials * macs)))


class Trial:
    """The loss of one network without some of its channels: the mean of KL(whole ‖ without) over the same answers each
    time, in nats.

    Without a channel means that nothing reads it. Batch norms take each batch's own statistics, in the whole network
    as well: what measuring them again makes good costs nothing.
    """

    def __init__(
        self,
        module: nn.Module,
        groups: Sequence[ChannelGroup],
        scores: Mapping[str, Tensor],
        batches: Iterable[Batch],
        task: Task,
    ) -> None:
        """`module`: in eval mode, with statistics of this data; it is left as it was. `scores`: group → (channels,), of
        which the lowest go first. `batches`: training rows with evaluation transforms."""
        device = next(module.parameters()).device
        self._module, self._task = module, task
        self._batches = [place_batch(batch, device) for batch in batches]
        self._order = {name: score.argsort(stable=True).tolist() for name, score in scores.items()}
        self._readers = {group.name: _readers(module, group) for group in groups}
        self._whole = self._answers({})
        self._known: dict[tuple[tuple[str, int], ...], float] = {}

    def loss(self, removed: Mapping[str, int]) -> float:
        """Without so many of each group's least important channels; 0 for the whole network."""
        key = tuple(sorted((name, gone) for name, gone in removed.items() if gone))
        if key not in self._known:
            without = self._answers(dict(key))
            self._known[key] = float(F.kl_div(without, self._whole, log_target=True, reduction="batchmean"))
        return self._known[key]

    @torch.no_grad()
    def _answers(self, removed: Mapping[str, int]) -> Tensor:
        """Logarithms of the probabilities of each answer, (answers, classes)."""
        found = []
        masked = {weight: weight.clone() for name in removed for _, weight in self._readers[name]}
        try:
            for name, gone in removed.items():
                for channels, weight in self._readers[name]:
                    weight[:, [one for channel in self._order[name][:gone] for one in channels[channel]]] = 0
            with batch_statistics(self._module):
                for batch in self._batches:
                    logits = self._task.comparable(self._module(*batch.inputs.values()), batch)
                    found.append(logits[:: max(1, len(logits) // _ANSWERS)].float().log_softmax(1))
        finally:
            for weight, values in masked.items():
                weight.copy_(values)
        return torch.cat(found)


def _readers(module: nn.Module, group: ChannelGroup) -> list[tuple[tuple[tuple[int, ...], ...], Tensor]]:
    """Of every layer that reads the group: its inputs that go with each channel, and its weight."""
    found = []
    for member in group.members:
        part = module.get_submodule(member.module)
        reads = isinstance(part, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear) and not is_depthwise(part)
        if reads and member.dimension == "in":
            assert isinstance(part.weight, Tensor)
            found.append((member.channels, part.weight))
    return found


def loss_increases(
    trial: Trial, groups: Sequence[ChannelGroup], *, round_to: int, around: Mapping[str, int] | None = None
) -> dict[str, dict[int, float]]:
    """Group → channels removed → how much the loss grows by that, all other groups being as `around` says.

    Measured at about `POINTS` of the most that may go, at what is gone `around`, and at 0, which costs nothing.
    """
    base = dict(around or {})
    curves = {}
    for group in groups:
        steps = measured_steps(group.channels, round_to=round_to)
        whole = trial.loss(base | {group.name: 0})
        gone = sorted({*steps, base.get(group.name, 0)})
        curves[group.name] = {count: trial.loss(base | {group.name: count}) - whole for count in gone}
    return curves


def steps_of(channels: int, *, round_to: int) -> list[int]:
    """How many channels may be removed from a group: 0, and each count that leaves a multiple of `round_to`."""
    return [0, *accumulate(block_sizes(channels, round_to=round_to, max_ratio=MAX_RATIO))]


def measured_steps(channels: int, *, round_to: int) -> list[int]:
    """Those of them that are measured: 0, and about `POINTS` of the most that may go."""
    steps = steps_of(channels, round_to=round_to)
    return sorted({0} | {min(steps, key=lambda gone: abs(gone - part * steps[-1])) for part in POINTS})


def at_each_step(curve: Curve, steps: Sequence[int]) -> dict[int, float]:
    """The curve at each step: linear between the measured ones, never below 0 nor falling as more is removed.

    A loss that falls when more channels go is chance on so few rows.
    """
    known = sorted(curve)
    rising = np.maximum.accumulate([max(curve[gone], 0.0) for gone in known])
    return {gone: float(np.interp(gone, known, rising)) for gone in steps}
