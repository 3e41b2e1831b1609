"""The selection from data set to chosen network: limits, features, scores, choice."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from components.backbone_selection.features import BATCH_SIZE, pooled_features
from components.backbone_selection.knn import knn_score
from components.backbone_selection.limits import Limits, measure_costs, refuse_if_none_fits, rejection
from components.backbone_selection.logme import logme
from components.backbone_selection.ranking import Candidate, Choice, rank_and_choose
from components.core.bundles.model_bundle import ModelBundle
from components.core.errors import UserError
from components.core.models.architecture import Architecture
from components.core.models.catalog import Backbone, check_weights_available, find_backbones, load_catalog
from components.core.models.zoo import build_backbone, load_pretrained
from components.core.tasks import Preprocess, get_task

if TYPE_CHECKING:
    from torch import nn

    from components.core.data.dataset import Dataset

FORMAT = 1
MIN_IMAGES = 10


@dataclass(frozen=True, kw_only=True)
class SelectionConfig:
    """What is asked for; the parameters of the stage, checked. UserError names parameter and value."""

    backbones: str
    catalog: str
    image_size: int
    max_images: int
    seed: int
    limits: Limits

    def __post_init__(self) -> None:
        if self.image_size != 0 and not 16 <= self.image_size <= 2048:
            raise UserError(f"image_size must be 0 (each backbone's own) or 16 to 2048 pixels, got {self.image_size}")
        if self.max_images < MIN_IMAGES:
            raise UserError(f"max_images must be at least {MIN_IMAGES}, got {self.max_images}")
        if self.seed < 0:
            raise UserError(f"seed must be at least 0, got {self.seed}")


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The choice, the network it leads to, and how many training images it rests on."""

    choice: Choice
    bundle: ModelBundle
    backbone: Backbone
    images_used: int
    limits: Limits

    def to_json(self) -> dict[str, Any]:
        """The content of ``ranking.json``."""
        return {
            "format": FORMAT,
            "candidates": [candidate.to_json() for candidate in self.choice.candidates],
            "chosen": self.choice.chosen,
            "reason": self.choice.reason,
            "image_size": self.bundle.preprocess.image_size,
            "images_used": self.images_used,
            "limits": vars(self.limits),
        }


def select(dataset: "Dataset", config: SelectionConfig) -> Selection:
    """Rejects candidates above the limits, scores the others on training images, and chooses one.

    Raises:
        UserError: an unknown backbone or weights that are not there (before anything is computed), or no candidate
            within the limits.
    """
    backbones = {b.name: b for b in find_backbones(config.backbones, load_catalog(config.catalog))}
    for backbone in backbones.values():
        check_weights_available(backbone)
    outputs = get_task(dataset.task).num_outputs(dataset.classes)
    modules = {
        name: build_backbone(backbone, num_outputs=outputs, seed=config.seed) for name, backbone in backbones.items()
    }
    sizes = {name: config.image_size or backbone.image_size for name, backbone in backbones.items()}
    costs = measure_costs({name: (modules[name], sizes[name]) for name in backbones})
    reasons = {name: reason for name, cost in costs.items() if (reason := rejection(cost, config.limits))}
    refuse_if_none_fits(costs, reasons, config.limits)

    candidates, used = [], 0
    for name, backbone in backbones.items():
        scores: dict[str, Any] = {"rejected": reasons.get(name)}
        if name not in reasons:
            if backbone.weights != "none":
                load_pretrained(modules[name], backbone)
            used, transfer = _transfer_scores(modules[name], dataset, _preprocess(backbone, sizes[name]), config)
            scores |= transfer
        cost = costs[name]
        candidates.append(
            Candidate(
                name=name,
                architecture=backbone.architecture,
                image_size=sizes[name],
                parameters=cost.parameters,
                macs=cost.macs,
                size_mb=cost.size_mb,
                latency_ms=cost.latency_ms,
                top1_published=backbone.top1,
                **scores,
            )
        )
    choice = rank_and_choose(candidates)
    chosen = backbones[choice.chosen]
    bundle = ModelBundle(
        module=modules[chosen.name].eval(),
        architecture=Architecture(
            backbone=chosen.name, source=chosen.architecture, num_outputs=outputs, task=dataset.task
        ),
        preprocess=_preprocess(chosen, sizes[chosen.name]),
        labels=list(dataset.classes),
    )
    return Selection(choice=choice, bundle=bundle, backbone=chosen, images_used=used, limits=config.limits)


def _transfer_scores(
    module: "nn.Module", dataset: "Dataset", preprocess: Preprocess, config: SelectionConfig
) -> tuple[int, dict[str, float]]:
    # The training split only: the choice is a choice, and validation and test images judge what follows from it.
    batches = get_task(dataset.task).batches(
        dataset, "train", preprocess, batch_size=BATCH_SIZE, limit=config.max_images
    )
    features, labels = pooled_features(module, batches)
    if len(set(labels.tolist())) < 2:
        raise UserError(
            f"the {len(labels)} training images looked at are all of class {dataset.classes[labels[0]]!r}; "
            "backbones cannot be compared on one class: add images of the others, or allow more (max_images)"
        )
    knn = knn_score(features, labels)
    return len(labels), {
        "knn_accuracy": knn.accuracy,
        "knn_standard_error": knn.standard_error,
        "logme": logme(features, labels),
    }


def _preprocess(backbone: Backbone, image_size: int) -> Preprocess:
    return Preprocess(image_size=image_size, mean=backbone.mean, std=backbone.std)
