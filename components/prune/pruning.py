"""Structured pruning of a network to a fraction of its MACs."""

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from components.core.bundles.model_bundle import ModelBundle
from components.core.data.batch import Batch
from components.core.data.dataset import Dataset
from components.core.data.reading import read_batches
from components.core.errors import UserError
from components.core.models.architecture import Cut
from components.core.models.complexity import count_macs, count_parameters
from components.core.parameters import check_declared
from components.core.pruning.costs import layer_costs
from components.core.pruning.groups import PruningGraph
from components.core.pruning.member import ChannelGroup, Member
from components.core.pruning.plan import MAX_RATIO, macs_per_channel, plan_removal
from components.core.recipe import Recipe
from components.core.tasks import Task
from components.core.training.batchnorm import absorb_statistics, recalibrate_batchnorm
from components.core.training.data import as_tensors, calibration_batches
from components.core.training.device import choose_device, deterministic, place, place_batch, use_available_threads
from components.core.training.validation import Validation, validate
from components.prune.importance import magnitude_scores, per_cost, root_mean_square, taylor_terms
from components.prune.own_way import slim_bundle
from components.prune.result import Pruned
from components.prune.surgery import check_record


@dataclass(frozen=True, kw_only=True)
class PruneConfig:
    """macs_fraction: multiply-accumulates to keep, in (0, 1]; 1 changes nothing. calibration_images: training images
    for importance and batch-norm statistics. more: what a recipe holds for a task with its own way of pruning. Raises
    `UserError` naming the value."""

    macs_fraction: float
    importance: str
    round_to: int
    calibration_images: int
    seed: int
    more: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_declared({name: value for name, value in vars(self).items() if name != "calibration_images"})
        if not 0 < self.macs_fraction <= 1:
            raise UserError(f"macs_fraction must be greater than 0 and at most 1; got {self.macs_fraction!r}")
        if self.calibration_images < 2:
            raise UserError(f"calibration_images must be at least 2; got {self.calibration_images!r}")


def prune_bundle(
    bundle: ModelBundle, dataset: Dataset, config: PruneConfig, *, report: Callable[[str], None] = print
) -> Pruned:
    """A pruned copy of the bundle, in eval mode on the CPU; the bundle given is left alone.

    Importance → greedy plan → surgery → batch norms brought back to the mean and variance they had → check that the
    recorded surgery rebuilds the network. The fraction reached may stay above the one asked for when every group is
    at its limit; it is stated. Nothing of it reads test data; validation accuracy is reported, not used.
    """
    task, device, inputs = bundle.task, choose_device(), bundle.inputs
    task.check_classes(dataset, bundle.assets)
    use_available_threads()
    recipe = Recipe(name="pruning", macs_fraction=config.macs_fraction, more=config.more)
    with deterministic(config.seed):
        slimmed = slim_bundle(
            bundle, dataset, recipe, rows=config.calibration_images, round_to=config.round_to,
            accuracy=lambda one: _accuracy(one.module, dataset, task, one),
        )  # fmt: skip
    if slimmed is not None:
        report(_reached(slimmed, config))
        return slimmed
    module = place(copy.deepcopy(bundle.module), device).eval().requires_grad_(True)
    macs_before, parameters_before = count_macs(module, inputs), count_parameters(module)

    def batches() -> Iterator[Batch]:
        return calibration_batches(task, dataset, bundle.assets, rows=config.calibration_images)

    with deterministic(config.seed):
        before = _accuracy(module, dataset, task, bundle)
        groups: list[ChannelGroup] = []
        removal: dict[str, list[int]] = {}
        cuts: list[Cut] = []
        # What stays whole need not be understood, and keeps its weights to the bit.
        if config.macs_fraction < 1:
            absorb_statistics(module, batches(), device)
            graph = PruningGraph(module, inputs=inputs, output_layers=task.output_layers(module))
            groups = graph.groups()
            removal = _plan(module, groups, dataset, task, bundle, config, macs_before)
            cuts = graph.remove(removal)
        module.zero_grad(set_to_none=True)
        cut = _accuracy(module, dataset, task, bundle) if cuts else before
        if cuts:
            recalibrate_batchnorm(module, batches(), device)
        after = _accuracy(module, dataset, task, bundle) if cuts else before

    architecture = bundle.architecture.with_surgery(cuts)
    module = module.cpu().to(memory_format=torch.contiguous_format)
    check_record(module, architecture, inputs=inputs)
    result = Pruned(
        bundle=ModelBundle(module=module, architecture=architecture, assets=bundle.assets),
        metric=task.training_metric,
        groups={group.name: (group.channels - len(removal[group.name]), group.channels) for group in groups},
        macs_before=macs_before,
        macs_after=count_macs(module, inputs),
        parameters_before=parameters_before,
        parameters_after=count_parameters(module),
        accuracy_before=before,
        accuracy_cut=cut,
        accuracy_after=after,
    )
    report(_reached(result, config))
    return result


def _reached(result: Pruned, config: PruneConfig) -> str:
    return (
        f"{result.macs_fraction:.1%} of the MACs and {result.parameters_after / result.parameters_before:.1%} of the "
        f"parameters are left (asked: {config.macs_fraction:.1%} of the MACs)"
    )


def _plan(
    module: nn.Module,
    groups: list[ChannelGroup],
    dataset: Dataset,
    task: Task,
    bundle: ModelBundle,
    config: PruneConfig,
    macs: int,
) -> dict[str, list[int]]:
    layers = layer_costs(module, groups, inputs=bundle.inputs)
    if config.importance == "taylor":
        scores = taylor_importance(module, groups, dataset, task, bundle, config)
    else:
        scores = magnitude_importance(module, groups)
    ranked = {name: per_cost(score, macs_per_channel(layers, name)) for name, score in scores.items()}
    return plan_removal(
        ranked, layers, target_macs=config.macs_fraction * macs, round_to=config.round_to, max_ratio=MAX_RATIO
    )


def magnitude_importance(module: nn.Module, groups: list[ChannelGroup]) -> dict[str, Tensor]:
    """Group → `‖w_c‖` over its layers' filters, as multiples of the group's mean: layers differ in scale by nature."""
    scores = {}
    for group in groups:
        total = sum(
            (
                _per_group_channel(magnitude_scores(weight, dim=dim), member)
                for member, weight, dim in _weights(module, group)
            ),
            start=torch.zeros(group.channels),
        )
        scores[group.name] = total / total.mean().clamp_min(1e-12)
    return scores


def taylor_importance(
    module: nn.Module,
    groups: list[ChannelGroup],
    dataset: Dataset,
    task: Task,
    bundle: ModelBundle,
    config: PruneConfig,
) -> dict[str, Tensor]:
    """Group → root mean square over batches of `first_order_changes`."""
    device = next(module.parameters()).device
    scores: dict[str, list[Tensor]] = {group.name: [] for group in groups}
    batches = calibration_batches(task, dataset, bundle.assets, rows=config.calibration_images, batch_size=32)
    for batch in batches:
        placed = place_batch(batch, device)
        module.zero_grad(set_to_none=True)
        (task.loss(module(*placed.inputs.values()), placed) / max(batch.count, 1)).backward()
        for name, changes in first_order_changes(module, groups).items():
            scores[name].append(changes)
    module.zero_grad(set_to_none=True)
    return {name: root_mean_square(torch.stack(rows)) for name, rows in scores.items()}


def first_order_changes(module: nn.Module, groups: list[ChannelGroup]) -> dict[str, Tensor]:
    """Group → `|Σ w·g|` for each channel, from the gradients that the parameters hold; (channels,) ≥ 0.

    What a channel contributes enters the network through its readers, so the sum over all their weights is the
    first-order change of the loss when the channel goes. It is one sum: over readers (squeeze-and-excitation and the
    projection) and over the positions behind a flatten.
    """
    changes = {}
    for group in groups:
        total = torch.zeros(group.channels)
        for member, weight, dim in _weights(module, group):
            if member.dimension == "in":
                assert weight.grad is not None
                total += _per_group_channel(taylor_terms(weight.detach(), weight.grad, dim=dim), member)
        changes[group.name] = total.abs()
    return changes


def _weights(module: nn.Module, group: ChannelGroup) -> list[tuple[Member, Tensor, int]]:
    """The group's convolutions and linear layers: member, weight, and the weight's dimension that is the channels."""
    found = []
    for member in group.members:
        part = module.get_submodule(member.module)
        if isinstance(part, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear):
            found.append((member, part.weight, 0 if member.dimension == "out" else 1))
    return found


def _per_group_channel(scores: Tensor, member: Member) -> Tensor:
    """A layer's scores, summed over the channels that go with each channel of the group."""
    scores = scores.detach().cpu()
    return torch.stack([scores[list(channels)].sum() for channels in member.channels])


def _accuracy(module: nn.Module, dataset: Dataset, task: Task, bundle: ModelBundle) -> Validation | None:
    if not dataset.rows("validation"):
        return None
    transform = task.transform(bundle.assets)
    batches = as_tensors(read_batches(dataset, "validation", transform, batch_size=task.validation_batch))
    device = next(module.parameters()).device
    return validate(module, batches, task=task, num_classes=len(dataset.classes), device=device)
