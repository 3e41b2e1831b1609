"""KFP face of the check that a budget can be met, before anything is trained."""

from typing import List, NamedTuple

from kfp import dsl
from kfp.dsl import Input, Metrics, Model, Output

from components.images import BASE_IMAGE, TRAIN_IMAGE


class Checked(NamedTuple):
    """The recipes that are tried."""

    recipes: List[dict]


@dsl.component(base_image=BASE_IMAGE, target_image=TRAIN_IMAGE)
def budget_check(
    model: Input[Model],
    recipes: List[dict],
    metrics: Output[Metrics],
    max_latency_ms: float = -1.0,
    max_size_mb: float = -1.0,
    prune_to_fit: bool = False,
    round_to: int = 16,
    latency_threads: int = 1,
) -> Checked:
    """Refuses a latency or a size that no recipe can reach, and says what can be reached; or fits recipes to them.

    Students are built without training, their channels taken evenly, and measured. Without a limit nothing is done.

    Args:
        model: The network that will be trained and pruned.
        recipes: The recipes (core.recipe).
        metrics: Number of recipes; latency and size of the smallest student.
        max_latency_ms: Allowed median latency at batch 1 in milliseconds; -1 is no limit.
        max_size_mb: Allowed size of the ONNX file in megabytes of 10⁶ bytes; -1 is no limit.
        prune_to_fit: Whether to prune as little as the limits allow, instead of what the recipes say.
        round_to: Channels left in each layer are a multiple of this.
        latency_threads: Threads of onnxruntime.

    Returns:
        The recipes as they came, or those that fit.
    """
    from components.core.artifacts.manifest import read_manifest
    from components.core.errors import UserError
    from components.core.parameters import check_declared, limit
    from components.core.report.metrics import log_metrics

    check_declared({
        "max_latency_ms": max_latency_ms, "max_size_mb": max_size_mb, "prune_to_fit": prune_to_fit,
        "round_to": round_to, "latency_threads": latency_threads,
    })  # fmt: skip
    source = read_manifest(model.path, kind="model")
    limits = {"max_latency_ms": limit(max_latency_ms), "max_size_mb": limit(max_size_mb)}
    figures: dict[str, float] = {"recipes": len(recipes)}
    if not any(limits.values()):
        print("no limit of latency or size: nothing to check")
        log_metrics(metrics, figures)
        return Checked(recipes=recipes)

    from components.budget_check.fitting import fitted_recipes
    from components.budget_check.refusal import refusal
    from components.core.bundles.model_bundle import load_model
    from components.core.pruning.students import LEAST, Students, smallest_recipe
    from components.core.recipe import Recipe
    from components.core.store import store_from_environment

    bundle = load_model(source, store_from_environment())
    recipe = smallest_recipe([Recipe.from_json(one) for one in recipes])
    try:
        students = Students(bundle, recipe, round_to=round_to, threads=latency_threads)
        asked, least = students.measured([LEAST if prune_to_fit else recipe.macs_fraction, LEAST])
    except UserError as error:
        if prune_to_fit:
            raise UserError(f"prune_to_fit: {error}; give prune_targets") from None
        print(f"not checked before training: {error}")
        log_metrics(metrics, figures)
        return Checked(recipes=recipes)
    print(
        f"{'as small as can be' if prune_to_fit else recipe.name}: {asked.latency_ms:.3g} ms, "
        f"{asked.size_bytes / 1e6:.3g} MB; pruned as far as it can be {least.latency_ms:.3g} ms, "
        f"{least.size_bytes / 1e6:.3g} MB"
    )
    if why := refusal(asked, least, recipe, backbone=bundle.architecture.backbone, fits=prune_to_fit, **limits):
        raise UserError(why)
    figures |= {"smallest_latency_ms": asked.latency_ms, "smallest_size_mb": asked.size_bytes / 1e6}
    if not prune_to_fit:
        log_metrics(metrics, figures)
        return Checked(recipes=recipes)
    fitted = fitted_recipes(recipe, students.measured, **limits)
    log_metrics(metrics, figures | {"recipes": len(fitted)})
    print(f"fitted to the limits: {'; '.join(one.name for one in fitted)}")
    return Checked(recipes=[one.to_json() for one in fitted])
