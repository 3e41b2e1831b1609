"""KFP face of the preflight check: the first, cheap task of `optimize`."""

from typing import List, NamedTuple, Optional

from kfp import dsl

from components.images import BASE_IMAGE, DATA_IMAGE


class Checked(NamedTuple):
    """What the later tasks take from the check."""

    backbones: str
    recipes: List[dict]
    dataset_state: str
    catalog_state: str


@dsl.component(base_image=BASE_IMAGE, target_image=DATA_IMAGE)
def preflight(
    dataset: str,
    task: str,
    backbones: List[str],
    catalog: str,
    image_size: int,
    validation_fraction: float,
    test_fraction: float,
    max_image_mb: float,
    slice_columns: str,
    epochs: int,
    head_epochs: int,
    batch_size: int,
    optimizer: str,
    learning_rate: float,
    schedule: str,
    power: float,
    step_epochs: int,
    step_gamma: float,
    warmup_fraction: float,
    momentum: float,
    weight_decay: float,
    layer_decay: float,
    label_smoothing: float,
    ema_decay: float,
    precision: str,
    batch_norm: str,
    patience: int,
    checkpoint_seconds: int,
    num_processes: int,
    prune_targets: List[float],
    importance: str,
    round_to: int,
    student_size: int,
    distill_epochs: int,
    distill_learning_rate: float,
    distill_alpha: float,
    distill_temperature: float,
    calibration_method: str,
    calibration_images: int,
    latency_threads: int,
    latency_rounds: int,
    release_name: str,
    seed: int,
    max_latency_ms: Optional[float] = None,
    max_size_mb: Optional[float] = None,
    max_drop: Optional[float] = None,
    max_parameters_m: Optional[float] = None,
    max_macs_m: Optional[float] = None,
    max_backbone_latency_ms: Optional[float] = None,
) -> Checked:
    """Refuses what cannot work, by name and in one line, and lists the recipes to try.

    It takes every parameter of the pipeline, so that a typing mistake in the last stage's parameter costs seconds
    and not the hours of the stages before it. What each one means stands in the pipeline and in its stage's card.

    Returns:
        backbones: The names to compare, as a comma-separated list. recipes: One item for each way to compress.
        dataset_state, catalog_state: Digests that change when the files do, for the cache keys of what reads them.
    """
    asked = dict(locals())

    from components.core.data.ingestion.sources import quick_look, source_state
    from components.core.data.slices import parse_slice_columns
    from components.core.models.catalog import catalog_state, check_weights_available, find_backbone, load_catalog
    from components.core.store.names import check_name
    from components.core.tasks import get_task
    from components.preflight import plan

    plan.check_values(asked)
    plan.check_processes(num_processes, batch_size=batch_size, batch_norm=batch_norm)
    plan.check_fractions(validation_fraction=validation_fraction, test_fraction=test_fraction)
    get_task(task)
    check_name(release_name, what="release_name")
    recipes = plan.plan_recipes(prune_targets, student_size=student_size, image_size=image_size)

    known = load_catalog(catalog or None)
    found = [find_backbone(name, known) for name in plan.distinct_names(backbones)]
    for backbone in found:
        check_weights_available(backbone)
    plan.check_size_budget(
        max_size_mb=max_size_mb,
        parameters={backbone.name: backbone.parameters for backbone in found},
        prune_targets=prune_targets,
    )

    quick_look(dataset, slice_columns=parse_slice_columns(slice_columns))

    print(f"{len(found)} backbones, {len(recipes)} recipes: {'; '.join(recipe.name for recipe in recipes)}")
    return Checked(
        backbones=",".join(backbone.name for backbone in found),
        recipes=[recipe.to_json() for recipe in recipes],
        dataset_state=source_state(dataset),
        catalog_state=catalog_state(catalog or None),
    )
