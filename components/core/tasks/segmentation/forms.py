"""How a head sits on a backbone: in our networks, and in the whole networks that torchvision publishes. No torch here.

``torchvision:fcn_resnet50`` as the architecture of a catalog entry names backbone and head at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from components.core.errors import UserError
from components.core.models.catalog import Backbone
from components.core.models.weights import tensor_shapes
from components.core.tasks.segmentation.parameters import HEADS

WIDTH = 128
"""Channels inside a head of ours."""

CLASSIFIERS: Mapping[str, tuple[str, ...]] = {
    "fcn": ("classifier",),
    "deeplabv3": ("classifier",),
    "lraspp": ("fine_classifier", "coarse_classifier"),
}
"""The convolutions of each head that make the logits."""

_OPTIONS = ("head", "width")
_SHOWN_NAMES = 3


@dataclass(frozen=True, kw_only=True)
class Form:
    """Which maps of a backbone a head reads.

    Attributes:
        stride: of the deepest map; a backbone that goes deeper is dilated behind its last map of this stride.
        steps: steps of the backbone whose maps are read, where they are not the last of their stride.
        dilates_strided: a convolution that loses its stride is dilated too, not only those behind it.
        rates: of DeepLabV3's three branches; None is 96/stride · (1, 2, 3).
    """

    stride: int
    steps: tuple[str, ...] = ()
    dilates_strided: bool = False
    rates: tuple[int, int, int] | None = None


OURS: Mapping[str, Form] = {"fcn": Form(stride=32), "deeplabv3": Form(stride=16), "lraspp": Form(stride=32)}
"""By head."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """A whole network of torchvision: `backbone` in the catalog's words, one of `HEADS`, and how they fit together.

    `prefix` stands before the backbone's names in the classification network, and does not in the whole one.
    """

    backbone: str
    head: str
    width: int
    form: Form
    prefix: str = ""


def _resnet(depth: int, head: str, width: int) -> Published:
    return Published(backbone=f"torchvision:resnet{depth}", head=head, width=width, form=Form(stride=8))


def _mobilenet(head: str, width: int, *steps: str, rates: tuple[int, int, int] | None = None) -> Published:
    return Published(
        backbone="torchvision:mobilenet_v3_large",
        head=head,
        width=width,
        form=Form(stride=16, steps=steps, dilates_strided=True, rates=rates),
        prefix="features.",
    )


PUBLISHED: Mapping[str, Published] = {
    "torchvision:fcn_resnet50": _resnet(50, "fcn", 512),
    "torchvision:fcn_resnet101": _resnet(101, "fcn", 512),
    "torchvision:deeplabv3_resnet50": _resnet(50, "deeplabv3", 256),
    "torchvision:deeplabv3_resnet101": _resnet(101, "deeplabv3", 256),
    # The rates of stride 8, at stride 16; and the convolution that widens the last map is read as well.
    "torchvision:deeplabv3_mobilenet_v3_large": _mobilenet("deeplabv3", 256, "features.16", rates=(12, 24, 36)),
    # The first block of stride 8, not the last.
    "torchvision:lraspp_mobilenet_v3_large": _mobilenet("lraspp", 128, "features.4", "features.16"),
}
"""By architecture. Their heads in eval mode compute what ours compute (`whole.py`)."""


def whole_options(entry: Backbone) -> dict[str, object]:
    """Of an entry with whole weights: the options of the network that they are of.

    Raises:
        UserError: a network that is none of ours; or, where the weights are a safetensors file on this machine, tensors
            of another head, another width or another number of classes.
    """
    if entry.mapping != "name":
        raise _refusal(entry, f"mapping must be name for whole weights, got {entry.mapping!r}")
    if entry.architecture in PUBLISHED:
        if entry.options:
            raise _refusal(entry, f"{entry.architecture} says how it is built; leave out options ({entry.options})")
        return {"head": PUBLISHED[entry.architecture].head}
    if unknown := sorted(set(entry.options) - set(_OPTIONS)):
        raise _refusal(entry, f"unknown option {unknown[0]!r}; known: {', '.join(_OPTIONS)}")
    head, width = entry.options.get("head"), entry.options.get("width", WIDTH)
    if head not in HEADS:
        raise _refusal(
            entry,
            f"whole weights are of an architecture among {', '.join(PUBLISHED)}; or of a backbone with one of our "
            f"heads, options: {{head: {' or '.join(HEADS)}}}; got {entry.architecture} with head {head!r}",
        )
    if not isinstance(width, int) or isinstance(width, bool) or width < 1:
        raise _refusal(entry, f"width must be a whole number of at least 1, got {width!r}")
    if entry.weights != "none" and (shapes := tensor_shapes(entry)):
        _check_shapes(entry, shapes, head, width)
    return {"head": head, "width": width}


def _check_shapes(entry: Backbone, shapes: Mapping[str, tuple[int, ...]], head: str, width: int) -> None:
    for layer in CLASSIFIERS[head]:
        name = f"head.{layer}.weight"
        if name not in shapes:
            found = [name for name in shapes if "classifier" in name] or list(shapes)
            raise _refusal(
                entry, f"the file has no {name!r}, as {head} has; it has {', '.join(found[:_SHOWN_NAMES]) or 'nothing'}"
            )
        if entry.classes and shapes[name][0] != len(entry.classes):
            raise _refusal(entry, f"classes has {len(entry.classes)} names, {name!r} has {shapes[name][0]} outputs")
    actual = shapes.get("head.block.0.weight", (width,))[0]
    if actual != width:
        raise _refusal(
            entry,
            f"the file's head is {actual} channels wide, the network's {width}: say {{width: {actual}}} in options, or "
            "name weights before pruning",
        )


def _refusal(entry: Backbone, problem: str) -> UserError:
    return UserError(f"{entry.origin}: backbone {entry.name!r}: {problem}")
