"""KFP face of the check that a budget can be met, before anything is trained."""

from typing import List

from kfp import dsl
from kfp.dsl import Input, Metrics, Model, Output

from components.core.results.recall import recalled
from components.images import BASE_IMAGE, TRAIN_IMAGE


@dsl.component(base_image=BASE_IMAGE, target_image=TRAIN_IMAGE)
@recalled
def budget_check(
    model: Input[Model],
    recipes: List[dict],
    metrics: Output[Metrics],
    max_latency_ms: float = -1.0,
    max_size_mb: float = -1.0,
    round_to: int = 16,
    latency_threads: int = 1,
):
    """Refuses a latency or a size that no recipe can reach, and says what can be reached.

    The student of the smallest recipe is built without training, its channels taken evenly, and measured. Without a
    limit nothing is done.

    Args:
        model: The network that will be trained and pruned.
        recipes: The recipes (core.recipe).
        metrics: Latency and size of the smallest student.
        max_latency_ms: Allowed median latency at batch 1 in milliseconds; -1 is no limit.
        max_size_mb: Allowed size of the ONNX file in megabytes of 10⁶ bytes; -1 is no limit.
        round_to: Channels left in each layer are a multiple of this.
        latency_threads: Threads of onnxruntime.
    """
    from components.core.artifacts.manifest import read_manifest
    from components.core.parameters import check_declared, limit

    check_declared({
        "max_latency_ms": max_latency_ms, "max_size_mb": max_size_mb, "round_to": round_to,
        "latency_threads": latency_threads,
    })  # fmt: skip
    source = read_manifest(model.path, kind="model")
    limits = {"max_latency_ms": limit(max_latency_ms), "max_size_mb": limit(max_size_mb)}
    if not any(limits.values()):
        print("no limit of latency or size: nothing to check")
        return

    from components.budget_check.refusal import refusal
    from components.budget_check.students import make_students, smallest_recipe
    from components.core.bundles.model_bundle import load_model
    from components.core.errors import UserError
    from components.core.recipe import Recipe
    from components.core.report.metrics import log_metrics
    from components.core.store import store_from_environment

    bundle = load_model(source, store_from_environment())
    recipe = smallest_recipe([Recipe.from_json(one) for one in recipes])
    try:
        asked, least = make_students(bundle, recipe, round_to=round_to, threads=latency_threads)
    except UserError as error:
        print(f"not checked before training: {error}")
        return
    print(
        f"{recipe.name}: {asked.latency_ms:.3g} ms, {asked.size_bytes / 1e6:.3g} MB; pruned as far as it can be "
        f"{least.latency_ms:.3g} ms, {least.size_bytes / 1e6:.3g} MB"
    )
    if why := refusal(asked, least, recipe, backbone=bundle.architecture.backbone, **limits):
        raise UserError(why)
    log_metrics(metrics, {"smallest_latency_ms": asked.latency_ms, "smallest_size_mb": asked.size_bytes / 1e6})
