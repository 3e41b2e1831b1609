"""The part of a classification network that makes feature maps, cut out as a plain chain of steps.

A step is a module that is no plain `nn.Sequential`: a stem convolution, a block. The chain keeps the names of the
classification network, so that its published weights load by name, and the layers are counted as there.
"""

import copy
import math
from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import nn

from components.core.errors import UserError
from components.core.models.zoo import create_module

Module = TypeVar("Module", bound=nn.Module)

_PROBE = 128
"""Side of the image that finds the strides: a power of two that leaves 4 × 4 at stride 32."""

_HEADS = ("avgpool", "global_pool", "avg_pool", "pool", "flatten", "dropout", "classifier", "fc", "head", "last_linear")
_DEEPEST = 32


@dataclass(frozen=True, kw_only=True)
class Tap:
    """A feature map: the dotted name of the step that makes it, its stride against the image, its channels."""

    step: str
    stride: int
    channels: int


@dataclass(frozen=True, kw_only=True)
class FeatureChain:
    """A chain of steps under the names of the classification network it was cut from.

    taps: the last map of each stride (2, 4, … at most 32), ascending. behind: names of the classification network's
    tensors that the chain does not have: its head, and what leads to the head only.
    """

    steps: nn.Sequential
    taps: tuple[Tap, ...]
    behind: frozenset[str]

    def tap(self, stride: int) -> Tap | None:
        """The map of this stride; None if the network has none."""
        return next((tap for tap in self.taps if tap.stride == stride), None)


def feature_chain(source: str, steps: Collection[str] = ()) -> FeatureChain:
    """The feature maps of the network `source` ("timm:NAME" or "torchvision:NAME"), with random weights.

    Nothing behind the deepest map is kept, nor is a last 1 × 1 convolution that only widens the map for the classifier
    (MobileNetV2's 1280 channels). The maps of `steps` are taken in the place of those.

    Raises:
        UserError: the library does not know the name, or the network is no chain of feature maps.
    """
    network = create_module(source, 1)
    chain = _until_head(network)
    taps = _taps(chain, source, steps)
    kept = truncated(chain, taps[-1].step)
    return FeatureChain(steps=kept, taps=taps, behind=frozenset(network.state_dict()) - frozenset(kept.state_dict()))


def step_names(chain: nn.Sequential) -> list[str]:
    """Dotted names of the steps, in the order of execution."""
    names: list[str] = []
    for name, part in chain.named_children():
        # Exact type: a subclass of Sequential (torchvision's Conv2dNormActivation) is a layer of its own.
        if type(part) is nn.Sequential:
            names.extend(f"{name}.{inner}" for inner in step_names(part))
        else:
            names.append(name)
    return names


def feature_maps(chain: nn.Sequential, images: torch.Tensor, steps: Mapping[str, int]) -> dict[int, torch.Tensor]:
    """Runs the chain over images `(N, 3, H, W)`; returns by stride the outputs of `steps` (name → stride)."""
    maps: dict[int, torch.Tensor] = {}
    current = images
    for name in step_names(chain):
        current = chain.get_submodule(name)(current)
        if name in steps:
            maps[steps[name]] = current
    return maps


def truncated(chain: nn.Sequential, last: str) -> nn.Sequential:
    """The chain up to and with the step `last`; the modules are the same objects."""
    first, _, rest = last.partition(".")
    kept: OrderedDict[str, nn.Module] = OrderedDict()
    for name, part in chain.named_children():
        if name == first:
            kept[name] = truncated(part, rest) if rest and isinstance(part, nn.Sequential) else part
            return nn.Sequential(kept)
        kept[name] = part
    raise ValueError(f"the chain has no step {last!r}")


def dilated(chain: nn.Sequential, *, after: str, with_strided: bool = False) -> None:
    """Stops the chain from shrinking its map behind the step `after`, in place; the weights fit as before.

    Strides of the convolutions behind it become 1, and the convolutions that then see a map twice as fine as they
    were trained on reach twice as far (Chen et al. 2017, arXiv:1706.05587, §3.2). `with_strided`: so does the
    convolution that lost its stride, as torchvision's MobileNetV3 was trained.

    Raises:
        UserError: a pooling layer shrinks the map there, which cannot be dilated.
    """
    names = step_names(chain)
    rate = 1
    for name in names[names.index(after) + 1 :]:
        for part in chain.get_submodule(name).modules():
            if isinstance(part, nn.MaxPool2d | nn.AvgPool2d) and part.stride not in (1, (1, 1)):
                raise UserError(f"{name}: a {type(part).__name__} shrinks the map; this backbone has no atrous form")
            if not isinstance(part, nn.Conv2d):
                continue
            kernel, stride = part.kernel_size[0], part.stride[0]
            if kernel > 1 and with_strided:
                rate *= stride
            if kernel > 1 and rate > 1:
                part.dilation = (rate, rate)
                if not isinstance(part.padding, str) and any(part.padding):
                    part.padding = (rate * (kernel - 1) // 2,) * 2
            if stride > 1:
                # The strided convolution itself still sees the map it was trained on. A shortcut beside it has
                # kernel 1 and gets no rate; it must not double the rate again.
                if kernel > 1 and not with_strided:
                    rate *= stride
                part.stride = (1, 1)


class EvenConv2d(nn.Conv2d):
    """A strided convolution with TensorFlow's "SAME" padding, for maps whose sides are multiples of the stride.

    There the padding is a constant, one more below and to the right than above and to the left if it is odd. timm's
    `Conv2dSame` computes it from the size, which an export with free sizes cannot follow.
    """

    @classmethod
    def of(cls, layer: nn.Conv2d) -> "EvenConv2d":
        """The same convolution; shares the layer's parameters."""
        made = cls(
            layer.in_channels, layer.out_channels, (layer.kernel_size[0], layer.kernel_size[1]),
            stride=(layer.stride[0], layer.stride[1]), dilation=(layer.dilation[0], layer.dilation[1]),
            groups=layer.groups, bias=layer.bias is not None, device="meta",
        )  # fmt: skip
        made.weight, made.bias = layer.weight, layer.bias
        return made

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        sides = []
        for kernel, stride, dilation in zip(self.kernel_size, self.stride, self.dilation, strict=True):
            total = max(0, (kernel - 1) * dilation + 1 - stride)
            sides.append((total // 2, total - total // 2))
        (top, bottom), (left, right) = sides
        return super().forward(nn.functional.pad(maps, (left, right, top, bottom)))


def with_even_padding(module: Module) -> Module:
    """A copy of the module in which every `Conv2dSame` is an `EvenConv2d`."""
    module = copy.deepcopy(module)
    for parent in list(module.modules()):
        for name, part in list(parent.named_children()):
            if isinstance(part, nn.Conv2d) and type(part).__name__ == "Conv2dSame":
                setattr(parent, name, EvenConv2d.of(part))
    return module


def _until_head(network: nn.Module) -> nn.Sequential:
    kept: OrderedDict[str, nn.Module] = OrderedDict()
    info = getattr(network, "feature_info", None)
    last = str(info[-1]["module"]) if isinstance(info, list) and info and "module" in info[-1] else ""
    for name, part in network.named_children():
        if name in _HEADS:
            break
        kept[name] = part
        if last and last.partition(".")[0] == name:
            break
    return nn.Sequential(kept)


@torch.no_grad()
def _taps(chain: nn.Sequential, source: str, steps: Collection[str]) -> tuple[Tap, ...]:
    probe = copy.deepcopy(chain).eval()
    current = torch.zeros(1, 3, _PROBE, _PROBE)
    taps: dict[int, Tap] = {}
    names = step_names(chain)
    for name in names:
        try:
            current = probe.get_submodule(name)(current)
        except (RuntimeError, TypeError, ValueError, AssertionError) as error:
            raise UserError(
                f"{source} is not a chain of feature maps (at {name}: {str(error).splitlines()[0]})"
            ) from None
        if not isinstance(current, torch.Tensor) or current.ndim != 4 or min(current.shape[2:]) < 1:
            raise UserError(f"{source} gives no feature maps: {name} gives no tensor (N, C, H, W)")
        # Unpadded layers (SqueezeNet) give 63 or 15 where a padded one gives 64 or 16.
        stride = 2 ** round(math.log2(_PROBE / current.shape[3]))
        if stride > _DEEPEST:
            break
        if name == names[-1] and stride in taps and name not in steps and _only_widens(probe.get_submodule(name)):
            break
        if stride > 1 and not (stride in taps and taps[stride].step in steps):
            taps[stride] = Tap(step=name, stride=stride, channels=current.shape[1])
    if not taps:
        raise UserError(f"{source} gives no feature maps: it has no step that shrinks the image")
    return tuple(taps[stride] for stride in sorted(taps))


def _only_widens(step: nn.Module) -> bool:
    convolutions = [part for part in step.modules() if isinstance(part, nn.Conv2d)]
    return len(convolutions) == 1 and convolutions[0].kernel_size == (1, 1)
