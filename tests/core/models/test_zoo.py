import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from components.core.errors import UserError
from components.core.models.architecture import Architecture
from components.core.models.catalog import Backbone, load_catalog
from components.core.models.complexity import count_parameters
from components.core.models.weights import read_weights
from components.core.models.zoo import (
    create_module,
    find_head,
    load_pretrained,
    split_features,
)
from components.core.tasks.images.preprocess import Preprocess
from components.core.tasks.networks import fresh_network

CATALOG = {name: entry for name, entry in load_catalog().items() if not entry.task}


def backbone_from_file(path: Path, *, architecture: str = "torchvision:squeezenet1_1", **fields: object) -> Backbone:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    base = CATALOG["squeezenet1_1"]
    return replace(base, architecture=architecture, weights=f"file:{path}", sha256=digest, **fields)  # type: ignore[arg-type]


def fresh(backbone: Backbone, *, num_outputs: int, seed: int) -> nn.Module:
    return fresh_network(
        Architecture(
            backbone=backbone.name, source=backbone.architecture, num_outputs=num_outputs, task="classification"
        ),
        seed=seed,
    )


def pretrained(backbone: Backbone, *, num_outputs: int) -> nn.Module:
    module = fresh(backbone, num_outputs=num_outputs, seed=0)
    load_pretrained(module, backbone)
    return module


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    """A published SqueezeNet file as torchvision has it: the head is a convolution, `classifier.1`."""
    module = create_module("torchvision:squeezenet1_1", 5)
    tensors = {
        name: torch.randn_like(tensor) for name, tensor in module.state_dict().items() if "classifier" not in name
    }
    return {**tensors, "classifier.1.weight": torch.randn(1000, 512, 1, 1), "classifier.1.bias": torch.randn(1000)}


@pytest.mark.parametrize("name", sorted(CATALOG))
def test_every_backbone_builds_and_splits_into_pooled_features_and_head(name: str) -> None:
    module = fresh(CATALOG[name], num_outputs=3, seed=0).eval()
    features, head = split_features(module)
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        pooled = features(images)
        assert pooled.shape == (2, head.in_features)
        assert head.out_features == 3
        torch.testing.assert_close(head(pooled), module(images), rtol=0, atol=0)
        assert module(images).shape == (2, 3)


def test_same_seed_gives_the_same_weights_and_leaves_the_global_state_alone() -> None:
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    first = fresh(CATALOG["squeezenet1_1"], num_outputs=2, seed=1).state_dict()
    assert torch.rand(1) == expected
    second = fresh(CATALOG["squeezenet1_1"], num_outputs=2, seed=1).state_dict()
    other = fresh(CATALOG["squeezenet1_1"], num_outputs=2, seed=2).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_pretrained_weights_fill_all_but_the_fresh_head(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    path = tmp_path / "w.safetensors"
    save_file(state, path)
    module = pretrained(backbone_from_file(path), num_outputs=4)
    loaded = module.state_dict()
    for name, tensor in state.items():
        if not name.startswith("classifier"):
            assert torch.equal(loaded[name], tensor), name
    assert find_head(module)[1].weight.shape == (4, 512)
    assert find_head(module)[1].weight.abs().max() < 0.1


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_pth_file_is_read_without_running_code(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    good, bad, sprung = tmp_path / "good.pth", tmp_path / "bad.pth", tmp_path / "sprung"
    torch.save({"state_dict": state}, good)
    pretrained(backbone_from_file(good), num_outputs=2)
    for content in (nn.Linear(1, 1), {"state_dict": {**state, "more": Trap(sprung)}}):
        torch.save(content, bad)
        with pytest.raises(UserError, match="cannot be read"):
            pretrained(backbone_from_file(bad), num_outputs=2)
    assert not sprung.exists()
    torch.load(bad, weights_only=False)
    assert sprung.exists(), "the trap works"


def test_wrong_digest_is_seen_before_the_file_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(b"no weights at all")
    backbone = replace(backbone_from_file(path), sha256="0" * 64)
    with pytest.raises(UserError, match=r"have a different sha256 than .* requires \(0{64}") as refused:
        pretrained(backbone, num_outputs=2)
    # Of a file that somebody else's catalog names it would tell what is in it.
    assert hashlib.sha256(path.read_bytes()).hexdigest() not in str(refused.value)


def test_first_tensor_that_does_not_fit_is_named(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    def load(changed: dict[str, torch.Tensor]) -> None:
        path = tmp_path / "w.safetensors"
        save_file(changed, path)
        load_pretrained(module, backbone_from_file(path))

    module = create_module("torchvision:squeezenet1_1", 5)
    with pytest.raises(UserError, match=r"'features\.0\.bias' has shape \(3,\) on disk, \(64,\) in the model"):
        load({**state, "features.0.bias": torch.zeros(3)})
    with pytest.raises(UserError, match=r"'features\.0\.bias' of torchvision:squeezenet1_1 is not in the file"):
        load({name: tensor for name, tensor in state.items() if name != "features.0.bias"})
    with pytest.raises(UserError, match=r"'features\.99\.bias' is in the file, but not in"):
        load({**state, "features.99.bias": torch.zeros(3)})


def test_mapping_by_order_renames_and_refuses_another_meaning(tmp_path: Path) -> None:
    architecture = "torchvision:resnet18"
    source = create_module(architecture, 7).state_dict()
    renamed = {f"net.{i}.{name.rpartition('.')[2]}": tensor for i, (name, tensor) in enumerate(source.items())}
    path = tmp_path / "w.pth"

    torch.save(renamed, path)
    module = create_module(architecture, 3)
    load_pretrained(module, backbone_from_file(path, architecture=architecture, mapping="order"))
    assert torch.equal(module.state_dict()["layer4.1.bn2.bias"], source["layer4.1.bn2.bias"])

    names = list(renamed)
    scale, shift = names[1], names[2]  # of the first batch norm: equal shapes
    swapped = {(shift if n == scale else scale if n == shift else n): t for n, t in renamed.items()}
    torch.save(swapped, path)
    with pytest.raises(UserError, match=r"where 'bn1\.weight' is expected"):
        load_pretrained(module, backbone_from_file(path, architecture=architecture, mapping="order"))

    torch.save(dict(list(renamed.items())[:-1]), path)
    with pytest.raises(UserError, match=rf"hold {len(source) - 1} tensors, but {architecture} has {len(source)}"):
        load_pretrained(module, backbone_from_file(path, architecture=architecture, mapping="order"))


@pytest.mark.parametrize("source", ["timm:no_such_net", "torchvision:no_such_net", "keras:vgg"])
def test_unknown_architecture_is_a_users_mistake(source: str) -> None:
    with pytest.raises(UserError):
        create_module(source, 2)


@pytest.mark.parametrize("name", sorted(CATALOG))
def test_published_parameter_count_is_that_of_the_network(name: str) -> None:
    backbone = CATALOG[name]
    assert backbone.parameters == count_parameters(create_module(backbone.architecture, 1000))


# ImageNet classes of large old buildings: bell cote, castle, church, monastery, mosque, palace, stupa.
BUILDINGS = {442, 483, 497, 663, 668, 698, 832}


@pytest.mark.demo
@pytest.mark.parametrize("name", ["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"])
def test_demo_weights_recognise_a_photo_of_a_palace(name: str) -> None:
    """The file's own head is mapped too, so a wrong order or a wrong normalisation cannot pass."""
    from PIL import Image
    from sklearn.datasets import load_sample_image

    backbone = CATALOG[name]
    module = create_module(backbone.architecture, 1000).eval()
    load_pretrained(module, backbone)
    head = find_head(module)[0]
    published = list(read_weights(backbone).values())[-2:]
    module.load_state_dict({f"{head}.weight": published[0], f"{head}.bias": published[1]}, strict=False)
    preprocess = Preprocess(image_size=backbone.image_size, mean=backbone.mean, std=backbone.std)
    photo = preprocess.normalized(preprocess.resized(Image.fromarray(load_sample_image("china.jpg"))))
    with torch.no_grad():
        assert int(module(torch.from_numpy(photo)[None]).argmax()) in BUILDINGS
