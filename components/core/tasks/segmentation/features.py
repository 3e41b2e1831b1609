"""A segmentation network as the house handles it: built, loaded, split, compared."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from components.core.data.batch import Batch
from components.core.errors import UserError
from components.core.models.architecture import Architecture
from components.core.models.catalog import Backbone
from components.core.models.zoo import create_module, named_weights
from components.core.tasks.segmentation.forms import PUBLISHED, WIDTH
from components.core.tasks.segmentation.losses import AUXILIARY_WEIGHT, channel_distillation_sum, segmentation_loss
from components.core.tasks.segmentation.networks import (
    SegmentationNetwork,
    WithAuxiliary,
    build,
    load_backbone_weights,
)
from components.core.tasks.segmentation.parameters import DEFAULT_HEAD
from components.core.tasks.segmentation.whole import load_whole

MIN_SHARE = 0.01
"""Share of an image's counted pixels from which a class stands for a region of it."""


def create_network(architecture: Architecture) -> SegmentationNetwork:
    """The network of the architecture, before surgery; `options` may name `head` and `width`."""
    # Drawn, so that whoever seeds torch's generator decides over the weights.
    seed = int(torch.randint(2**31, ()))
    if published := PUBLISHED.get(architecture.source):
        return build(
            published.backbone,
            architecture.num_outputs,
            head=published.head,
            width=published.width,
            form=published.form,
            seed=seed,
        )
    return build(
        architecture.source,
        architecture.num_outputs,
        head=architecture.options.get("head", DEFAULT_HEAD),
        width=architecture.options.get("width", WIDTH),
        seed=seed,
    )


def network_of(module: nn.Module) -> SegmentationNetwork:
    """The module, which the task has built."""
    assert isinstance(module, SegmentationNetwork), type(module).__name__
    return module


def load_pretrained(module: nn.Module, backbone: Backbone, classes: Sequence[str]) -> str:
    """Copies published weights in; returns in a few words which.

    Those of a classification network go into the backbone, and the head keeps what it has. Of a whole segmentation
    network all are taken, the classifier only if they are of the same `classes`.

    Raises:
        UserError: the weights cannot be had, or do not fit; names the first tensor that does not.
    """
    if backbone.task:
        return load_whole(network_of(module), backbone, classes)
    whole = create_module(backbone.architecture, 1).state_dict()
    try:
        load_backbone_weights(network_of(module), named_weights(backbone, whole))
    except ValueError as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"weights of backbone {backbone.name!r}: {error}") from None
    return "backbone; new head"


def with_auxiliary(module: nn.Module, *, seed: int) -> WithAuxiliary:
    """The network with an auxiliary head, on the same device."""
    return WithAuxiliary(network_of(module), seed=seed).to(next(module.parameters()).device)


def main_logits(outputs: Any, batch: Batch) -> Tensor:
    """The logits of the network's own head `(N, classes, H, W)`, at the size of the batch's targets."""
    logits: Tensor = outputs if isinstance(outputs, Tensor) else outputs[0]
    return _at_target(logits, batch)


def training_loss(outputs: Any, batch: Batch, settings: Mapping[str, Any]) -> Tensor:
    """Sum over counted pixels of the loss by name, plus `auxiliary_weight` times that of the auxiliary head.

    Of `settings` it knows `loss` (see `losses.LOSSES`), `class_weight` (a number per class) and `auxiliary_weight`.
    """
    heads = (outputs,) if isinstance(outputs, Tensor) else outputs
    kind, listed = settings.get("loss", "cross_entropy"), settings.get("class_weight")
    class_weight = None if listed is None else torch.tensor(listed, device=heads[0].device)
    targets = batch.targets.long()
    losses = [
        segmentation_loss(_at_target(logits, batch), targets, batch.weight, kind=kind, class_weight=class_weight)
        for logits in heads
    ]
    return losses[0] + settings.get("auxiliary_weight", AUXILIARY_WEIGHT) * losses[1] if len(losses) > 1 else losses[0]


def channel_loss(outputs: Any, taught: Any, batch: Batch, temperature: float) -> Tensor:
    """`losses.channel_distillation_sum` of both at the targets' size."""
    student, teacher = main_logits(outputs, batch), main_logits(taught, batch)
    return channel_distillation_sum(student, teacher, batch.weight, temperature=temperature)


def split(module: nn.Module) -> tuple[Callable[..., tuple[Tensor, ...]], nn.Module]:
    """`features(images)` gives the maps that the head reads; the head gives logits at the images' size."""
    network = network_of(module)
    head = _Head(network)

    def features(images: Tensor) -> tuple[Tensor, ...]:
        head.size = (images.shape[-2], images.shape[-1])
        maps = network.maps(images, network.head.strides)
        return tuple(maps[stride] for stride in network.head.strides)

    return features, head


class _Head(nn.Module):
    """The network's head on its maps, which come as separate tensors."""

    def __init__(self, network: SegmentationNetwork) -> None:
        super().__init__()
        self.head = network.head
        self.size = (0, 0)

    def forward(self, *maps: Tensor) -> Tensor:
        logits = self.head(dict(zip(self.head.strides, maps, strict=True)))
        return F.interpolate(logits, size=self.size, mode="bilinear", align_corners=False)


def labelled_vectors(module: nn.Module) -> Callable[[Batch], tuple[Tensor, Tensor, Tensor]]:
    """Vectors of the deepest map that the head reads, `(M, D)`, with the class and the image of each, `(M,)`.

    Of each image and class that it shows (at least `MIN_SHARE` of its counted pixels) the mean over the map, each cell
    weighed by its share of the class: one vector per region, since cells of one image are much alike, and all of them
    would count the large classes only.
    """
    deepest_map = _deepest(network_of(module))
    classes = network_of(module).get_submodule(network_of(module).output_layers[0]).out_channels
    assert isinstance(classes, int)

    def vectors(batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        deepest = deepest_map(*batch.inputs.values())
        counted = torch.where(batch.weight, batch.targets.long(), classes)
        shares = F.adaptive_avg_pool2d(
            F.one_hot(counted, classes + 1)[..., :classes].permute(0, 3, 1, 2).float(),
            (deepest.shape[-2], deepest.shape[-1]),
        ).flatten(2)
        totals = shares.sum(dim=2)
        rows, found = (totals >= MIN_SHARE * totals.sum(dim=1, keepdim=True)).nonzero(as_tuple=True)
        regions = torch.einsum("ncp,ndp->ncd", shares, deepest.flatten(2).float()) / totals.unsqueeze(2).clamp_min(1e-9)
        return regions[rows, found], found, rows

    return vectors


def embeddings(module: nn.Module) -> Callable[..., Tensor]:
    """The mean of the deepest map `(N, D)`."""
    deepest_map = _deepest(network_of(module))
    return lambda images: deepest_map(images).mean(dim=(2, 3))


def _deepest(network: SegmentationNetwork) -> Callable[[Tensor], Tensor]:
    stride = max(network.head.strides)
    return lambda images: network.maps(images, (stride,))[stride]


def _at_target(logits: Tensor, batch: Batch) -> Tensor:
    height, width = batch.targets.shape[-2:]
    if logits.shape[-2:] == (height, width):
        return logits
    return F.interpolate(logits, size=(height, width), mode="bilinear", align_corners=False)
