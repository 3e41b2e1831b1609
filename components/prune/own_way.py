"""Pruning by a task that has its own way: its units are not channels of a dependency graph."""

from collections.abc import Callable

from components.core.bundles.model_bundle import ModelBundle
from components.core.data.dataset import Dataset
from components.core.models.complexity import count_macs, count_parameters
from components.core.recipe import Recipe
from components.core.tasks.networks import build
from components.core.training.validation import Validation
from components.prune.result import Pruned


def slim_bundle(
    bundle: ModelBundle,
    dataset: Dataset,
    recipe: Recipe,
    *,
    rows: int,
    round_to: int,
    accuracy: Callable[[ModelBundle], Validation | None],
) -> Pruned | None:
    """The smaller bundle; None where the task prunes channels. The bundle given is left alone.

    Args:
        bundle: on the CPU, in eval mode.
        dataset: its training split says what matters.
        recipe: what to keep.
        rows, round_to: of `Task.slim`.
        accuracy: validation result of a bundle.

    Raises:
        UserError: what the task refuses.
    """
    task = bundle.task
    slimmed = task.slim(bundle.module.eval(), bundle.assets, dataset, recipe, rows=rows, round_to=round_to)
    if slimmed is None:
        return None
    architecture = bundle.architecture.rebuilt(options=slimmed.options, num_outputs=task.num_outputs(slimmed.assets))
    # The record must build what the weights are of: nothing else is saved.
    build(architecture).load_state_dict(slimmed.module.state_dict(), strict=True)
    smaller = ModelBundle(module=slimmed.module, architecture=architecture, assets=slimmed.assets)
    after = accuracy(smaller)
    return Pruned(
        bundle=smaller,
        metric=task.training_metric,
        groups=dict(slimmed.parts),
        macs_before=count_macs(bundle.module, bundle.inputs),
        macs_after=count_macs(smaller.module, smaller.inputs),
        parameters_before=count_parameters(bundle.module),
        parameters_after=count_parameters(smaller.module),
        accuracy_before=accuracy(bundle),
        accuracy_cut=after,
        accuracy_after=after,
        notes=dict(slimmed.notes),
    )
