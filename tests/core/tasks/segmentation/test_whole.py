"""Whole pretrained weights: torchvision's networks, made here with random weights, and our own."""

import hashlib
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from components.core.bundles.own_model import read_trained
from components.core.errors import UserError
from components.core.models.architecture import Architecture
from components.core.models.catalog import Backbone, load_catalog
from components.core.tasks import get_task
from components.core.tasks.networks import fresh_network
from components.core.tasks.segmentation.forms import PUBLISHED
from components.core.tasks.segmentation.layouts import VOC_CLASSES
from components.core.tasks.segmentation.networks import build
from components.core.tasks.segmentation.whole import of_torchvision

TASK = get_task("segmentation")
LRASPP = "torchvision:lraspp_mobilenet_v3_large"
DEEPLAB = "torchvision:deeplabv3_mobilenet_v3_large"
CLASSES = ("sky", "road", "car")

Save = Callable[..., Backbone]


def of_torchvisions_own(architecture: str) -> nn.Module:
    """torchvision's network in eval mode, with random weights and random statistics of its batch norms."""
    generator = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        network = torchvision.models.get_model(
            architecture.partition(":")[2], weights=None, weights_backbone=None, num_classes=3, aux_loss=None
        )
    network.to_empty(device="cpu")
    for name, tensor in network.state_dict().items():
        if name.endswith(("running_var", "bias")) or tensor.ndim == 1:
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
        elif tensor.ndim > 1:
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * (1.5 / tensor[0].numel()) ** 0.5)
    return network.eval()


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Writes tensors to a file and gives the catalog entry that names it."""

    def saved(state: dict[str, Tensor], architecture: str, **fields: Any) -> Backbone:
        path = tmp_path / "weights.safetensors"
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
        return Backbone(
            name="whole", architecture=architecture, weights=f"file:{path}", licence="MIT", image_size=64,
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(), mean=(0.5,) * 3, std=(0.5,) * 3,
            **{"task": "segmentation", "classes": CLASSES, **fields},
        )  # fmt: skip

    return saved


def made(entry: Backbone, classes: int = len(CLASSES)) -> nn.Module:
    """The network of the entry with fresh weights, as a selection makes it."""
    ((_, _, options),) = TASK.candidates([entry], {})
    return fresh_network(
        Architecture(
            backbone=entry.name, source=entry.architecture, num_outputs=classes, task="segmentation", options=options
        ),
        seed=1,
    ).eval()


@pytest.mark.parametrize(
    "architecture", [LRASPP, DEEPLAB, "torchvision:fcn_resnet50", "torchvision:deeplabv3_resnet50"]
)
def test_logits_are_torchvisions_with_its_weights(architecture: str, save: Save) -> None:
    theirs = of_torchvisions_own(architecture)
    entry = save(theirs.state_dict(), architecture)
    ours = made(entry)
    assert TASK.load_pretrained(ours, entry, CLASSES) == "whole network, with its classifier of the same 3 classes"
    # Sides that are no multiple of a stride.
    images = torch.randn(1, 3, 90, 120, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected, logits = theirs(images)["out"], ours(images)
    assert expected.std(dim=(2, 3)).min() > 0.01 * expected.abs().max()
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))
    if "deeplabv3" in architecture:
        # On a map smaller than its rate a branch sees its centre only, whatever the rate.
        branches = theirs.get_submodule("classifier.0.convs")
        assert [branch[0].dilation for branch in ours.head.branches] == [branches[i][0].dilation for i in range(4)]


def test_every_segmentation_network_of_torchvision_is_known() -> None:
    names = torchvision.models.list_models(module=torchvision.models.segmentation)
    assert {f"torchvision:{name}" for name in names} == set(PUBLISHED)


def test_the_catalogs_whole_networks_are_torchvisions_for_the_classes_of_voc() -> None:
    entries = [entry for entry in load_catalog().values() if entry.task == TASK.name]
    assert len(entries) == 4
    for entry in entries:
        weights = torchvision.models.get_weight(entry.weights.removeprefix("torchvision:"))
        name = entry.architecture.partition(":")[2]
        assert weights in torchvision.models.get_model_weights(name)
        assert entry.parameters == weights.meta["num_params"]
        assert entry.classes == VOC_CLASSES == ("background", *weights.meta["categories"][1:])
        assert TASK.candidates([entry], {})[0][0] == f"{entry.name}+{PUBLISHED[entry.architecture].head}"


def test_the_classifier_stays_fresh_for_other_classes_and_all_else_is_loaded(save: Save) -> None:
    theirs = of_torchvisions_own(LRASPP).state_dict()
    entry = save(theirs, LRASPP)
    module = made(entry, 2)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    said = TASK.load_pretrained(module, entry, ("road", "car"))
    assert said == "backbone and head; new classifier, since the weights are of 3 other classes (sky, road, car)"
    expected = of_torchvision(theirs, LRASPP, "weights")
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, before[name] if "_classifier" in name else expected[name]), name
    # Another order is another list; and without a list nothing says what the outputs are.
    for classes, fields in ((("car", "road", "sky"), {}), (CLASSES, {"classes": ()})):
        module = made(entry)
        kept = module.head.fine_classifier.weight.clone()
        assert "new classifier" in TASK.load_pretrained(module, replace(entry, **fields), classes)
        assert torch.equal(module.head.fine_classifier.weight, kept)


def test_weights_of_our_own_networks_load_by_their_names(save: Save) -> None:
    own = build("timm:lcnet_050", 3, head="fcn", seed=0, width=16).eval()
    entry = save(own.state_dict(), "timm:lcnet_050", options={"head": "fcn", "width": 16})
    ((name, _, options),) = TASK.candidates([entry], {"heads": ["lraspp"]})
    assert (name, options) == ("whole+fcn", {"head": "fcn", "width": 16})
    module = made(entry)
    TASK.load_pretrained(module, entry, CLASSES)
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(module(images), own(images))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"architecture": "torchvision:unet_resnet50", "options": {}},
            r"fcn_resnet50, .*got torchvision:unet_resnet50",
        ),
        ({"options": {"head": "unet"}}, "head: fcn or deeplabv3 or lraspp}; got timm:lcnet_050 with head 'unet'"),
        ({"options": {"head": "fcn", "stride": 8}}, "unknown option 'stride'; known: head, width"),
        ({"options": {"head": "fcn", "width": "16"}}, "width must be a whole number of at least 1, got '16'"),
        ({"options": {"head": "fcn"}}, r"head is 16 channels wide, the network's 128: say \{width: 16\}"),
        ({"options": {"head": "lraspp", "width": 16}}, r"no 'head\.fine_classifier\.weight', .* head\.classifier\."),
        ({"classes": ("a", "b")}, r"classes has 2 names, 'head\.classifier\.weight' has 3 outputs"),
        ({"mapping": "order"}, "mapping must be name for whole weights, got 'order'"),
        ({"architecture": LRASPP}, "leave out options"),
        ({"architecture": LRASPP, "task": "", "options": {}, "classes": ()}, "give 'task: segmentation' with it"),
    ],
)
def test_what_cannot_be_mapped_is_refused_by_name_before_it_is_built(
    fields: dict[str, Any], message: str, save: Save
) -> None:
    own = build("timm:lcnet_050", 3, head="fcn", seed=0, width=16)
    entry = save(own.state_dict(), "timm:lcnet_050", options={"head": "fcn", "width": 16})
    with pytest.raises(UserError, match=message) as caught:
        TASK.candidates([replace(entry, **fields)], {})
    assert str(caught.value).startswith("catalog.yaml: backbone 'whole': ")


def test_the_refusal_needs_no_torch() -> None:
    code = (
        "import sys; from components.core.tasks import get_task; from components.core.models.catalog import *;"
        "entries = [one for one in load_catalog().values() if one.task == 'segmentation'];"
        "assert get_task('segmentation').candidates(entries, {}); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"backbone.16.0.weight": None}, r"'backbone\.features\.16\.0\.weight' of the network is not in the file"),
        ({"backbone.16.0.weight": torch.zeros(1)}, r"has shape \(1,\) on disk, \(960, 160, 1, 1\) in the network"),
        ({"backbone.17.0.weight": torch.zeros(1)}, r"'backbone\.features\.17\.0\.weight' is in the file, not in"),
        (
            {"classifier.9.weight": torch.zeros(1)},
            r"'classifier\.9\.weight' is in the file, not in torchvision:deep",
        ),
        ({"classifier.0.convs.4.2.bias": None}, r"'classifier\.0\.convs\.4\.2\.bias' of torchvision:deep.* is not in"),
        ({"classifier.4.weight": torch.zeros(4, 256, 1, 1)}, "classes has 3 names, the weights' classifier 4 outputs"),
    ],
)
def test_the_first_tensor_that_does_not_fit_is_named(
    changed: dict[str, Tensor | None], message: str, save: Save
) -> None:
    state = {**of_torchvisions_own(DEEPLAB).state_dict(), **changed}
    entry = save({name: tensor for name, tensor in state.items() if tensor is not None}, DEEPLAB)
    with pytest.raises(UserError, match=message):
        TASK.load_pretrained(made(entry), entry, CLASSES)


def test_a_whole_network_for_another_task_is_refused_there() -> None:
    entry = load_catalog()["fcn_resnet50"]
    with pytest.raises(UserError, match="leave out 'task', 'options' and 'classes'"):
        get_task("classification").candidates([replace(entry, task="classification")], {})


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_users_own_checkpoint_of_a_whole_network_keeps_its_classifier(tmp_path: Path, prefix: str) -> None:
    theirs = of_torchvisions_own(LRASPP).eval()
    state = {f"{prefix}{name}": tensor for name, tensor in theirs.state_dict().items()}
    torch.save({"model": state}, tmp_path / "ft.pth")
    found = read_trained(
        tmp_path / "ft.pth", called="ft.pth", task="segmentation", architecture=LRASPP, classes=CLASSES
    )
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, actual = theirs(images)["out"], found.module(images)
    size = expected.shape[-2:]
    torch.testing.assert_close(F.interpolate(actual, size, mode="bilinear"), expected, rtol=1e-3, atol=1e-4)
    with pytest.raises(UserError, match="has 3 outputs, but labels has 2 class names"):
        read_trained(tmp_path / "ft.pth", called="ft.pth", task="segmentation", architecture=LRASPP, classes=["a", "b"])


def test_a_backbone_is_no_whole_network_to_start_from(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'timm:resnet18' is not a whole segmentation network that trimtab knows"):
        read_trained(tmp_path / "x", called="x", task="segmentation", architecture="timm:resnet18", classes=CLASSES)
