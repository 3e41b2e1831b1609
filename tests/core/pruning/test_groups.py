"""Which channels may go, on real architectures, and that what goes is what was planned."""

import copy

import pytest
import torch

from components.core.models.complexity import count_macs
from components.core.models.inputs import InputSpec
from components.core.pruning.costs import layer_costs
from components.core.pruning.groups import PruningGraph
from components.core.pruning.plan import total_macs
from components.prune.surgery import check_record

NETWORKS = [
    "timm:tf_efficientnet_lite0",
    "timm:test_efficientnet",  # squeeze and excitation
    "torchvision:resnet18",
    "torchvision:squeezenet1_1",  # concatenation
    "torchvision:mobilenet_v2",
    "timm:test_convnext",  # linear layers
]


def inputs(size):
    return (InputSpec(name="images", dtype="float32", shape=("batch", 3, size, size)),)


def graph_of(bundle, module=None, *, size=64):
    module = module or bundle.module
    return PruningGraph(module, inputs=inputs(size), output_layers=bundle.task.output_layers(module))


def group_names(bundle):
    return [group.name for group in graph_of(bundle).groups()]


def test_of_efficientnet_only_the_expanded_channels_and_the_last_convolution_may_go(make_bundle):
    names = group_names(make_bundle("timm:tf_efficientnet_lite0"))
    assert len(names) == 16
    assert names[-1] == "conv_head"
    assert all(name.endswith(".conv_pw") and not name.startswith("blocks.0.") for name in names[:-1])


def test_of_a_resnet_only_channels_inside_a_block_may_go(make_bundle):
    names = group_names(make_bundle("torchvision:resnet18"))
    assert names == [f"layer{stage}.{block}.conv1" for stage in (1, 2, 3, 4) for block in (0, 1)]


def test_channels_tied_to_attention_heads_stay(make_bundle):
    bundle = make_bundle("timm:test_vit", image_size=160)
    names = [group.name for group in graph_of(bundle, size=160).groups()]
    assert names == [f"blocks.{number}.mlp.fc1" for number in range(6)]


@pytest.mark.parametrize("source", NETWORKS)
def test_no_group_holds_the_stem_or_the_logits(make_bundle, source):
    bundle = make_bundle(source)
    graph = graph_of(bundle)
    for group in graph.groups():
        for member in group.members:
            part = bundle.module.get_submodule(member.module)
            if member.dimension == "out" and isinstance(part, torch.nn.Conv2d):
                assert part.in_channels != 3
            if member.dimension == "out" and isinstance(part, torch.nn.Linear):
                assert part.out_features != 2


@pytest.mark.parametrize("source", NETWORKS)
def test_planned_costs_are_the_measured_ones_before_and_after_and_the_record_rebuilds_the_network(make_bundle, source):
    bundle = make_bundle(source)
    module = copy.deepcopy(bundle.module)
    graph = graph_of(bundle, module)
    groups = graph.groups()
    layers = layer_costs(module, groups, inputs=inputs(64))
    assert total_macs(layers, {}) == count_macs(module, inputs(64))

    generator = torch.Generator().manual_seed(0)
    removal = {
        group.name: sorted(torch.randperm(group.channels, generator=generator)[: group.channels // 3].tolist())
        for group in groups
    }
    cuts = graph.remove(removal)
    assert count_macs(module, inputs(64)) == total_macs(layers, {name: len(gone) for name, gone in removal.items()})
    check_record(module, bundle.architecture.with_surgery(cuts), inputs=inputs(64))


def test_a_record_that_keeps_other_channels_of_a_layer_without_weights_to_show_it_is_caught(make_bundle):
    bundle = make_bundle("torchvision:resnet18")
    module = copy.deepcopy(bundle.module)
    graph = graph_of(bundle, module, size=32)
    cuts = graph.remove({"layer1.0.conv1": [0, 1, 2, 3]})
    check_record(module, bundle.architecture.with_surgery(cuts), inputs=inputs(32))
    with pytest.raises(RuntimeError, match="size mismatch"):
        check_record(module, bundle.architecture.with_surgery(cuts[:-1]), inputs=inputs(32))
