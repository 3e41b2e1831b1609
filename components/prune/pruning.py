"""Structured pruning of a network to a fraction of its MACs, or of its predicted latency."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from components.core.bundles.model_bundle import ModelBundle
from components.core.data.batch import Batch
from components.core.data.dataset import Dataset
from components.core.data.reading import read_batches
from components.core.errors import UserError
from components.core.models.architecture import Cut
from components.core.models.complexity import count_macs, count_parameters
from components.core.pruning.costs import layer_costs
from components.core.pruning.groups import PruningGraph
from components.core.pruning.member import ChannelGroup, Member
from components.core.pruning.plan import MAX_RATIO, plan_removal
from components.core.recipe import Recipe
from components.core.store import Store
from components.core.tasks import Task
from components.core.training.batchnorm import absorb_statistics, recalibrate_batchnorm
from components.core.training.data import as_tensors, calibration_batches
from components.core.training.device import choose_device, deterministic, place, place_batch, use_available_threads
from components.core.training.validation import Validation, validate
from components.prune.config import EXACT, GREEDY, MACS, PruneConfig
from components.prune.exact import ROUNDS, exact_plan
from components.prune.importance import magnitude_scores, per_cost, root_mean_square, taylor_terms
from components.prune.own_way import slim_bundle
from components.prune.prices import Prices, prices_of
from components.prune.result import Predicted, Pruned, Sensitivity
from components.prune.sensitivity import trial_rows
from components.prune.surgery import check_record
from components.prune.weights import zero_weights


def prune_bundle(
    bundle: ModelBundle,
    dataset: Dataset,
    config: PruneConfig,
    *,
    store: Store | None = None,
    report: Callable[[str], None] = print,
) -> Pruned:
    """A pruned copy of the bundle, in eval mode on the CPU; the bundle given is left alone.

    Importance → plan → surgery → weights set to zero → batch norms brought back to the mean and variance they
    had → check that the recorded surgery rebuilds the network. The fraction reached may stay above the one asked for
    when every group is at its limit; it is stated. Nothing of it reads test data; validation accuracy is reported, not
    used. `store` keeps measured latencies for the next call.
    """
    task, device, inputs = bundle.task, choose_device(), bundle.inputs
    task.check_classes(dataset, bundle.assets)
    use_available_threads()
    recipe = Recipe(name="pruning", macs_fraction=config.macs_fraction, more=config.more)
    with deterministic(config.seed):
        slimmed = slim_bundle(
            bundle, dataset, recipe, rows=config.calibration_images, round_to=config.round_to,
            accuracy=lambda one: validation_of(one.module, dataset, task, one),
        )  # fmt: skip
    if slimmed is not None:
        if config.prune_price != MACS:
            raise UserError(f"prune_price {config.prune_price} is not available for {task.title}; leave it out")
        if config.prune_allocation != GREEDY:
            raise UserError(
                f"prune_allocation {config.prune_allocation} is not available for {task.title}; use {GREEDY}"
            )
        result = _thinned(slimmed, config, lambda one: validation_of(one.module, dataset, task, one))
        report(_reached(result, config))
        return result
    module = place(copy.deepcopy(bundle.module), device).eval().requires_grad_(True)
    macs_before, parameters_before = count_macs(module, inputs), count_parameters(module)

    def batches() -> Iterator[Batch]:
        return calibration_batches(task, dataset, bundle.assets, rows=config.calibration_images)

    with deterministic(config.seed):
        before = validation_of(module, dataset, task, bundle)
        groups: list[ChannelGroup] = []
        removal: dict[str, list[int]] = {}
        cuts: list[Cut] = []
        predicted: Predicted | None = None
        sensitivity: Sensitivity | None = None
        # What stays whole need not be understood, and keeps its weights to the bit.
        if config.macs_fraction < 1 or config.weight_sparsity:
            absorb_statistics(module, batches(), device)
        if config.macs_fraction < 1:
            graph = PruningGraph(module, inputs=inputs, output_layers=task.output_layers(module))
            groups = graph.groups()
            layers = layer_costs(module, groups, inputs=inputs)
            prices = prices_of(bundle, module, groups, layers, config, store)
            removal, sensitivity = _plan(module, groups, dataset, task, bundle, config, prices)
            predicted = prices.predicted({name: len(gone) for name, gone in removal.items()})
            cuts = graph.remove(removal)
        module.zero_grad(set_to_none=True)
        sparse = zero_weights(module, config.weight_sparsity, config.sparsity_pattern)
        cut = validation_of(module, dataset, task, bundle) if cuts or sparse else before
        if cuts or sparse:
            recalibrate_batchnorm(module, batches(), device)
        after = validation_of(module, dataset, task, bundle) if cuts or sparse else before

    architecture = bundle.architecture.with_surgery(cuts).with_sparse(sparse)
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
        predicted=predicted,
        sensitivity=sensitivity,
    )
    report(_reached(result, config))
    return result


def _thinned(result: Pruned, config: PruneConfig, accuracy: Callable[[ModelBundle], Validation | None]) -> Pruned:
    """The result of a task's own way, with weights set to zero where that was asked for."""
    bundle = result.bundle
    sparse = zero_weights(bundle.module, config.weight_sparsity, config.sparsity_pattern)
    if not sparse:
        return result
    thinned = replace(bundle, architecture=bundle.architecture.with_sparse(sparse))
    after = accuracy(thinned)
    return replace(result, bundle=thinned, accuracy_cut=after, accuracy_after=after)


def _reached(result: Pruned, config: PruneConfig) -> str:
    unit, latency = "MACs", ""
    if result.predicted is not None:
        unit, latency = "latency", f", {result.predicted.fraction:.1%} of the predicted latency"
    return (
        f"{result.macs_fraction:.1%} of the MACs{latency} and "
        f"{result.parameters_after / result.parameters_before:.1%} of the parameters are left (asked: "
        f"{config.macs_fraction:.1%} of the {unit})"
        + (f"; {result.zero_weights:.1%} of the weights are zero" if result.zero_weights else "")
    )


def _plan(
    module: nn.Module,
    groups: list[ChannelGroup],
    dataset: Dataset,
    task: Task,
    bundle: ModelBundle,
    config: PruneConfig,
    prices: Prices,
) -> tuple[dict[str, list[int]], Sensitivity | None]:
    if config.importance == "taylor":
        scores = taylor_importance(module, groups, dataset, task, bundle, config)
    else:
        scores = magnitude_importance(module, groups)
    if config.prune_allocation == EXACT:
        rows = trial_rows(count_macs(module, bundle.inputs), len(groups), rounds=ROUNDS)
        batches = calibration_batches(task, dataset, bundle.assets, rows=rows)
        return exact_plan(
            module, groups, scores, batches, task, prices,
            macs_fraction=config.macs_fraction, round_to=config.round_to,
        )  # fmt: skip
    ranked = {
        name: per_cost(score, prices.per_channel[name], exponent=prices.exponent) for name, score in scores.items()
    }
    target = config.macs_fraction * prices.cost({})
    return plan_removal(ranked, prices.cost, target=target, round_to=config.round_to, max_ratio=MAX_RATIO), None


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


def validation_of(module: nn.Module, dataset: Dataset, task: Task, bundle: ModelBundle) -> Validation | None:
    """How well the network does on validation data; None without any."""
    if not dataset.rows("validation"):
        return None
    transform = task.transform(bundle.assets)
    batches = as_tensors(read_batches(dataset, "validation", transform, batch_size=task.validation_batch))
    device = next(module.parameters()).device
    return validate(module, batches, task=task, num_classes=len(dataset.classes), device=device)
