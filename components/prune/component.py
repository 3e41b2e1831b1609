"""KFP face of pruning."""

from kfp import dsl
from kfp.dsl import HTML, Dataset, Input, Metrics, Model, Output

from components.core.results.recall import recalled
from components.images import BASE_IMAGE, TRAIN_IMAGE


@dsl.component(base_image=BASE_IMAGE, target_image=TRAIN_IMAGE)
@recalled
def prune(
    dataset: Input[Dataset],
    model: Input[Model],
    pruned: Output[Model],
    metrics: Output[Metrics],
    page: Output[HTML],
    recipe: dict,
    control: Input[Model] = None,
    importance: str = "taylor",
    prune_price: str = "macs",
    round_to: int = 16,
    calibration_images: int = 512,
    latency_threads: int = 1,
    seed: int = 0,
):
    """Removes the channels that matter least for what they cost, until a fraction of the cost is left.

    Structured: whole channels go, along the dependency graph, and the network becomes smaller for every runtime. The
    surgery is recorded in the model, so that it reloads without pickle. Accuracy is recovered by the stage after it.

    Args:
        dataset: Prepared data set; training images give importance and batch-norm statistics.
        model: Trained model; it is left alone.
        pruned: The smaller model.
        metrics: MACs and parameters before and after, the fractions reached, validation metric before and after; with
            the price latency the predicted latency before and after.
        page: What was removed from each layer.
        recipe: The recipe (core.recipe). This stage reads macs_fraction, the part of the cost to keep, with the price
            latency also scheme and student_size, whose latency counts; prune_allocation, how widths are chosen;
            weight_sparsity and sparsity_pattern, weights to set to zero; and what the model's task adds for pruning.
        control: The stock network of a recipe that has control; such a recipe starts from it and not from `model`.
        importance: How channels are ranked: taylor (first-order change of the loss) or magnitude (length of filters).
        prune_price: What a channel costs: its multiply-accumulates (macs), or its predicted time at batch 1 in
            onnxruntime on this machine (latency), from measurements that are kept in the store.
        round_to: Channels left in each layer are a multiple of this; onnxruntime computes int8 depthwise layers by 16.
        calibration_images: Training images for importance and batch-norm statistics.
        latency_threads: Threads of onnxruntime for which latency is predicted.
        seed: Seed of everything random.
    """
    from components.core.artifacts.manifest import describe, read_manifest
    from components.core.bundles.model_bundle import load_model, save_model
    from components.core.data.dataset import open_dataset
    from components.core.recipe import CONTROL, Recipe
    from components.core.report.metrics import log_metrics
    from components.core.store import store_from_environment
    from components.prune.config import OF_RECIPE, PruneConfig
    from components.prune.page import write_pruning_page
    from components.prune.pruning import prune_bundle

    asked = Recipe.from_json(recipe)
    config = PruneConfig(
        macs_fraction=asked.macs_fraction,
        more=asked.more,
        importance=importance,
        prune_price=prune_price,
        scheme=asked.scheme,
        student_size=asked.student_size,
        round_to=round_to,
        calibration_images=calibration_images,
        latency_threads=latency_threads,
        seed=seed,
        **{name: asked.more[name] for name in OF_RECIPE if name in asked.more},
    )

    store = store_from_environment()
    prepared = open_dataset(dataset.path, store)
    start = control if CONTROL in asked.more else model
    source = read_manifest(start.path, kind="model")
    bundle = load_model(source, store)

    result = prune_bundle(bundle, prepared, config, store=store)

    facts = result.facts()
    log_metrics(metrics, facts, recipe=asked.name, data=prepared.description)
    inputs = {"dataset": prepared.manifest.digest, "model": source.digest}
    curves = {} if result.sensitivity is None else {"divergences": result.sensitivity.to_json()}
    manifest = save_model(pruned.path, result.bundle, store, {"stage": "prune", **inputs, **curves})
    describe(pruned, manifest, store, **result.lasting_facts())
    write_pruning_page(page.path, result, config, recipe=asked.name, data=prepared.description)
