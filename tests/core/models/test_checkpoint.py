"""Checkpoints as training scripts write them, and what is refused."""

import argparse
import zipfile

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from components.core.errors import UserError
from components.core.models.checkpoint import checkpoint_file, digest_of, fitted, read_checkpoint


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


def prefixed(prefix, state):
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


WAYS = {
    "plain": lambda state: state,
    "state_dict": lambda state: {"epoch": 3, "state_dict": state, "optimizer": {"lr": 0.1}},
    "model": lambda state: {"model": state},
    "data parallel": lambda state: {"state_dict": prefixed("module.", state)},
    "compiled and parallel": lambda state: prefixed("_orig_mod.module.", state),
    "lightning": lambda state: {"state_dict": prefixed("model.", state), "hyper_parameters": {"lr": 1}},
    "timm's script": lambda state: {"arch": "x", "args": argparse.Namespace(lr=0.1), "state_dict": state},
    "without counters": lambda state: {name: one for name, one in state.items() if "batches" not in name},
}


def fit(tensors, network, classes=2):
    return fitted(tensors, network.state_dict(), source="timm:x", outputs=("3",), classes=classes)


@pytest.mark.parametrize("way", WAYS)
def test_a_checkpoint_gives_the_networks_own_tensors_however_it_was_saved(tmp_path, network, way):
    torch.save(WAYS[way](network.state_dict()), tmp_path / "ft.pth")
    found = fit(read_checkpoint(tmp_path / "ft.pth", called="ft.pth").tensors, network)
    assert list(sorted(found)) == sorted(network.state_dict())
    for name, tensor in network.state_dict().items():
        assert torch.equal(found[name], tensor), name


def test_safetensors_and_half_precision_are_read_as_float32(tmp_path, network):
    halves = {name: one.half() if one.is_floating_point() else one for name, one in network.state_dict().items()}
    save_file(halves, tmp_path / "ft.safetensors")
    found = read_checkpoint(tmp_path / "ft.safetensors", called="ft").tensors
    assert torch.equal(found["0.weight"], halves["0.weight"].float())
    assert found["0.weight"].dtype == torch.float32
    assert found["1.num_batches_tracked"].dtype == torch.int64


def test_class_names_that_the_script_saved_are_found_in_the_order_of_the_outputs(tmp_path, network):
    state = network.state_dict()
    torch.save({"state_dict": state, "class_to_idx": {"b": 0, "a": 1}}, tmp_path / "a.pth")
    torch.save({"state_dict": state, "classes": ["cat", "dog"]}, tmp_path / "b.pth")
    assert read_checkpoint(tmp_path / "a.pth", called="a").classes == ("b", "a")
    assert read_checkpoint(tmp_path / "b.pth", called="b").classes == ("cat", "dog")


def test_a_pickled_network_is_not_opened(tmp_path, network):
    torch.save(network, tmp_path / "whole.pth")
    with pytest.raises(UserError, match=r"holds Python objects beside tensors.*save model.state_dict\(\)"):
        read_checkpoint(tmp_path / "whole.pth", called="whole.pth")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"epoch": 1, "loss": 0.5},
            "no state dict of tensors, neither at its top nor under state_dict.*it holds epoch, loss",
        ),
        ([1, 2], "no state dict"),
        (b"no checkpoint at all", "cannot be read"),
    ],
)
def test_a_file_without_a_network_is_one_line(tmp_path, content, message):
    path = tmp_path / "ft.pth"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(UserError, match=message) as refused:
        read_checkpoint(path, called="ft.pth")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("changed", "classes", "message"),
    [
        ({}, 3, "last layer '3' has 2 outputs, but labels has 3 class names"),
        ({"0.weight": torch.zeros(5, 3, 3, 3)}, 2, r"'0.weight' of shape \(5, 3, 3, 3\), not \(4, 3, 3, 3\)"),
        ({"9.weight": torch.zeros(1)}, 2, "has '9.weight', which the architecture does not have"),
        ({"0.bias": None}, 2, "does not fit architecture timm:x: it has no '0.bias'"),
    ],
)
def test_another_architecture_or_number_of_outputs_is_refused_by_name(network, changed, classes, message):
    state = {name: one for name, one in (network.state_dict() | changed).items() if one is not None}
    with pytest.raises(UserError, match=message):
        fit(state, network, classes)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"model nowhere.pth: there is no such file"), checkpoint_file("nowhere.pth"):
        pass
    (tmp_path / "a").write_bytes(b"abc")
    with checkpoint_file(str(tmp_path / "a")) as path:
        assert digest_of(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize(
    "content", [b"x" * 200, b"\x80\x02K", b"\x80\x02]]s.", b"\x80\x02X\x03\x00\x00\x00\xc3\x28\xff.", b"", b"\x80"]
)
def test_a_broken_checkpoint_is_one_line(tmp_path, content):
    (tmp_path / "ft.pth").write_bytes(content)
    with pytest.raises(UserError, match=r"model ft\.pth (cannot be read|has no state dict)") as caught:
        read_checkpoint(tmp_path / "ft.pth", called="ft.pth")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "tensor",
    [torch.zeros(1).half().expand(10**6, 10**6), torch.zeros(10**6, 10**6, device="meta"), torch.eye(3).to_sparse()],
    ids=["strides of 0", "no storage", "sparse"],
)
def test_a_tensor_without_a_value_for_each_place_is_refused(tmp_path, tensor):
    """The first would be four terabytes as float32."""
    torch.save({"fc.weight": tensor}, tmp_path / "ft.pth")
    with pytest.raises(UserError, match=r"'fc\.weight' has the shape \(\d+, \d+\) without a value for each"):
        read_checkpoint(tmp_path / "ft.pth", called="ft.pth")


def test_a_checkpoint_that_unpacks_to_much_more_is_refused(tmp_path):
    torch.save({"a": torch.zeros(5_000_000)}, tmp_path / "whole.pth")
    with (
        zipfile.ZipFile(tmp_path / "whole.pth") as source,
        zipfile.ZipFile(tmp_path / "ft.pth", "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for info in source.infolist():
            target.writestr(info.filename, source.read(info.filename))
    with pytest.raises(UserError, match=r"model ft\.pth cannot be read: .* unpack to 20,\d\d\d,\d\d\d"):
        read_checkpoint(tmp_path / "ft.pth", called="ft.pth")


def test_class_numbers_of_several_kinds_are_no_class_names(tmp_path, network):
    torch.save({"state_dict": network.state_dict(), "class_to_idx": {"a": 0, "b": "1"}}, tmp_path / "ft.pth")
    assert read_checkpoint(tmp_path / "ft.pth", called="ft.pth").classes == ()


def test_an_unknown_home_folder_is_one_line():
    with (
        pytest.raises(UserError, match=r"'~nosuchuser/ft\.pth' names an unknown home folder"),
        checkpoint_file("~nosuchuser/ft.pth"),
    ):
        pass
