"""A network with a fresh head for a data set's classes, on a backbone of the catalog."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from components.core.bundles.model_bundle import ModelBundle
from components.core.models.architecture import Architecture
from components.core.models.catalog import Backbone
from components.core.tasks import Task
from components.core.tasks.networks import fresh_network

if TYPE_CHECKING:
    from components.core.data.dataset import Dataset


def fresh_bundle(
    task: Task,
    backbone: Backbone,
    options: Mapping[str, Any],
    dataset: "Dataset",
    *,
    image_size: int,
    seed: int,
    settings: Mapping[str, Any],
) -> ModelBundle:
    """The bundle with random weights; `Task.load_pretrained` gives the module those of the backbone.

    Args:
        options: of the architecture, as `Task.candidates` gives them.
        image_size: side of the input in pixels; 0 is the backbone's own.
        seed: of the weights.
        settings: the task's own network options.
    """
    assets = task.assets(backbone, dataset, image_size, settings=settings)
    architecture = Architecture(
        backbone=backbone.name,
        source=backbone.architecture,
        num_outputs=task.num_outputs(assets),
        task=dataset.task,
        options=task.network_options(backbone, dict(options), assets),
    )
    return ModelBundle(module=fresh_network(architecture, seed=seed), architecture=architecture, assets=assets)
