"""Weight decay and learning rate of every parameter."""

import pytest
import torch
from torch import nn

from components.core.models.zoo import create_module
from components.core.training.optimizers import build_optimizer
from components.core.training.parameter_groups import layer_depths, layer_name, parameter_groups, set_learning_rate


def by_name(module, groups):
    """Parameter name → the group it is in; fails when one is in two groups or in none."""
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    found = [(names[id(parameter)], group) for group in groups for parameter in group["params"]]
    assert sorted(name for name, _ in found) == sorted(names.values())
    return dict(found)


@pytest.mark.parametrize("layer_decay", [1.0, 0.7])
@pytest.mark.parametrize("source", ["timm:tf_efficientnet_lite0", "torchvision:resnet18"])
def test_norms_and_biases_have_no_weight_decay_and_all_else_has(source, layer_decay):
    module = create_module(source, 10)
    groups = by_name(module, parameter_groups(module, weight_decay=0.05, layer_decay=layer_decay))
    vectors = {name for name, parameter in module.named_parameters() if parameter.ndim == 1}
    assert vectors
    for name, group in groups.items():
        assert group["weight_decay"] == (0.0 if name in vectors else 0.05), name


def test_efficientnet_layers_are_numbered_from_stem_to_head():
    depths = layer_depths(create_module("timm:tf_efficientnet_lite0", 10))
    blocks = [depth for name, depth in depths.items() if name.startswith("blocks.")]
    assert depths["conv_stem"] == depths["bn1"] == 0
    assert blocks == list(range(1, 17))  # 16 blocks, in the order of execution
    assert depths["conv_head"] == depths["bn2"] == 17
    assert depths["classifier"] == max(depths.values()) == 18


def test_resnet_layers_are_numbered_from_stem_to_head():
    depths = layer_depths(create_module("torchvision:resnet18", 10))
    expected = {"conv1": 0, "bn1": 0, "layer1.0": 1, "layer1.1": 2, "layer2.0": 3, "layer4.1": 8, "fc": 9}
    assert {name: depths[name] for name in expected} == expected


def test_a_parameter_belongs_to_the_first_module_that_is_no_plain_container():
    module = create_module("torchvision:mobilenet_v2", 10)
    assert layer_name(module, "features.3.conv.0.0.weight") == "features.3"
    assert layer_name(module, "features.0.1.weight") == "features.0"
    assert layer_name(module, "classifier.1.bias") == "classifier.1"


def test_the_head_learns_at_the_full_rate_and_each_layer_below_slower_by_the_factor():
    module = create_module("torchvision:resnet18", 10)
    groups = parameter_groups(module, weight_decay=0.0, layer_decay=0.5)
    optimizer = build_optimizer("sgd", groups, learning_rate=0.1, momentum=0.9)
    set_learning_rate(optimizer.param_groups, 0.1)
    rates = {name: group["lr"] for name, group in by_name(module, optimizer.param_groups).items()}
    assert rates["fc.weight"] == rates["fc.bias"] == pytest.approx(0.1)
    assert rates["layer4.1.conv1.weight"] == pytest.approx(0.1 * 0.5)
    assert rates["layer4.1.bn2.weight"] == pytest.approx(0.1 * 0.5)
    assert rates["conv1.weight"] == pytest.approx(0.1 * 0.5**9)


def test_the_scaled_rate_is_the_one_that_a_step_is_taken_with():
    module = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False))
    optimizer = build_optimizer(
        "sgd", parameter_groups(module, weight_decay=0.0, layer_decay=0.25), learning_rate=9.0, momentum=0.0
    )
    before = [parameter.detach().clone() for parameter in module.parameters()]
    for parameter in module.parameters():
        parameter.grad = torch.ones_like(parameter)
    set_learning_rate(optimizer.param_groups, 0.4)
    optimizer.step()
    moved = [float((old - new).detach()) for old, new in zip(before, module.parameters(), strict=True)]
    assert moved == pytest.approx([0.1, 0.4])


def test_frozen_parameters_are_left_out():
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    module[0].requires_grad_(False)
    groups = parameter_groups(module, weight_decay=0.1)
    assert {id(p) for group in groups for p in group["params"]} == {id(p) for p in module[1].parameters()}


def test_what_a_network_lists_itself_has_no_weight_decay():
    class Listed(nn.Linear):
        def no_weight_decay(self):
            return {"weight"}

    groups = parameter_groups(Listed(2, 2), weight_decay=0.1)
    assert [group["weight_decay"] for group in groups] == [0.0]
