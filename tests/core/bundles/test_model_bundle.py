import io
import json
import pickle
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from components.core.artifacts.manifest import publish, read_file
from components.core.bundles.model_bundle import ModelBundle, load_model, save_model
from components.core.errors import UserError
from components.core.models.architecture import Architecture, Cut, apply_surgery
from components.core.store import Store, open_store
from components.core.tasks.images.assets import ImageAssets
from components.core.tasks.images.preprocess import Preprocess
from components.core.tasks.networks import build

SOURCE = "torchvision:squeezenet1_1"
UNPRUNED = Architecture(backbone="squeezenet1_1", source=SOURCE, num_outputs=2, task="classification")
ASSETS = ImageAssets(
    preprocess=Preprocess(image_size=32, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)), labels=["cat", "dog"]
)
KEPT = (0, 2, 5, 40)
SURGERY = (
    Cut(module="features.3.squeeze", dimension="out", kept=(0, 2, 5, 11), total=16),
    Cut(module="features.3.expand1x1", dimension="in", kept=(0, 2, 5, 11), total=16),
    Cut(module="features.3.expand3x3", dimension="in", kept=(0, 2, 5, 11), total=16),
)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    return open_store(str(tmp_path / "store"))


@pytest.fixture
def bundle() -> ModelBundle:
    architecture = UNPRUNED
    torch.manual_seed(0)
    module = build(architecture)
    apply_surgery(module, SURGERY)
    return ModelBundle(
        module=module.eval(),
        architecture=architecture.with_surgery(SURGERY),
        assets=ASSETS,
    )


def test_pruned_network_comes_back_with_the_same_outputs(tmp_path: Path, store: Store, bundle: ModelBundle) -> None:
    manifest = save_model(tmp_path / "a", bundle, store, {"stage": "prune"})
    images = torch.rand(2, 3, 32, 32)
    for loaded in (load_model(tmp_path / "a", store), load_model(manifest, store)):
        assert loaded.architecture == bundle.architecture
        assert loaded.assets == bundle.assets
        assert not loaded.module.training
        with torch.no_grad():
            torch.testing.assert_close(loaded.module(images), bundle.module(images), rtol=0, atol=0)


def test_equal_networks_give_equal_digests_whatever_their_mode_and_layout(
    tmp_path: Path, store: Store, bundle: ModelBundle
) -> None:
    first = save_model(tmp_path / "a", bundle, store, {})
    bundle.module.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    assert save_model(tmp_path / "b", bundle, store, {}).digest == first.digest
    with torch.no_grad():
        next(bundle.module.parameters()).add_(1)
    assert save_model(tmp_path / "c", bundle, store, {}).digest != first.digest


def test_surgery_that_was_not_recorded_is_noticed_when_saving(
    tmp_path: Path, store: Store, bundle: ModelBundle
) -> None:
    forgetful = ModelBundle(
        module=bundle.module,
        architecture=UNPRUNED,
        assets=bundle.assets,
    )
    with pytest.raises(ValueError, match=r"'features\.3\.squeeze\.weight' has shape \(4, .* \(16, "):
        save_model(tmp_path / "a", forgetful, store, {})
    assert not (tmp_path / "a" / "manifest.json").exists()


def test_bundle_of_other_parts_is_refused_by_name(tmp_path: Path, store: Store, bundle: ModelBundle) -> None:
    manifest = save_model(tmp_path / "a", bundle, store, {})
    files: dict[str, bytes | Path] = {entry.path: read_file(manifest, entry.path, store) for entry in manifest.files}

    files["architecture.json"] = bytes(files["architecture.json"]).replace(b'"num_outputs":2', b'"num_outputs":3')  # type: ignore[arg-type]
    publish(tmp_path / "b", kind="model", files=files, metadata={}, store=store)
    with pytest.raises(
        UserError, match=r"'classifier\.3\.weight' has shape \(2, 512\) on disk, \(3, 512\) in the model"
    ):
        load_model(tmp_path / "b", store)

    files["architecture.json"] = b"{"
    publish(tmp_path / "c", kind="model", files=files, metadata={}, store=store)
    with pytest.raises(UserError, match="cannot be rebuilt"):
        load_model(tmp_path / "c", store)


def test_a_bundle_of_an_earlier_version_is_read_and_would_be_written_to_the_same_bytes(
    tmp_path: Path, store: Store, bundle: ModelBundle
) -> None:
    cuts = ",".join(
        f'{{"dimension":"{cut.dimension}","kept":[0,2,5,11],"module":"{cut.module}","total":16}}' for cut in SURGERY
    )
    files: dict[str, bytes | Path] = {
        "weights.safetensors": save(bundle.module.state_dict()),
        "architecture.json": (
            f'{{"backbone":"squeezenet1_1","format":1,"num_outputs":2,"source":"{SOURCE}",'
            f'"surgery":[{cuts}],"task":"classification"}}'
        ).encode(),
        "preprocess.json": (
            b'{"format":1,"image_size":32,"interpolation":"bilinear","mean":[0.5,0.5,0.5],"resize":"squash",'
            b'"std":[0.25,0.25,0.25]}'
        ),
        "labels.json": b'["cat","dog"]',
    }
    before = publish(tmp_path / "before", kind="model", files=files, metadata={}, store=store)
    loaded = load_model(tmp_path / "before", store)
    assert (loaded.architecture, loaded.assets) == (bundle.architecture, ASSETS)
    assert loaded.task.name == "classification"
    assert save_model(tmp_path / "now", loaded, store, {}).digest == before.digest


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("architecture.json", b"[]", "must hold an object"),
        ("architecture.json", None, r"architecture\.json"),
        ("labels.json", None, r"labels\.json is missing"),
        ("preprocess.json", b"[]", "must hold an object"),
    ],
)
def test_a_file_that_cannot_be_read_is_a_users_error(
    tmp_path: Path, store: Store, bundle: ModelBundle, name: str, content: bytes | None, message: str
) -> None:
    manifest = save_model(tmp_path / "a", bundle, store, {})
    files: dict[str, bytes | Path] = {entry.path: read_file(manifest, entry.path, store) for entry in manifest.files}
    del files[name]
    if content is not None:
        files[name] = content
    publish(tmp_path / "b", kind="model", files=files, metadata={}, store=store)
    with pytest.raises(UserError, match=rf"cannot be rebuilt: .*{message}"):
        load_model(tmp_path / "b", store)


@pytest.mark.parametrize(
    "wrong",
    [
        {"num_outputs": "2"}, {"num_outputs": -1}, {"num_outputs": 10**12}, {"num_outputs": True}, {"task": ["x"]},
        {"source": 5}, {"backbone": {}}, {"surgery": 5}, {"surgery": [5]}, {"surgery": [{"kept": 5}]}, {"sparse": 5},
        {"surgery": [{"module": "x", "dimension": "out", "kept": ["a", "b"], "total": 3}]}, {"options": 5},
        {"surgery": [{"module": "features.0", "dimension": "out", "kept": [0.5], "total": 64}]},
    ],
)  # fmt: skip
def test_an_architecture_of_another_form_is_one_line(
    tmp_path: Path, store: Store, bundle: ModelBundle, wrong: dict[str, Any]
) -> None:
    manifest = save_model(tmp_path / "a", bundle, store, {})
    files: dict[str, bytes | Path] = {entry.path: read_file(manifest, entry.path, store) for entry in manifest.files}
    files["architecture.json"] = json.dumps({**bundle.architecture.to_json(), **wrong}).encode()
    publish(tmp_path / "b", kind="model", files=files, metadata={}, store=store)
    with pytest.raises(UserError, match="cannot be rebuilt"):
        load_model(tmp_path / "b", store)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("preprocess.json", {"image_size": "32"}), ("preprocess.json", {"mean": 5}),
        ("preprocess.json", {"mean": [[1], 1, 1]}),
        ("preprocess.json", {"mean": [10**400, 1, 1]}), ("preprocess.json", {"std": ["x", 1, 1]}),
        ("preprocess.json", {"interpolation": ["bilinear"]}), ("preprocess.json", {"crop_ratio": "x"}),
        ("preprocess.json", {"levels": 5}), ("preprocess.json", {"levels": ["a", "b"]}),
        ("preprocess.json", {"levels": [0, 10**400]}), ("labels.json", 5), ("labels.json", ["a", 5]),
        ("labels.json", ["a", "x" * 301]), ("labels.json", ["a", "\x1b[2J"]), ("temperature.json", "hot"),
        ("temperature.json", 10**400), ("temperature.json", -1), ("temperature.json", [1]),
    ],
)  # fmt: skip
def test_assets_of_another_form_are_one_line(
    tmp_path: Path, store: Store, bundle: ModelBundle, name: str, wrong: Any
) -> None:
    manifest = save_model(tmp_path / "a", bundle, store, {})
    files: dict[str, bytes | Path] = {entry.path: read_file(manifest, entry.path, store) for entry in manifest.files}
    content = {**ASSETS.preprocess.to_json(), **wrong} if isinstance(wrong, dict) else wrong
    publish(tmp_path / "b", kind="model", files={**files, name: json.dumps(content).encode()}, metadata={}, store=store)
    with pytest.raises(UserError, match="cannot be rebuilt") as caught:
        load_model(tmp_path / "b", store)
    assert str(caught.value).isprintable()


def test_a_bundle_of_a_task_that_this_version_does_not_have_is_refused_by_name(
    tmp_path: Path, store: Store, bundle: ModelBundle
) -> None:
    manifest = save_model(tmp_path / "a", bundle, store, {})
    files: dict[str, bytes | Path] = {entry.path: read_file(manifest, entry.path, store) for entry in manifest.files}
    files["architecture.json"] = bytes(files["architecture.json"]).replace(b'"classification"', b'"pose"')  # type: ignore[arg-type]
    publish(tmp_path / "b", kind="model", files=files, metadata={}, store=store)
    with pytest.raises(UserError, match="task 'pose' is not available"):
        load_model(tmp_path / "b", store)


class Trap:
    """Unpickled, it leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return Path.touch, (self.path,)


def test_a_pickle_in_place_of_the_weights_is_refused_and_not_run(
    tmp_path: Path, store: Store, bundle: ModelBundle
) -> None:
    manifest = save_model(tmp_path / "a", bundle, store, {})
    files: dict[str, bytes | Path] = {entry.path: read_file(manifest, entry.path, store) for entry in manifest.files}
    trap = tmp_path / "sprung"
    buffer = io.BytesIO()
    torch.save({"classifier.weight": Trap(trap)}, buffer)
    for content in (pickle.dumps(Trap(trap)), buffer.getvalue(), b"", b"\xff" * 64):
        files["weights.safetensors"] = content
        publish(tmp_path / "b", kind="model", files=files, metadata={}, store=store)
        with pytest.raises(UserError, match=r"has no readable weights\.safetensors"):
            load_model(tmp_path / "b", store)
    assert not trap.exists()
    pickle.loads(pickle.dumps(Trap(trap)))
    assert trap.exists()


def test_a_bundle_cannot_send_its_reader_to_a_hub_or_a_folder(
    tmp_path: Path, store: Store, bundle: ModelBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("somebody opened a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    manifest = save_model(tmp_path / "a", bundle, store, {})
    files: dict[str, bytes | Path] = {entry.path: read_file(manifest, entry.path, store) for entry in manifest.files}
    document = json.loads(bytes(files["architecture.json"]))  # type: ignore[arg-type]
    for source in ("timm:hf-hub:someone/something", "timm:hf_hub:someone/x", f"timm:local-dir:{tmp_path}", "timm:../x"):
        files["architecture.json"] = json.dumps({**document, "source": source}).encode()
        publish(tmp_path / "b", kind="model", files=files, metadata={}, store=store)
        with pytest.raises(UserError, match="architecture must be"):
            load_model(tmp_path / "b", store)
