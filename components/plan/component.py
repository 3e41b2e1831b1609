"""KFP face of the plan of a search in a time box."""

from typing import List, NamedTuple

from kfp import dsl
from kfp.dsl import Dataset, Input, Metrics, Model, Output

from components.images import BASE_IMAGE, TRAIN_IMAGE


class Planned(NamedTuple):
    """Epochs, recipes and the plan until the first rung has been measured."""

    epochs: int
    further_epochs: int
    recipes: List[dict]
    plan: dict


@dsl.component(base_image=BASE_IMAGE, target_image=TRAIN_IMAGE)
def plan(
    dataset: Input[Dataset],
    model: Input[Model],
    recipes: List[dict],
    control: Output[Model],
    metrics: Output[Metrics],
    deadline: float = 0.0,
    time_limit_minutes: float = 15.0,
    max_latency_ms: float = -1.0,
    max_size_mb: float = -1.0,
    batch_size: int = 64,
    head_epochs: int = 30,
    round_to: int = 16,
    latency_threads: int = 1,
    catalog: str = "",
    catalog_state: str = "",
    seed: int = 0,
    settings: dict = {},  # noqa: B006
) -> Planned:
    """Plans a search for the time that is left: measures training steps here, chooses candidates, and says how many
    epochs each step gets. Refuses a time box that is too short, and limits that no student can keep.

    Args:
        dataset: Prepared data set; a few batches of its training split are read.
        model: The network that will be trained and pruned.
        recipes: One recipe (core.recipe) with what all candidates have in common.
        control: The next smaller stock backbone with its published weights, which one of the recipes names; without
            one the network itself.
        metrics: Seconds of an epoch, epochs of each step, number of candidates.
        deadline: End of the time box, in seconds of Unix time.
        time_limit_minutes: Length of the time box, in minutes.
        max_latency_ms: Allowed median latency at batch 1 in milliseconds; -1 is no limit.
        max_size_mb: Allowed size of the ONNX file in megabytes of 10⁶ bytes; -1 is no limit.
        batch_size: Rows in an optimizer step.
        head_epochs: Epochs of the fresh head on frozen features; 0 trains none.
        round_to: Channels left in each layer are a multiple of this.
        latency_threads: Threads of onnxruntime.
        catalog: Path or s3:// URI of a YAML file that adds or overrides backbones; empty is none.
        catalog_state: Digest of the catalog's content. Not used here: it makes a cached result count only as long as
            the entries are the same.
        seed: Of the control's fresh head.
        settings: The task's own network options, by name.

    Returns:
        Epochs of fine-tuning and of the baseline, the candidates' recipes with the epochs of the first rung, and what
        the plan rests on.
    """
    import time

    from components.core.artifacts.manifest import describe, publish_entries, read_manifest
    from components.core.bundles.model_bundle import load_model, save_model
    from components.core.data.dataset import open_dataset
    from components.core.models.catalog import load_catalog
    from components.core.parameters import check_declared, limit
    from components.core.recipe import Recipe
    from components.core.report.metrics import log_metrics
    from components.core.store import store_from_environment
    from components.plan.control import next_smaller, with_control
    from components.plan.planning import choose_candidates, plan_race

    check_declared({
        "time_limit_minutes": time_limit_minutes, "max_latency_ms": max_latency_ms, "max_size_mb": max_size_mb,
        "batch_size": batch_size, "head_epochs": head_epochs, "round_to": round_to, "latency_threads": latency_threads,
        "seed": seed,
    })  # fmt: skip
    store = store_from_environment()
    prepared = open_dataset(dataset.path, store)
    selected = read_manifest(model.path, kind="model")
    bundle, base = load_model(selected, store), Recipe.from_json(recipes[0])

    stock = next_smaller(bundle, prepared, load_catalog(catalog or None), base, seed=seed, settings=settings)
    tried = choose_candidates(
        bundle,
        base,
        settings=settings,
        round_to=round_to,
        threads=latency_threads,
        max_latency_ms=limit(max_latency_ms),
        max_size_mb=limit(max_size_mb),
    )
    made = plan_race(
        bundle, prepared, with_control(tried, stock), control=stock.said, deadline=deadline,
        minutes=time_limit_minutes, batch_size=batch_size,
        head_epochs=head_epochs, now=time.time,
    )  # fmt: skip
    if stock.bundle is None:
        published = publish_entries(
            control.path, kind=selected.kind, entries=selected.files, metadata=selected.metadata
        )
    else:
        published = save_model(
            control.path, stock.bundle, store, {"stage": "plan", "dataset": prepared.manifest.digest}
        )
    describe(control, published, store)
    log_metrics(metrics, made.facts())
    print(made.said())
    return Planned(
        epochs=made.time.epochs,
        further_epochs=made.time.further_epochs,
        recipes=[one.to_json() for one in made.recipes],
        plan=made.to_json(),
    )
