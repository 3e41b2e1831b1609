"""Segmentation networks: a backbone's feature maps, and a head that turns them into logits a pixel."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from components.core.errors import UserError
from components.core.models.zoo import HEAD_STD
from components.core.tasks.segmentation.backbones import (
    FeatureChain,
    Tap,
    dilated,
    feature_chain,
    feature_maps,
    with_even_padding,
)
from components.core.tasks.segmentation.forms import CLASSIFIERS, OURS, WIDTH, Form
from components.core.tasks.segmentation.parameters import HEADS

_FINE_STRIDE = 8
_DROPOUT = 0.1


def convolution_block(channels: int, width: int, kernel: int = 1, *, rate: int = 1) -> nn.Sequential:
    """Convolution without bias, batch norm, ReLU; the map keeps its size."""
    return nn.Sequential(
        nn.Conv2d(channels, width, kernel, padding=rate * (kernel // 2), dilation=rate, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
    )


class ImageMean(nn.Module):
    """Mean over the map: `(N, C, H, W)` → `(N, C, 1, 1)`."""

    def forward(self, maps: Tensor) -> Tensor:
        height, width = maps.shape[-2:]
        if isinstance(height, int) and isinstance(width, int):
            return F.avg_pool2d(maps, (height, width))
        return F.adaptive_avg_pool2d(maps, 1)


class FcnHead(nn.Module):
    """3 × 3 convolution, batch norm, ReLU, dropout, 1 × 1 to the classes, on one feature map.

    Long et al. 2015, arXiv:1411.4038, in torchvision's form.
    """

    outputs = CLASSIFIERS["fcn"]

    def __init__(self, taps: tuple[Tap, ...], classes: int, width: int) -> None:
        super().__init__()
        (tap,) = taps
        self.strides = (tap.stride,)
        self.block = convolution_block(tap.channels, width, 3)
        self.dropout = nn.Dropout(_DROPOUT)
        self.classifier = nn.Conv2d(width, classes, 1)

    def forward(self, maps: Mapping[int, Tensor]) -> Tensor:
        logits: Tensor = self.classifier(self.dropout(self.block(maps[self.strides[0]])))
        return logits


class DeepLabV3Head(nn.Module):
    """Atrous spatial pyramid pooling: 1 × 1, three 3 × 3 at growing rates, and the image's mean; then 3 × 3 and 1 × 1.

    Chen et al. 2017, arXiv:1706.05587. Without `rates` they are 96/stride · (1, 2, 3): the paper's 6, 12, 18 at stride
    16 and 12, 24, 36 at stride 8. Two changes leave what can be computed as it is and keep the graph in integers: the
    1 × 1 projection of the concatenation is split, so that the image's mean is added as a vector instead of being
    spread over the map; and the branch of the mean has a bias instead of a batch norm, which a batch of one could not
    train.
    """

    outputs = CLASSIFIERS["deeplabv3"]

    def __init__(
        self, taps: tuple[Tap, ...], classes: int, width: int, *, rates: tuple[int, int, int] | None = None
    ) -> None:
        super().__init__()
        (tap,) = taps
        self.strides = (tap.stride,)
        base = 96 // tap.stride
        self.branches = nn.ModuleList(
            [
                convolution_block(tap.channels, width),
                *(convolution_block(tap.channels, width, 3, rate=rate) for rate in rates or (base, 2 * base, 3 * base)),
            ]
        )
        self.mean = nn.Sequential(ImageMean(), nn.Conv2d(tap.channels, width, 1), nn.ReLU(inplace=True))
        self.project_mean = nn.Conv2d(width, width, 1)
        self.project = nn.Sequential(nn.Conv2d(4 * width, width, 1, bias=False), nn.BatchNorm2d(width))
        self.dropout = nn.Dropout(_DROPOUT)
        self.block = convolution_block(width, width, 3)
        self.classifier = nn.Conv2d(width, classes, 1)

    def forward(self, maps: Mapping[int, Tensor]) -> Tensor:
        features = maps[self.strides[0]]
        pyramid = torch.cat([branch(features) for branch in self.branches], dim=1)
        joined = F.relu(self.project(pyramid) + self.project_mean(self.mean(features)))
        logits: Tensor = self.classifier(self.block(self.dropout(joined)))
        return logits


class LrasppHead(nn.Module):
    """Lite reduced ASPP: a 1 × 1 branch gated by the image's mean at the coarse stride, and a skip from the fine one.

    Howard et al. 2019, arXiv:1905.02244, §6.4. The 1 × 1 classifier of the coarse branch stands before the upsampling
    to the fine map, not behind it: both are linear and the weights of the upsampling sum up to 1, so that the result
    is the same, with `classes` maps to resize instead of `width`.
    """

    outputs = CLASSIFIERS["lraspp"]

    def __init__(self, taps: tuple[Tap, ...], classes: int, width: int) -> None:
        super().__init__()
        fine, coarse = taps
        self.strides = (fine.stride, coarse.stride)
        self.block = convolution_block(coarse.channels, width)
        self.gate = nn.Sequential(ImageMean(), nn.Conv2d(coarse.channels, width, 1, bias=False), nn.Sigmoid())
        self.fine_classifier = nn.Conv2d(fine.channels, classes, 1)
        self.coarse_classifier = nn.Conv2d(width, classes, 1)

    def forward(self, maps: Mapping[int, Tensor]) -> Tensor:
        fine, coarse = (maps[stride] for stride in self.strides)
        logits = self.coarse_classifier(self.block(coarse) * self.gate(coarse))
        return upsampled(logits, fine, self.strides[1] // self.strides[0]) + self.fine_classifier(fine)


def upsampled(maps: Tensor, like: Tensor, scale: int) -> Tensor:
    """Bilinear (`align_corners=False`) to the height and width of `like`, with onnxruntime's Resize.

    For maps that are resized inside the network. Where `like` is `scale` times as large, which it is for images whose
    sides are multiples of the deepest stride, the factor is a constant and no shape is computed in the graph.
    onnxruntime 1.32 runs a bilinear Resize in float, between 8-bit neighbours too.
    """
    if is_free(maps) or (maps.shape[-2] * scale == like.shape[-2] and maps.shape[-1] * scale == like.shape[-1]):
        return F.interpolate(maps, scale_factor=float(scale), mode="bilinear", align_corners=False)
    return F.interpolate(maps, size=like.shape[-2:], mode="bilinear", align_corners=False)


def enlarged(maps: Tensor, like: Tensor, scale: int) -> Tensor:
    """`upsampled` as two matrix products.

    The filter is separable: `A · X · Bᵀ` with one matrix for rows and one for columns: constants where the sizes are
    known, else computed in the graph from the shapes, which takes next to nothing. In onnxruntime that takes a fifth of
    the time of Resize and a tenth of that of its 8-bit form; on a GPU its gradient is deterministic.
    """
    if any(isinstance(size, Tensor) for size in maps.shape[-2:]):  # in a trace of the legacy exporter
        return upsampled(maps, like, scale)
    down = bilinear_matrix(maps.shape[-2], like.shape[-2], device=maps.device).to(maps.dtype)
    right = bilinear_matrix(maps.shape[-1], like.shape[-1], device=maps.device).to(maps.dtype)
    # Columns first: the smaller product of the two, and its result is short.
    return down @ (maps @ right.T)


def is_free(maps: Tensor) -> bool:
    """Whether height or width are symbols, as in an export with free sizes."""
    return not all(isinstance(size, int) for size in maps.shape[-2:])


def bilinear_matrix(size: int, target: int, *, device: torch.device | None = None) -> Tensor:
    """`(target, size)` float32; row y weighs the samples that pixel y lies between, with repeated edges.

    Pixel y has its centre at `(y + ½) · size / target − ½`.
    """
    pixels, samples = (torch.arange(count, dtype=torch.float64, device=device) for count in (target, size))
    centres = ((pixels + 0.5) * size / target - 0.5).clamp(0, size - 1)
    distances = (centres[:, None] - samples).abs()
    return (1 - distances).clamp_min(0).float()


Head = FcnHead | DeepLabV3Head | LrasppHead


class SegmentationNetwork(nn.Module):
    """Images `(N, 3, H, W)` → logits `(N, classes, H, W)`, bilinear to the size of the images.

    `backbone` is a plain chain of steps and is registered before `head`, so that layers count from the stem to the
    head. Any size works in torch and in a file of fixed size.
    """

    def __init__(self, chain: FeatureChain, head: Head) -> None:
        super().__init__()
        self.backbone = chain.steps
        self.head = head
        self.taps = chain.taps
        self.behind = chain.behind

    @property
    def divisor(self) -> int:
        """Number that height and width must be multiples of in a file where they are free: the deepest stride."""
        return self.taps[-1].stride

    @property
    def output_layers(self) -> tuple[str, ...]:
        """Dotted names of the convolutions that make the logits; their output channels are the classes."""
        return tuple(f"head.{name}" for name in self.head.outputs)

    def maps(self, images: Tensor, strides: tuple[int, ...]) -> dict[int, Tensor]:
        """The backbone's feature maps of some strides."""
        return feature_maps(self.backbone, images, {tap.step: tap.stride for tap in self.taps if tap.stride in strides})

    def forward(self, images: Tensor) -> Tensor:
        logits = self.head(self.maps(images, self.head.strides))
        return enlarged(logits, images, self.head.strides[0])

    def with_free_size(self) -> "SegmentationNetwork":
        """A copy to export with free height and width, for images whose sides are multiples of `divisor`.

        Raises:
            UserError: the backbone's layers are not padded, so that its maps are no such fractions of the image.
        """
        free = with_even_padding(self)
        height, width = 2 * self.divisor, 3 * self.divisor
        with torch.no_grad():
            image = torch.zeros(1, 3, height, width, device=next(self.parameters()).device)
            maps = free.eval().maps(image, self.head.strides)
        if any(maps[stride].shape[-2:] != (height // stride, width // stride) for stride in maps):
            raise UserError("this backbone cannot be exported with dynamic height and width: its layers are not padded")
        return free


class WithAuxiliary(nn.Module):
    """A network in training, with an FCN head on a middle map beside its own.

    In training `forward` gives (logits, auxiliary logits), both at the images' size; in evaluation the logits only.
    `network` is what is saved; it shares the parameters. The auxiliary head is registered between backbone and head,
    where its map is. Zhao et al. 2017, arXiv:1612.01105, §3.3.
    """

    def __init__(self, network: SegmentationNetwork, *, seed: int, width: int = WIDTH // 2) -> None:
        super().__init__()
        finer = [tap for tap in network.taps if tap.stride < network.divisor]
        if not finer:
            raise UserError("an auxiliary loss needs a backbone with a map finer than its deepest")
        classes = network.get_submodule(network.output_layers[0]).out_channels
        assert isinstance(classes, int)
        self.backbone = network.backbone
        with _seeded(seed):
            self.auxiliary = FcnHead((finer[-1],), classes, width)
            _start_small(self.auxiliary)
        self.head = network.head
        # In a tuple, so that it is not registered: its parameters would be counted under two names.
        self._network = (network,)

    @property
    def network(self) -> SegmentationNetwork:
        """The network without the auxiliary head."""
        return self._network[0]

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        network = self.network
        if not self.training:
            logits: Tensor = network(images)
            return logits
        strides = (*self.head.strides, *self.auxiliary.strides)
        maps = network.maps(images, strides)
        both = self.head(maps), self.auxiliary(maps)
        return enlarged(both[0], images, strides[0]), enlarged(both[1], images, strides[-1])


def build(
    source: str, classes: int, *, head: str, seed: int, width: int = WIDTH, form: Form | None = None
) -> SegmentationNetwork:
    """The network of a backbone and a head with random weights, the same for the same seed.

    Args:
        source: "timm:NAME" or "torchvision:NAME"; any classification network that is a chain of feature maps.
        classes: number of classes, at least 1.
        head: one of `HEADS`: "fcn" on the deepest map, "deeplabv3" on the deepest map at stride 16 (a backbone that
            goes to 32 is dilated), "lraspp" on the maps of stride 8 and the deepest.
        seed: of the weights; the global random state is left alone.
        width: channels inside the head.
        form: how the head sits on the backbone where it is not as above.

    Raises:
        UserError: an unknown head, a source that is unknown or gives no such maps.
    """
    if head not in HEADS:
        raise UserError(f"unknown head {head!r}; available: {', '.join(HEADS)}")
    if classes < 1 or width < 1:
        raise UserError(f"classes and width must be at least 1, got {classes} and {width}")
    with _seeded(seed):
        form = form or OURS[head]
        chain = _at_stride(feature_chain(source, form.steps), form)
        used = [chain.taps[-1]]
        if head == "lraspp":
            fine = chain.tap(_FINE_STRIDE)
            if fine is None or fine is used[0]:
                raise UserError(f"lraspp needs maps of stride {_FINE_STRIDE} and deeper, which {source} does not have")
            used.insert(0, fine)
        made = _head(head, tuple(used), classes, width, form)
        _start_small(made)
        return SegmentationNetwork(chain, made)


def load_backbone_weights(network: SegmentationNetwork, state: Mapping[str, Tensor]) -> None:
    """Copies a classification network's tensors into the backbone. Strict in both directions.

    `state` has the names of the classification network that the backbone was cut from. Every tensor of the backbone is
    filled; what is left over must lie behind the backbone. ValueError names the first tensor that does not fit.
    """
    wanted = network.backbone.state_dict()
    for name, tensor in wanted.items():
        if name not in state:
            raise ValueError(f"{name!r} of the backbone is not among the classification network's tensors")
        if state[name].shape != tensor.shape:
            raise ValueError(
                f"{name!r} has shape {tuple(state[name].shape)} there, {tuple(tensor.shape)} in the backbone"
            )
    unknown = [name for name in state if name not in wanted and name not in network.behind]
    if unknown:
        raise ValueError(f"{unknown[0]!r} is neither in the backbone nor behind it")
    network.backbone.load_state_dict({name: state[name] for name in wanted}, strict=True)


def _head(kind: str, taps: tuple[Tap, ...], classes: int, width: int, form: Form) -> Head:
    if kind == "deeplabv3":
        return DeepLabV3Head(taps, classes, width, rates=form.rates)
    return (FcnHead if kind == "fcn" else LrasppHead)(taps, classes, width)


def _at_stride(chain: FeatureChain, form: Form) -> FeatureChain:
    """The chain with its deepest map at the form's stride; as it is where that is not finer."""
    last, deepest = chain.tap(form.stride), chain.taps[-1]
    if deepest.stride <= form.stride or last is None:
        return chain
    dilated(chain.steps, after=last.step, with_strided=form.dilates_strided)
    finer = tuple(tap for tap in chain.taps if tap.stride < form.stride)
    return replace(chain, taps=(*finer, replace(deepest, stride=form.stride)))


def _start_small(head: Head) -> None:
    """First logits near 0, so that the first loss is near log(classes)."""
    for name in head.outputs:
        layer = head.get_submodule(name)
        assert isinstance(layer, nn.Conv2d)
        assert layer.bias is not None
        nn.init.normal_(layer.weight, std=HEAD_STD)
        nn.init.zeros_(layer.bias)


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
