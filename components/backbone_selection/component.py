"""KFP face of the backbone selection."""

from typing import List

from kfp import dsl
from kfp.dsl import HTML, Artifact, Dataset, Input, Metrics, Model, Output

from components.core.results.recall import recalled
from components.images import BASE_IMAGE, TRAIN_IMAGE


@dsl.component(base_image=BASE_IMAGE, target_image=TRAIN_IMAGE)
@recalled
def backbone_selection(
    dataset: Input[Dataset],
    model: Output[Model],
    ranking: Output[Artifact],
    metrics: Output[Metrics],
    page: Output[HTML],
    backbones: List[str] = ["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"],  # noqa: B006
    catalog: str = "",
    catalog_state: str = "",
    image_size: int = 64,
    max_images: int = 1500,
    seed: int = 0,
    max_parameters_m: float = -1.0,
    max_macs_m: float = -1.0,
    max_latency_ms: float = -1.0,
    prunes: bool = False,
    settings: dict = {},  # noqa: B006
):
    """Chooses the pretrained network to start from: hard limits first, then transfer to the training rows.

    Of the candidates within the limits whose k-NN accuracy is within one standard error of the best one's, the one with
    the fewest MACs is chosen; without classes, the task's metric before any training is used instead of accuracy.
    The ranking by size, which looks at no data, stands beside it.

    Args:
        dataset: Prepared data set; only its training split is read.
        model: The chosen network with its published weights and a fresh head for the data set's classes.
        ranking: All candidates with costs, scores and both ranks (ranking.json).
        metrics: Costs and scores of the chosen one.
        page: The ranking as a page.
        backbones: Names from the catalog.
        catalog: Path or s3:// URI of a YAML file that adds or overrides backbones; empty is none.
        catalog_state: Digest of the catalog's content (core.models.catalog.catalog_state). Only for the cache:
            when the entries change, a cached result no longer applies.
        image_size: Side of the square input in pixels, 16 to 2048; 0 is each backbone's own.
        max_images: Training images to compute features of, spread evenly over the split; at least 10.
        seed: Random seed of the fresh head's weights.
        max_parameters_m: Most parameters, in millions, with the data set's head; -1 is no limit.
        max_macs_m: Most multiply-accumulates of one image, in millions; -1 is no limit.
        max_latency_ms: Longest median latency in milliseconds of the uncompressed float32 network in onnxruntime, at
            batch 1 on one thread of the machine that runs this stage; -1 is no limit.
        prunes: Whether the network will be pruned: one that cannot be is refused.
        settings: The task's own network options, by name.
    """
    import json

    from components.backbone_selection.limits import Limits
    from components.backbone_selection.page import write_ranking_page
    from components.backbone_selection.selection import SelectionConfig, select
    from components.core.artifacts.manifest import describe, publish
    from components.core.bundles.model_bundle import save_model
    from components.core.data.dataset import open_dataset
    from components.core.report.metrics import log_metrics
    from components.core.store import store_from_environment
    from components.core.training.device import deterministic, use_available_threads

    limits = Limits(max_parameters_m=max_parameters_m, max_macs_m=max_macs_m, max_latency_ms=max_latency_ms)
    config = SelectionConfig(
        backbones=",".join(backbones),
        catalog=catalog,
        image_size=image_size,
        max_images=max_images,
        seed=seed,
        limits=limits,
        prunes=prunes,
        settings=settings,
    )

    store = store_from_environment()
    prepared = open_dataset(dataset.path, store)
    use_available_threads()
    with deterministic(seed):
        selection = select(prepared, config)
    winner = selection.ranking.winner()
    print(selection.ranking.reason)

    facts: dict[str, str | int | float | bool] = {
        "backbone": winner.name,
        "input": winner.input,
        "parameters": winner.parameters,
        "macs": winner.macs,
        "licence": selection.backbone.licence,
    }
    origin = {"weights_sha256": selection.backbone.sha256, "dataset": prepared.manifest.digest}
    manifest = save_model(model.path, selection.bundle, store, {"stage": "backbone_selection", **facts, **origin})
    describe(model, manifest, store, **facts)
    content = json.dumps(selection.to_json(), indent=1, ensure_ascii=False).encode()
    table = publish(ranking.path, kind="ranking", files={"ranking.json": content}, metadata=facts, store=store)
    describe(ranking, table, store, **facts, reason=selection.ranking.reason)
    figures = ("knn_accuracy", "knn_standard_error", "logme", "untrained", "untrained_error", "untrained_loss")
    shown = {name: getattr(winner, name) for name in (*figures, "parameters", "macs", "latency_ms")}
    log_metrics(metrics, shown, data=prepared.description)
    write_ranking_page(page.path, selection, data=prepared.description)
