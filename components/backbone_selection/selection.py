"""The selection from data set to chosen network: limits, features, scores, choice."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from components.backbone_selection.knn import knn_score
from components.backbone_selection.limits import Limits, measure_costs, refuse_if_none_fits, rejection
from components.backbone_selection.logme import logme
from components.backbone_selection.ranking import Candidate, Ranking, figure_name, rank_and_choose
from components.backbone_selection.untrained import untrained_scores
from components.core.bundles.fresh import fresh_bundle
from components.core.bundles.model_bundle import ModelBundle
from components.core.data.batch import Batch
from components.core.data.reading import read_batches
from components.core.errors import UserError
from components.core.models.catalog import (
    Backbone,
    check_task,
    check_weights_available,
    find_backbones,
    load_catalog,
)
from components.core.parameters import check_declared
from components.core.pruning.trial import UnprunableError, check_network
from components.core.tasks import Task, get_task
from components.core.training.data import as_tensors
from components.core.training.device import choose_device, place, place_batch

if TYPE_CHECKING:
    from torch import nn

    from components.core.data.dataset import Dataset

FORMAT = 2
MIN_IMAGES = 10
BATCH_SIZE = 64


@dataclass(frozen=True, kw_only=True)
class SelectionConfig:
    """The parameters of the stage, checked. UserError names parameter and value."""

    backbones: str
    catalog: str
    image_size: int
    max_images: int
    seed: int
    limits: Limits
    prunes: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)
    """The settings that the task offers for its networks."""

    def __post_init__(self) -> None:
        check_declared({"image_size": self.image_size, "seed": self.seed})
        if self.max_images < MIN_IMAGES:
            raise UserError(f"max_images must be at least {MIN_IMAGES}, got {self.max_images}")


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The choice, the network it leads to, and how many training rows it rests on."""

    ranking: Ranking
    bundle: ModelBundle
    backbone: Backbone
    rows_used: int
    limits: Limits

    def to_json(self) -> dict[str, Any]:
        """The content of ``ranking.json``."""
        return {
            "format": FORMAT,
            "candidates": [candidate.to_json() for candidate in self.ranking.candidates],
            "chosen": self.ranking.chosen,
            "reason": self.ranking.reason,
            "input": self.bundle.assets.describe().get("input", ""),
            "rows_used": self.rows_used,
            "limits": vars(self.limits),
            "compared_by": figure_name(self.ranking.metric),
        }


def select(dataset: "Dataset", config: SelectionConfig) -> Selection:
    """Rejects candidates above the limits, scores the others on training rows, and chooses one.

    Raises:
        UserError: an unknown backbone or weights that are not there (before anything is computed), or no candidate
            within the limits that can be pruned, if a recipe asks for it; or a network that does not take such images.
    """
    backbones = find_backbones(config.backbones, load_catalog(config.catalog))
    task = get_task(dataset.task)
    for backbone in backbones:
        check_task(backbone, dataset.task)
        check_weights_available(backbone)
    candidates = {
        name: _candidate(task, backbone, options, dataset, config)
        for name, backbone, options in task.candidates(backbones, config.settings)
    }
    unprunable = _unprunable(candidates, config)
    costs = measure_costs({name: one.bundle.graphs for name, one in candidates.items()})
    reasons = {name: reason for name, cost in costs.items() if (reason := rejection(cost, config.limits))}
    refuse_if_none_fits(costs, reasons, config.limits)
    reasons = unprunable | reasons
    if set(reasons) == set(candidates):
        raise UserError("no backbone is left: " + "; ".join(f"{name}: {why}" for name, why in sorted(reasons.items())))

    rows, used = [], 0
    for name, one in candidates.items():
        scores: dict[str, Any] = {"rejected": reasons.get(name)}
        if name not in reasons:
            if one.backbone.weights != "none":
                scores["pretrained"] = task.load_pretrained(one.bundle.module, one.backbone, dataset.classes)
                print(f"{name}: pretrained {scores['pretrained']}")
            used, transfer = _transfer_scores(one.bundle, dataset, config)
            scores |= transfer
        cost = costs[name]
        rows.append(
            Candidate(
                name=name,
                architecture=one.backbone.architecture,
                input=one.bundle.assets.describe().get("input", ""),
                parameters=cost.parameters,
                macs=cost.macs,
                size_mb=cost.size_mb,
                latency_ms=cost.latency_ms,
                top1_published=one.backbone.top1,
                **scores,
            )
        )
    untrained = any(row.untrained is not None for row in rows)
    ranking = rank_and_choose(rows, task.metrics[0]) if untrained else rank_and_choose(rows)
    chosen = candidates[ranking.chosen]
    chosen.bundle.module.eval()
    return Selection(
        ranking=ranking, bundle=chosen.bundle, backbone=chosen.backbone, rows_used=used, limits=config.limits
    )


@dataclass(frozen=True, kw_only=True)
class _Untrained:
    """A network that may be chosen, with random weights at first, and its backbone."""

    bundle: ModelBundle
    backbone: Backbone


def _unprunable(candidates: Mapping[str, _Untrained], config: SelectionConfig) -> dict[str, str]:
    """Of candidates that cannot be pruned though a recipe asks for it, why; UnprunableError where it is all of them."""
    refused: dict[str, UnprunableError] = {}
    for name, one in candidates.items():
        module, task = one.bundle.module, one.bundle.task
        try:
            check_network(
                module, one.bundle.inputs, called=f"backbone {name!r} ({one.backbone.architecture})",
                output_layers=task.output_layers(module), prunes=config.prunes,
            )  # fmt: skip
        except UnprunableError as error:
            refused[name] = error
    if len(refused) == len(candidates):
        raise next(iter(refused.values()))
    return {name: str(error) for name, error in refused.items()}


def _candidate(
    task: Task, backbone: Backbone, options: Mapping[str, Any], dataset: "Dataset", config: SelectionConfig
) -> _Untrained:
    bundle = fresh_bundle(
        task, backbone, options, dataset, image_size=config.image_size, seed=config.seed, settings=config.settings
    )
    return _Untrained(bundle=bundle, backbone=backbone)


def _transfer_scores(bundle: ModelBundle, dataset: "Dataset", config: SelectionConfig) -> tuple[int, dict[str, float]]:
    # The training split only: the choice is a choice, and validation and test rows judge what follows from it.
    compute = bundle.task.labelled_vectors(bundle.module)
    if compute is None:
        return untrained_scores(bundle, dataset, rows=config.max_images)
    transform = bundle.task.transform(bundle.assets)
    batches = read_batches(dataset, "train", transform, batch_size=BATCH_SIZE, limit=config.max_images)
    vectors, labels, of_rows = labelled_vectors(compute, bundle.module, as_tensors(batches))
    rows = min(config.max_images, dataset.rows("train"))
    if len(set(labels.tolist())) < 2:
        raise UserError(
            f"all {rows} training {bundle.task.row_noun} that were examined belong to class "
            f"{dataset.classes[labels[0]]!r}; backbones can only be compared on two classes or more: add data of "
            "other classes, or raise max_images"
        )
    knn = knn_score(vectors, labels, groups=of_rows)
    return rows, {
        "knn_accuracy": knn.accuracy,
        "knn_standard_error": knn.standard_error,
        "logme": logme(vectors, labels),
    }


def labelled_vectors(
    compute: Callable[[Batch], tuple[Tensor, Tensor, Tensor]], module: "nn.Module", batches: Iterable[Batch]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frozen features `(n, D)` float32 of all batches, their labels and the rows that they are of, both `(n,)` int64.

    The network runs in eval mode and is given back in eval mode on the CPU. Raises ValueError when there is no batch.
    """
    device = choose_device()
    place(module.eval(), device)
    vectors, labels, of_rows, before = [], [], [], 0
    with torch.inference_mode():
        for batch in batches:
            found, classes, rows = compute(place_batch(batch, device))
            vectors.append(found.float().cpu().numpy())
            labels.append(classes.cpu().numpy())
            of_rows.append(rows.cpu().numpy() + before)
            before += len(batch)
    module.to("cpu")
    if not vectors:
        raise ValueError("there are no rows to compute features of")
    return np.concatenate(vectors), np.concatenate(labels).astype(np.int64), np.concatenate(of_rows)
