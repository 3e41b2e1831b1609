"""One tiny network of each family, of the families' own blocks in timm and torchvision, under names of their own.

`register` makes them known to both libraries, so that everything finds them by name like any other.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

from timm.models import register_model
from timm.models.ghostnet import GhostNet
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from torchvision.models import (
    convnext,
    densenet,
    efficientnet,
    mobilenetv2,
    mobilenetv3,
    regnet,
    resnet,
    shufflenetv2,
    squeezenet,
    swin_transformer,
    vgg,
    vision_transformer,
)
from torchvision.models._api import BUILTIN_MODELS

SIZE = 32

NETWORKS = {
    "ResNet": "torchvision:tiny_resnet",
    "VGG": "torchvision:tiny_vgg",
    "DenseNet": "torchvision:tiny_densenet",
    "SqueezeNet": "torchvision:tiny_squeezenet",
    "MobileNetV2": "torchvision:tiny_mobilenet_v2",
    "MobileNetV3": "torchvision:tiny_mobilenet_v3",
    "EfficientNet": "torchvision:tiny_efficientnet",
    "RegNetX": "torchvision:tiny_regnet_x",
    "RegNetY": "torchvision:tiny_regnet_y",
    "ConvNeXt": "torchvision:tiny_convnext",
    "GhostNet": "timm:tiny_ghostnet",
    "ShuffleNetV2": "torchvision:tiny_shufflenet",
    "ViT": "torchvision:tiny_vit",
    "DeiT": "timm:tiny_deit",
    "Swin": "torchvision:tiny_swin",
}
"""Family → architecture."""


def _vgg(num_classes: int) -> nn.Module:
    network = vgg.VGG(vgg.make_layers([16, "M", 32, "M", 32, "M"], batch_norm=True), num_classes, init_weights=False)
    # The published one has 100 million weights here.
    network.classifier = nn.Sequential(nn.Linear(32 * 49, 64), nn.ReLU(True), nn.Linear(64, num_classes))
    return network


def _squeezenet(num_classes: int) -> nn.Module:
    network = squeezenet.SqueezeNet("1_1", num_classes)
    fire = squeezenet.Fire
    network.features = nn.Sequential(
        nn.Conv2d(3, 32, 3, 2), nn.ReLU(True), fire(32, 16, 32, 32), nn.MaxPool2d(3, 2, ceil_mode=True),
        fire(64, 16, 256, 256),
    )  # fmt: skip
    return network


def _mobilenet_v3(num_classes: int) -> nn.Module:
    block = partial(mobilenetv3.InvertedResidualConfig, width_mult=1.0)
    blocks = [
        block(16, 3, 32, 16, True, "RE", 2, 1), block(16, 3, 64, 24, False, "HS", 2, 1),
        block(24, 3, 64, 24, True, "HS", 1, 1),
    ]  # fmt: skip
    return mobilenetv3.MobileNetV3(blocks, 64, num_classes)


def _efficientnet(num_classes: int) -> nn.Module:
    block = partial(efficientnet.MBConvConfig, width_mult=1.0, depth_mult=1.0)
    return efficientnet.EfficientNet(
        [block(1, 3, 1, 32, 16, 1), block(6, 3, 2, 16, 24, 2)], 0.2, num_classes=num_classes
    )


def _regnet(num_classes: int, se_ratio: float | None = None) -> nn.Module:
    sizes = regnet.BlockParams.from_init_params(depth=4, w_0=24, w_a=24, w_m=2.5, group_width=8, se_ratio=se_ratio)
    return regnet.RegNet(sizes, num_classes)


def _convnext(num_classes: int) -> nn.Module:
    return convnext.ConvNeXt(
        [convnext.CNBlockConfig(32, 64, 1), convnext.CNBlockConfig(64, None, 1)], num_classes=num_classes
    )


def _vit(num_classes: int) -> nn.Module:
    return vision_transformer.VisionTransformer(SIZE, 8, 2, 2, 64, 128, num_classes=num_classes)


def _swin(num_classes: int) -> nn.Module:
    return swin_transformer.SwinTransformer([4, 4], 32, [1, 1], [2, 2], [4, 4], num_classes=num_classes)


_TORCHVISION: dict[str, Callable[[int], nn.Module]] = {
    "tiny_resnet": lambda classes: resnet.ResNet(resnet.BasicBlock, [1, 1, 1, 1], classes),
    "tiny_vgg": _vgg,
    "tiny_densenet": lambda classes: densenet.DenseNet(16, (2, 2), 32, num_classes=classes),
    "tiny_squeezenet": _squeezenet,
    "tiny_mobilenet_v2": lambda classes: mobilenetv2.MobileNetV2(
        classes, inverted_residual_setting=[[1, 16, 1, 1], [6, 24, 2, 2]]
    ),
    "tiny_mobilenet_v3": _mobilenet_v3,
    "tiny_efficientnet": _efficientnet,
    "tiny_regnet_x": _regnet,
    "tiny_regnet_y": partial(_regnet, se_ratio=0.25),
    "tiny_convnext": _convnext,
    "tiny_shufflenet": lambda classes: shufflenetv2.ShuffleNetV2([2, 2, 1], [24, 64, 64, 96, 64], classes),
    "tiny_vit": _vit,
    "tiny_swin": _swin,
}

_TRANSFORMER = {"img_size": SIZE, "patch_size": 8, "embed_dim": 64, "depth": 2, "num_heads": 2}


def tiny_ghostnet(pretrained: bool = False, *, num_classes: int, **_: Any) -> nn.Module:
    return GhostNet([[[3, 16, 16, 0, 1]], [[3, 48, 24, 0.25, 2]]], num_classes=num_classes)


def tiny_deit(pretrained: bool = False, *, num_classes: int, **_: Any) -> nn.Module:
    return VisionTransformer(**_TRANSFORMER, num_classes=num_classes)


@cache
def register() -> None:
    """Makes all of them known to `timm.create_model` and `torchvision.models.get_model`, once for a process."""

    def named(make: Callable[[int], nn.Module]) -> Callable[..., nn.Module]:
        return lambda *, weights=None, progress=True, num_classes: make(num_classes)

    BUILTIN_MODELS.update({name: named(make) for name, make in _TORCHVISION.items()})
    for make in (tiny_ghostnet, tiny_deit):
        register_model(make)
