import copy
import json

import pytest
import torch
from torch import nn

from components.core.models.architecture import Architecture, Cut, apply_surgery
from components.core.models.complexity import count_macs
from components.core.models.inputs import InputSpec
from components.core.models.zoo import create_module
from components.core.store.keys import canonical_json
from components.core.tasks.networks import build


def cut(module: str, dimension: str, kept: list[int], total: int) -> Cut:
    return Cut(module=module, dimension=dimension, kept=tuple(kept), total=total)  # type: ignore[arg-type]


EVEN = list(range(0, 96, 2))
IMAGES = (InputSpec(name="images", dtype="float32", shape=("batch", 3, 32, 32)),)

# The first expanded block of EfficientNet-Lite0: 96 expanded channels between two pointwise convolutions.
LITE0_CUTS = (
    cut("blocks.1.0.conv_pw", "out", EVEN, 96),
    cut("blocks.1.0.bn1", "out", EVEN, 96),
    cut("blocks.1.0.conv_dw", "out", EVEN, 96),
    cut("blocks.1.0.bn2", "out", EVEN, 96),
    cut("blocks.1.0.conv_pwl", "in", EVEN, 96),
)


def randomised(module: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in module.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=generator) * 0.2 + 0.05)
    return module.eval()


def zeroed_outside(module: nn.Module, name: str, kept: list[int]) -> None:
    """Cutting the input channels of `name` must equal this: the same network with the others' weights at zero."""
    layer = module.get_submodule(name)
    assert isinstance(layer, nn.Conv2d | nn.Linear)
    mask = torch.zeros(layer.weight.shape[1])
    mask[kept] = 1
    with torch.no_grad():
        layer.weight.mul_(mask.view(1, -1, *[1] * (layer.weight.dim() - 2)))


def test_cut_network_computes_what_the_network_without_those_channels_computes() -> None:
    network = randomised(create_module("timm:tf_efficientnet_lite0", 4))
    masked = copy.deepcopy(network)
    zeroed_outside(masked, "blocks.1.0.conv_pwl", EVEN)
    apply_surgery(network, LITE0_CUTS)
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(network(images), masked(images))
    depthwise = network.get_submodule("blocks.1.0.conv_dw")
    assert (depthwise.in_channels, depthwise.out_channels, depthwise.groups) == (48, 48, 48)
    assert network.get_submodule("blocks.1.0.bn2").num_features == 48
    assert count_macs(network, IMAGES) < count_macs(masked, IMAGES)


def test_rebuilt_architecture_loads_the_pruned_weights_strictly_and_computes_the_same() -> None:
    network = randomised(create_module("timm:tf_efficientnet_lite0", 4))
    apply_surgery(network, LITE0_CUTS)
    architecture = Architecture(
        backbone="lite0",
        source="timm:tf_efficientnet_lite0",
        num_outputs=4,
        task="classification",
        surgery=LITE0_CUTS,
    )
    rebuilt = build(Architecture.from_json(json.loads(json.dumps(architecture.to_json()))))
    rebuilt.load_state_dict(network.state_dict(), strict=True)
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(rebuilt.eval()(images), network(images), rtol=0, atol=0)


def test_a_second_surgery_counts_in_the_network_that_the_first_left() -> None:
    network = randomised(create_module("timm:tf_efficientnet_lite0", 4))
    original = network.get_submodule("blocks.1.0.conv_dw").weight.detach().clone()
    second = tuple(cut(c.module, c.dimension, [0, 47], 48) for c in LITE0_CUTS)
    architecture = Architecture(
        backbone="lite0", source="timm:tf_efficientnet_lite0", num_outputs=4, task="classification"
    )
    architecture = architecture.with_surgery(LITE0_CUTS).with_surgery(second)
    apply_surgery(network, architecture.surgery)
    torch.testing.assert_close(network.get_submodule("blocks.1.0.conv_dw").weight, original[[0, 94]])
    build(architecture).load_state_dict(network.state_dict(), strict=True)


def test_grouped_convolution_keeps_its_groups() -> None:
    network = nn.Sequential(nn.Conv2d(8, 8, 1, groups=2))
    weight = network[0].weight.detach().clone()
    apply_surgery(network, [cut("0", "in", [0, 3, 5, 6], 8), cut("0", "out", [1, 7], 8)])
    layer = network[0]
    assert (layer.in_channels, layer.out_channels, layer.groups) == (4, 2, 2)
    # Output 1 is of the first group and sees its inputs 0 and 3; output 7 of the second and sees 5 - 4 and 6 - 4.
    torch.testing.assert_close(layer.weight[0], weight[1][[0, 3]])
    torch.testing.assert_close(layer.weight[1], weight[7][[1, 2]])
    with pytest.raises(ValueError, match="each of its 2 groups must keep the same number"):
        apply_surgery(network, [cut("0", "in", [0, 1, 2], 4)])


def test_linear_layers_are_cut_on_both_sides_and_stay_trainable_as_they_were() -> None:
    network = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 2))
    network[1].weight.requires_grad_(False)
    first, second = network[0].weight.detach().clone(), network[1].weight.detach().clone()
    apply_surgery(network, [cut("0", "out", [1, 5], 6), cut("1", "in", [1, 5], 6)])
    torch.testing.assert_close(network[0].weight, first[[1, 5]])
    torch.testing.assert_close(network[1].weight, second[:, [1, 5]])
    assert (network[0].out_features, network[1].in_features) == (2, 2)
    assert network[0].weight.requires_grad
    assert not network[1].weight.requires_grad


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (cut("9", "out", [0], 2), "names the module '9'"),
        (cut("0", "out", [0], 3), "made for 3 out channels, it has 2"),
        (cut("1", "out", [0], 2), "of a ReLU cannot be cut"),
    ],
)
def test_cut_that_does_not_fit_is_refused_by_name(bad: Cut, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        apply_surgery(nn.Sequential(nn.Conv2d(2, 2, 1), nn.ReLU()), [bad])


@pytest.mark.parametrize("kept", [[], [1, 0], [0, 0], [0, 4], [-1, 2]])
def test_cut_refuses_channels_that_are_not_there_or_out_of_order(kept: list[int]) -> None:
    with pytest.raises(ValueError, match=r"kept channels must|keep at least one"):
        cut("x", "out", kept, 4)


DOCUMENT = {
    "format": 1, "backbone": "lite0", "source": "timm:x", "num_outputs": 4, "task": "classification",
    "surgery": [{"module": "a.b", "dimension": "out", "kept": [0, 2], "total": 3}],
}  # fmt: skip
"""The document of versions without options."""


def test_without_options_the_document_is_the_one_that_was_written_before_there_were_any() -> None:
    architecture = Architecture.from_json(DOCUMENT)
    assert architecture.surgery == (cut("a.b", "out", [0, 2], 3),)
    assert (architecture.task, architecture.options) == ("classification", {})
    written = canonical_json(architecture.to_json())
    assert written == (
        b'{"backbone":"lite0","format":1,"num_outputs":4,"source":"timm:x",'
        b'"surgery":[{"dimension":"out","kept":[0,2],"module":"a.b","total":3}],"task":"classification"}'
    )


def test_options_come_back_and_stay_when_channels_are_cut() -> None:
    options = {"decoder": "lraspp", "channels": 128}
    architecture = Architecture(backbone="b", source="timm:x", num_outputs=2, task="t", options=options)
    document = json.loads(json.dumps(architecture.to_json()))
    assert document["options"] == options
    assert Architecture.from_json(document) == architecture
    assert architecture.with_surgery([cut("a", "out", [0], 2)]).options == options


@pytest.mark.parametrize("options", [None, [], "wide"])
def test_options_that_are_no_object_are_refused(options: object) -> None:
    with pytest.raises(ValueError, match="options must be an object"):
        Architecture.from_json({**DOCUMENT, "options": options})


@pytest.mark.parametrize("name", ["backbone", "source", "num_outputs", "task", "surgery"])
def test_missing_entry_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="must have exactly"):
        Architecture.from_json({key: value for key, value in DOCUMENT.items() if key != name})


def test_damaged_architecture_document_is_refused_by_entry() -> None:
    document = Architecture(backbone="b", source="timm:x", num_outputs=2, task="classification").to_json()
    with pytest.raises(ValueError, match="format 1, got 2"):
        Architecture.from_json({**document, "format": 2})
    with pytest.raises(ValueError, match="must have exactly"):
        Architecture.from_json({**document, "extra": 1})
    with pytest.raises(ValueError, match="must hold an object, got list"):
        Architecture.from_json([])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="surgery"):
        Architecture.from_json({**document, "surgery": [{"module": "x"}]})
