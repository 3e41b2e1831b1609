"""Whole pretrained segmentation weights, backbone and head: torchvision's, or those of one of our model bundles.

Every tensor of the file is used, or is named here as left out: torchvision's auxiliary head, which serves training
only, and the classifier, unless the weights are of the same classes.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from components.core.errors import UserError
from components.core.models.catalog import Backbone
from components.core.models.checkpoint import fitted, without_prefix
from components.core.models.weights import read_weights
from components.core.tasks.segmentation.forms import PUBLISHED
from components.core.tasks.segmentation.networks import SegmentationNetwork

_AUXILIARY = "aux_classifier."
_NAMES = {
    "fcn": {"classifier.0": "block.0", "classifier.1": "block.1", "classifier.4": "classifier"},
    "deeplabv3": {
        **{
            f"classifier.0.convs.{branch}.{part}": f"branches.{branch}.{part}" for branch in range(4) for part in (0, 1)
        },
        "classifier.0.convs.4.1": "mean.1",
        "classifier.0.project.0": "project.0",
        "classifier.0.project.1": "project.1",
        "classifier.1": "block.0",
        "classifier.2": "block.1",
        "classifier.4": "classifier",
    },
    "lraspp": {
        "classifier.cbr.0": "block.0",
        "classifier.cbr.1": "block.1",
        "classifier.scale.1": "gate.1",
        "classifier.low_classifier": "fine_classifier",
        "classifier.high_classifier": "coarse_classifier",
    },
}
"""torchvision's layers, and ours in the head."""

_MEAN_NORM = "classifier.0.convs.4.2"
_NORM_EPSILON = 1e-5
_SHOWN_CLASSES = 3


def load_whole(network: SegmentationNetwork, entry: Backbone, classes: Sequence[str]) -> str:
    """Copies the entry's weights into the network; returns in a few words what was taken.

    The classifier is taken if the weights are of the same `classes` in the same order, else it keeps what it has.

    Raises:
        UserError: the weights cannot be had, or do not fit; names the first tensor that does not.
    """
    state = read_weights(entry)
    if entry.architecture in PUBLISHED:
        state = of_torchvision(state, entry.architecture, f"weights of backbone {entry.name!r}")
    classifier = tuple(f"{layer}." for layer in network.output_layers)
    _check_classifier(state, classifier, entry)
    same = bool(entry.classes) and tuple(classes) == entry.classes
    wanted = {name: one for name, one in network.state_dict().items() if same or not name.startswith(classifier)}
    for name, tensor in wanted.items():
        if name not in state:
            raise _refusal(entry, f"{name!r} of the network is not in the file")
        if state[name].shape != tensor.shape:
            shapes = f"{tuple(state[name].shape)} on disk, {tuple(tensor.shape)} in the network"
            raise _refusal(entry, f"{name!r} has shape {shapes}; weights of a pruned network cannot be taken")
    if unknown := [name for name in state if name not in wanted and not name.startswith(classifier)]:
        raise _refusal(entry, f"{unknown[0]!r} is in the file, not in the network")
    network.load_state_dict({name: state[name] for name in wanted}, strict=False)
    if same:
        return f"whole network, with its classifier of the same {len(classes)} classes"
    return f"backbone and head; new classifier, since the weights are of {_described(entry.classes)}"


def load_trained(network: SegmentationNetwork, tensors: Mapping[str, Tensor], source: str, classes: int) -> None:
    """Copies a user's own checkpoint of one of torchvision's whole networks in, classifier included.

    Raises:
        UserError: it is of another architecture or another number of classes; names the first tensor.
    """
    # torchvision's own names begin so, whatever stands before all of them.
    plain = without_prefix(tensors, [name for name in tensors if name.startswith("backbone.")])
    state = of_torchvision(plain, source, "the model's file")
    found = fitted(
        state, network.state_dict(), source=source, outputs=network.output_layers, classes=classes, rebuilt=True
    )
    network.load_state_dict(found)


def of_torchvision(state: Mapping[str, Tensor], source: str, called: str) -> dict[str, Tensor]:
    """torchvision's tensors as ours: equal logits in eval mode. Without the auxiliary head.

    DeepLabV3 is rewritten: the batch norm of its image mean becomes scale and bias of the convolution before it, and
    its projection is split in two, that of the mean scaled by the projection's batch norm. In training that norm then
    sees the four maps alone, so that its batch statistics are other ones; frozen ones (the default) stay right.

    Raises:
        UserError: a tensor that such a network does not have, or one that is missing for the rewriting.
    """
    published, found = PUBLISHED[source], {}
    for name, tensor in state.items():
        layer, _, part = name.rpartition(".")
        if name.startswith(_AUXILIARY) or layer == _MEAN_NORM:
            continue
        if name.startswith("backbone."):
            found[f"backbone.{published.prefix}{name.removeprefix('backbone.')}"] = tensor
        elif layer in _NAMES[published.head]:
            found[f"head.{_NAMES[published.head][layer]}.{part}"] = tensor
        else:
            raise UserError(f"{called}: {name!r} is in the file, not in {source}")
    return _rewritten(found, state, source, called) if published.head == "deeplabv3" else found


def _rewritten(found: dict[str, Tensor], state: Mapping[str, Tensor], source: str, called: str) -> dict[str, Tensor]:
    try:
        scale, shift = _scale_and_shift(state, _MEAN_NORM)
        mean = found["head.mean.1.weight"]
        found["head.mean.1.weight"] = (mean.double() * scale.view(-1, 1, 1, 1)).to(mean.dtype)
        found["head.mean.1.bias"] = shift.to(mean.dtype)
        scale, _ = _scale_and_shift(state, "classifier.0.project.1")
        whole = found["head.project.0.weight"]
        # The last of its five inputs is the mean.
        width = whole.shape[1] // 5
        found["head.project.0.weight"] = whole[:, : 4 * width].contiguous()
        found["head.project_mean.weight"] = (whole[:, 4 * width :].double() * scale.view(-1, 1, 1, 1)).to(whole.dtype)
        found["head.project_mean.bias"] = torch.zeros(whole.shape[0], dtype=whole.dtype)
    except KeyError as error:
        raise UserError(f"{called}: {error.args[0]!r} of {source} is not in the file") from None
    return found


def _scale_and_shift(state: Mapping[str, Tensor], norm: str) -> tuple[Tensor, Tensor]:
    """A batch norm in eval mode as `x · scale + shift`, float64."""
    weight, bias, mean, variance = (
        state[f"{norm}.{part}"].double() for part in ("weight", "bias", "running_mean", "running_var")
    )
    scale = weight / (variance + _NORM_EPSILON).sqrt()
    return scale, bias - mean * scale


def _check_classifier(state: Mapping[str, Tensor], classifier: Sequence[str], entry: Backbone) -> None:
    for layer in classifier:
        tensor = state.get(f"{layer}weight")
        if tensor is None:
            raise _refusal(entry, f"{layer}weight of the network is not in the file")
        if entry.classes and len(tensor) != len(entry.classes):
            raise _refusal(
                entry, f"classes has {len(entry.classes)} names, the weights' classifier {len(tensor)} outputs"
            )


def _described(classes: Sequence[str]) -> str:
    if not classes:
        return "classes that the catalog does not say"
    more = ", …" if len(classes) > _SHOWN_CLASSES else ""
    return f"{len(classes)} other classes ({', '.join(classes[:_SHOWN_CLASSES])}{more})"


def _refusal(entry: Backbone, problem: str) -> UserError:
    return UserError(f"weights of backbone {entry.name!r}: {problem}")
