"""Builds backbones, maps published weights into them, and splits them into features and head."""

import re
from collections.abc import Callable, Mapping

import torch
from torch import nn

from components.core.errors import UserError
from components.core.models.catalog import Backbone
from components.core.models.weights import read_weights

HEAD_STD = 0.01
"""Standard deviation of a fresh head's weights: first logits near 0, so the first loss is near log(classes)."""

_NAME = re.compile(r"[A-Za-z0-9_.]+")


def create_module(source: str, num_outputs: int) -> nn.Module:
    """The network `source` ("timm:NAME" or "torchvision:NAME") with `num_outputs` logits and random weights.

    Raises UserError for a name that the library does not know.
    """
    library, _, name = source.partition(":")
    if not _NAME.fullmatch(name):
        # timm reads "hf-hub:…" and "local-dir:…" as places to fetch code's configuration from; a model bundle, which
        # says what to build, must not send anyone anywhere.
        raise UserError(f"architecture must be 'timm:NAME' or 'torchvision:NAME', got {source!r}")
    if library == "timm":
        import timm

        try:
            return timm.create_model(name, pretrained=False, num_classes=num_outputs)
        except RuntimeError as error:
            raise UserError(f"timm has no model {name!r}: {error}") from None
    if library == "torchvision":
        import torchvision

        try:
            module = torchvision.models.get_model(name, weights=None, num_classes=num_outputs)
        except ValueError as error:
            raise UserError(f"torchvision has no model {name!r}: {error}") from None
        return _with_linear_head(module, num_outputs)
    raise UserError(f"architecture must be 'timm:NAME' or 'torchvision:NAME', got {source!r}")


def reset_head(module: nn.Module) -> None:
    """Draws fresh weights of the head, N(0, HEAD_STD²), from torch's generator; its bias becomes 0."""
    head = find_head(module)[1]
    nn.init.normal_(head.weight, std=HEAD_STD)
    if head.bias is not None:
        nn.init.zeros_(head.bias)


def load_pretrained(module: nn.Module, backbone: Backbone) -> None:
    """Copies the backbone's published weights into `module`, all but the head, which keeps what it has.

    Strict: every tensor of the file is used or belongs to the file's own head, every tensor of the module outside
    its head is filled. UserError names the first tensor that does not fit.
    """
    wanted = module.state_dict()
    head = find_head(module)[0]
    state = named_weights(backbone, wanted)
    fitting = _checked(state, wanted, head, backbone)
    module.load_state_dict(fitting, strict=False)


def named_weights(backbone: Backbone, wanted: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The backbone's published tensors under the names of its classification network, whose state `wanted` is.

    UserError when they cannot be had, or do not map into that network.
    """
    state = read_weights(backbone)
    return _renamed_by_order(state, wanted, backbone) if backbone.mapping == "order" else state


def find_head(module: nn.Module) -> tuple[str, nn.Linear]:
    """Dotted name and module of the linear layer that makes the logits: timm's classifier, else the last linear one."""
    get_classifier = getattr(module, "get_classifier", None)
    classifier = get_classifier() if callable(get_classifier) else None
    linears = [(name, part) for name, part in module.named_modules() if isinstance(part, nn.Linear)]
    for name, part in reversed(linears):
        if part is classifier or classifier is None:
            return name, part
    raise UserError(f"{type(module).__name__} has no linear classifier, so its head cannot be replaced")


def split_features(module: nn.Module) -> tuple[Callable[[torch.Tensor], torch.Tensor], nn.Linear]:
    """`module` as pooled features and head, with `head(features(images)) == module(images)` in eval mode.

    `features` maps images `(N, 3, H, W)` to what the head receives, `(N, D)`; it runs in the mode that the module is
    in (dropout, batch statistics) and under the caller's grad mode. `head` is the module's own layer: training it
    trains the module.
    """
    head = find_head(module)[1]

    def features(images: torch.Tensor) -> torch.Tensor:
        received: list[torch.Tensor] = []
        handle = head.register_forward_pre_hook(lambda _, inputs: received.append(inputs[0]))
        try:
            module(images)
        finally:
            handle.remove()
        return received[0]

    return features, head


def _with_linear_head(module: nn.Module, num_outputs: int) -> nn.Module:
    if module.__class__.__name__ == "SqueezeNet":
        # Its own head is convolution, ReLU, pool: a fresh one would clip half its logits at zero and never unlearn
        # it. Pool then linear is the same map without the ReLU, and gives pooled features like every other backbone.
        module.classifier = nn.Sequential(
            nn.Dropout(0.5), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, num_outputs)
        )
    return module


def _renamed_by_order(
    state: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor], backbone: Backbone
) -> dict[str, torch.Tensor]:
    if len(state) != len(wanted):
        raise UserError(
            f"weights of backbone {backbone.name!r} hold {len(state)} tensors, but {backbone.architecture} has "
            f"{len(wanted)}"
        )
    renamed = {}
    for (source, tensor), target in zip(state.items(), wanted, strict=True):
        # Order alone would accept a swapped scale and shift of one norm: same shape, other meaning.
        if source.rpartition(".")[2] != target.rpartition(".")[2]:
            raise UserError(
                f"weights of backbone {backbone.name!r}: the file has {source!r} where {target!r} is expected"
            )
        renamed[target] = tensor
    return renamed


def _checked(
    state: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor], head: str, backbone: Backbone
) -> dict[str, torch.Tensor]:
    where = f"weights of backbone {backbone.name!r}"
    fitting = {}
    for name, tensor in wanted.items():
        if name.startswith(f"{head}."):
            continue
        if name not in state:
            raise UserError(f"{where}: {name!r} of {backbone.architecture} is not in the file")
        if state[name].shape != tensor.shape:
            raise UserError(
                f"{where}: {name!r} has shape {tuple(state[name].shape)} on disk, {tuple(tensor.shape)} in the model"
            )
        fitting[name] = state[name]
    # The file's own head may have another name and form (SqueezeNet's is a convolution), but not another parent.
    parent = head.partition(".")[0]
    unused = [name for name in state if name not in wanted and name.partition(".")[0] != parent]
    if unused:
        raise UserError(f"{where}: {unused[0]!r} is in the file, but not in {backbone.architecture}")
    return fitting
