import copy
from pathlib import Path

import onnx
import pytest
import timm
import torch
from torch import nn
from torch.nn import functional as F

from components.core.errors import UserError
from components.core.models.catalog import load_catalog
from components.core.models.inputs import BATCH, Graph, InputSpec, OutputSpec
from components.core.models.zoo import create_module
from components.core.runtime.onnx_export import export_onnx
from components.core.tasks.segmentation.backbones import feature_chain, feature_maps
from components.core.tasks.segmentation.networks import (
    HEADS,
    SegmentationNetwork,
    WithAuxiliary,
    bilinear_matrix,
    build,
    load_backbone_weights,
)
from components.core.training.parameter_groups import layer_depths

LITE0 = "timm:tf_efficientnet_lite0"
SOURCES = sorted({backbone.architecture for backbone in load_catalog().values() if not backbone.task})


@pytest.fixture(scope="module")
def small() -> SegmentationNetwork:
    return build("timm:lcnet_050", 4, head="lraspp", seed=0, width=16)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("head", HEADS)
def test_every_head_on_every_backbone_of_the_catalog_gives_logits_a_pixel(source: str, head: str) -> None:
    network = build(source, 4, head=head, seed=0, width=16)
    network.train()(torch.randn(2, 3, 64, 96)).square().sum().backward()
    unused = [name for name, parameter in network.named_parameters() if parameter.grad is None]
    assert unused == []
    with torch.no_grad():
        assert network.eval()(torch.randn(1, 3, 72, 50)).shape == (1, 4, 72, 50)


@pytest.mark.parametrize("source", [source for source in SOURCES if source.startswith("timm:")])
def test_the_maps_are_those_of_timms_features(source: str) -> None:
    torch.manual_seed(0)
    chain = feature_chain(source)
    reference = timm.create_model(source.partition(":")[2], features_only=True).eval()
    ours = chain.steps.state_dict()
    # timm renames the stages of some networks: "stages.0" becomes "stages_0".
    renamed = {name.replace("stages_", "stages."): name for name in reference.state_dict()}
    reference.load_state_dict({full: ours[name] for name, full in renamed.items() if name in ours}, strict=False)
    missing = [name for name in ours if name not in renamed]
    assert missing == []
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        maps = feature_maps(chain.steps.eval(), images, {tap.step: tap.stride for tap in chain.taps})
        expected = {64 // map.shape[-1]: map for map in reference(images)}
    assert set(maps) == set(expected)
    if "mobilenetv4" in source:
        # Its last step only widens the map for the classifier: 96 channels become 960.
        assert maps.pop(32).shape[1] < expected[32].shape[1]
    for stride, found in maps.items():
        torch.testing.assert_close(found, expected[stride], rtol=0, atol=0)


def test_taps_tell_stride_and_channels_of_the_last_map_of_each_size() -> None:
    taps = {tap.stride: (tap.step, tap.channels) for tap in feature_chain(LITE0).taps}
    assert taps == {
        2: ("blocks.0.0", 16), 4: ("blocks.1.1", 24), 8: ("blocks.2.1", 40), 16: ("blocks.4.2", 112),
        32: ("blocks.6.0", 320),
    }  # fmt: skip
    # MobileNetV2 without the 1 × 1 convolution to 1280 channels, which serves its classifier.
    assert feature_chain("torchvision:mobilenet_v2").taps[-1].channels == 320


@pytest.mark.parametrize("source", ["timm:vit_tiny_patch16_224", "torchvision:vit_b_16"])
def test_a_network_without_feature_maps_is_refused(source: str) -> None:
    with pytest.raises(UserError, match="feature maps"):
        feature_chain(source)


def test_unknown_heads_and_sources_are_refused_with_what_works() -> None:
    with pytest.raises(UserError, match="unknown head 'unet'; available: fcn, deeplabv3, lraspp"):
        build(LITE0, 3, head="unet", seed=0)
    with pytest.raises(UserError, match="nosuch"):
        build("timm:nosuch", 3, head="fcn", seed=0)


def test_the_same_seed_gives_the_same_weights_and_leaves_the_global_state_alone() -> None:
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    first, second, other = (build("timm:lcnet_050", 3, head="fcn", seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("source", [LITE0, "torchvision:resnet18", "torchvision:mobilenet_v2"])
def test_backbone_weights_are_the_classifiers_and_every_one_is_filled(source: str) -> None:
    torch.manual_seed(0)
    state = {name: torch.randn_like(tensor.float()) for name, tensor in create_module(source, 5).state_dict().items()}
    network = build(source, 4, head="fcn", seed=1)
    load_backbone_weights(network, state)
    for name, tensor in network.backbone.state_dict().items():
        torch.testing.assert_close(tensor.float(), state[name], rtol=0, atol=0 if tensor.is_floating_point() else 5)
    unused = {name.partition(".")[0] for name in state if name not in network.backbone.state_dict()}
    assert unused <= {"conv_head", "bn2", "classifier", "fc", "features"}


def test_weights_that_do_not_fit_are_named() -> None:
    state = create_module(LITE0, 5).state_dict()
    network = build(LITE0, 4, head="fcn", seed=1)
    with pytest.raises(ValueError, match=r"'conv_stem\.weight' of the backbone is not among"):
        load_backbone_weights(network, {name: value for name, value in state.items() if name != "conv_stem.weight"})
    with pytest.raises(ValueError, match=r"'conv_stem\.weight' has shape \(1,\) there"):
        load_backbone_weights(network, {**state, "conv_stem.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"'blocks\.9\.weight' is neither"):
        load_backbone_weights(network, {**state, "blocks.9.weight": torch.zeros(1)})


def test_depths_grow_from_stem_over_blocks_to_the_head() -> None:
    network = build(LITE0, 4, head="lraspp", seed=0)
    depths = layer_depths(network)
    blocks = [depth for name, depth in depths.items() if name.startswith("backbone.blocks")]
    assert depths["backbone.conv_stem"] == 0
    assert blocks == sorted(set(blocks))
    assert len(blocks) == 16
    assert depths["head"] == max(depths.values()) > blocks[-1]
    auxiliary = layer_depths(WithAuxiliary(network, seed=0))
    assert blocks[-1] < auxiliary["auxiliary"] < auxiliary["head"]


def test_upsampling_by_matrices_is_torchs_bilinear() -> None:
    for size, target in ((3, 96), (12, 96), (5, 80), (9, 7), (6, 6), (1, 4)):
        signal = torch.randn(1, 2, size)
        expected = F.interpolate(signal, size=target, mode="linear", align_corners=False)
        torch.testing.assert_close(signal @ bilinear_matrix(size, target).T, expected)


def test_lraspp_with_the_classifier_before_the_upsampling_is_the_papers(small: SegmentationNetwork) -> None:
    network, images = copy.deepcopy(small).eval(), torch.randn(2, 3, 64, 96)
    head = network.head
    with torch.no_grad():
        fine, coarse = (network.maps(images, (8, 32))[stride] for stride in (8, 32))
        gated = head.block(coarse) * torch.sigmoid(head.gate[1](coarse.mean(dim=(2, 3), keepdim=True)))
        wide = F.interpolate(gated, size=fine.shape[-2:], mode="bilinear", align_corners=False)
        logits = head.coarse_classifier(wide) + head.fine_classifier(fine)
        expected = F.interpolate(logits, size=(64, 96), mode="bilinear", align_corners=False)
        torch.testing.assert_close(network(images), expected, rtol=1e-4, atol=1e-5)


def test_deeplabs_split_projection_is_the_projection_of_the_concatenation() -> None:
    network = build("timm:lcnet_050", 4, head="deeplabv3", seed=0, width=8).eval()
    head, maps = network.head, {16: torch.randn(2, network.taps[-1].channels, 6, 7)}
    with torch.no_grad():
        pooled = head.mean(maps[16]).expand(-1, -1, 6, 7)
        pyramid = torch.cat([*(branch(maps[16]) for branch in head.branches), pooled], dim=1)
        # One convolution over five branches; the projection's batch norm scales the first four and is folded in.
        norm = head.project[1]
        factor = norm.weight / (norm.running_var + norm.eps).sqrt()
        weight = torch.cat([head.project[0].weight * factor.view(-1, 1, 1, 1), head.project_mean.weight], dim=1)
        bias = norm.bias - norm.running_mean * factor + head.project_mean.bias
        expected = head.classifier(head.block(F.relu(F.conv2d(pyramid, weight, bias))))
        torch.testing.assert_close(head(maps), expected, rtol=1e-4, atol=1e-5)


def test_deeplab_reads_a_map_of_stride_16_whose_weights_are_the_undilated_ones() -> None:
    plain = build("torchvision:resnet18", 3, head="fcn", seed=0)
    atrous = build("torchvision:resnet18", 3, head="deeplabv3", seed=1)
    atrous.backbone.load_state_dict(plain.backbone.state_dict())
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        coarse = plain.eval().maps(images, (32,))[32]
        fine = atrous.eval().maps(images, (16,))[16]
    assert (coarse.shape[-1], fine.shape[-1]) == (2, 4)
    # Every second pixel of the dilated map has seen what the strided one has, up to the border's padding.
    wide = torch.randn(1, 3, 512, 512)
    with torch.no_grad():
        coarse, fine = plain.maps(wide, (32,))[32], atrous.maps(wide, (16,))[16]
    torch.testing.assert_close(fine[:, :, ::2, ::2][:, :, 4:-4, 4:-4], coarse[:, :, 4:-4, 4:-4], rtol=1e-3, atol=1e-4)


def test_the_auxiliary_head_is_there_in_training_only_and_shares_the_network(small: SegmentationNetwork) -> None:
    network = copy.deepcopy(small)
    both = WithAuxiliary(network, seed=0)
    logits, auxiliary = both.train()(torch.randn(2, 3, 64, 64))
    assert logits.shape == auxiliary.shape == (2, 4, 64, 64)
    assert not torch.equal(logits, auxiliary)
    names = [name for name, _ in both.named_parameters()]
    assert len(names) == len(set(names))
    assert {name.partition(".")[0] for name in names} == {"backbone", "auxiliary", "head"}
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(both.eval()(images), network.eval()(images))
        copied = copy.deepcopy(both)
        for parameter in copied.parameters():
            parameter.zero_()
        assert not copied.network(images).any()
        assert both.network(images).any()


@pytest.mark.parametrize("head", HEADS)
def test_the_exported_file_computes_what_torch_computes(head: str, tmp_path: Path) -> None:
    network = build("timm:lcnet_050", 4, head=head, seed=0, width=16).eval()
    images = InputSpec(name="images", dtype="float32", shape=(BATCH, 3, 64, 64))
    logits = OutputSpec(name="logits", shape=(BATCH, 4, 64, 64))
    export = export_onnx(Graph(module=network, inputs=(images,), outputs=(logits,)), tmp_path / "model.onnx")
    assert export.exporter == "dynamo"
    assert export.parity["relative_difference"] < 1e-4
    kinds = {node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node}
    assert "Shape" not in kinds
    assert ("Resize" in kinds) == (head == "lraspp")


def test_free_sizes_change_nothing_for_sides_that_are_multiples_of_the_divisor() -> None:
    network = build(LITE0, 4, head="fcn", seed=0, width=16).eval()
    free = network.with_free_size()
    assert not any(type(part).__name__ == "Conv2dSame" for part in free.modules())
    assert any(type(part).__name__ == "Conv2dSame" for part in network.modules())
    assert network.divisor == 32
    with torch.no_grad():
        images = torch.randn(1, 3, 96, 64)
        torch.testing.assert_close(free(images), network(images))


def test_outputs_are_the_layers_that_make_the_classes() -> None:
    for head in HEADS:
        network = build("timm:lcnet_050", 7, head=head, seed=0, width=16)
        widths = {name: part.out_channels for name, part in network.named_modules() if isinstance(part, nn.Conv2d)}
        assert {name for name, width in widths.items() if width == 7} == set(network.output_layers)
