"""KFP face of the stage that takes over a network which the user has trained."""

from typing import List

from kfp import dsl
from kfp.dsl import Dataset, Input, Metrics, Model, Output

from components.core.results.recall import recalled
from components.images import BASE_IMAGE, TRAIN_IMAGE


@dsl.component(base_image=BASE_IMAGE, target_image=TRAIN_IMAGE)
@recalled
def adopt(
    dataset: Input[Dataset],
    adopted: Output[Model],
    metrics: Output[Metrics],
    task: str,
    model: str,
    model_state: str,
    architecture: str,
    classes: List[str],
    image_size: int,
    mean: List[float],
    std: List[float],
    settings: dict = {},  # noqa: B006
):
    """Takes over a trained network as it is: its weights, head, classes and preprocessing; nothing is trained.

    Args:
        dataset: Prepared data set; its classes must be the network's.
        adopted: The network as a model bundle.
        metrics: Parameters, multiply-accumulates, and the metric on validation data.
        task: Task that the network was trained for.
        model: A checkpoint (a path or an s3:// URI), a release, or a model artifact's digest.
        model_state: sha256 of the checkpoint, or digest of the model's manifest, as the first task saw it.
        architecture: Of a checkpoint: timm:NAME or torchvision:NAME.
        classes: Class names in the order of the outputs.
        image_size: Of a checkpoint: side of its input in pixels; 0 is that of the library's own weights.
        mean: Of a checkpoint: mean of R, G and B, 0 to 1; empty takes those of the library's own weights.
        std: Of a checkpoint: standard deviation of R, G and B; empty takes those of the library's own weights.
        settings: The task's own network options, by name.
    """
    from components.adopt.adoption import OwnModel, adopt_model, validated
    from components.core.artifacts.manifest import describe
    from components.core.bundles.model_bundle import load_model
    from components.core.data.dataset import open_dataset
    from components.core.models.complexity import count_macs, count_parameters
    from components.core.report.metrics import log_metrics
    from components.core.runtime.conversion import float32_of
    from components.core.store import store_from_environment

    asked = OwnModel(
        model=model,
        state=model_state,
        task=task,
        architecture=architecture,
        classes=tuple(classes),
        image_size=image_size,
        mean=tuple(mean),
        std=tuple(std),
        settings=settings,
    )

    store = store_from_environment()
    prepared = open_dataset(dataset.path, store)
    manifest = adopt_model(asked, prepared, adopted.path, store)
    # What cannot be exported is found before anything is trained; the export is kept, and later stages take it.
    float32_of(manifest, store)

    bundle = load_model(manifest, store)
    facts: dict[str, str | int | float | bool] = {
        **bundle.assets.describe(),
        "parameters": count_parameters(bundle.module),
        "macs": count_macs(bundle.module, bundle.inputs),
        **validated(bundle, prepared),
    }
    describe(adopted, manifest, store, backbone=bundle.architecture.backbone, **facts)
    log_metrics(metrics, facts)
    print(", ".join(f"{name} {value}" for name, value in facts.items()))
