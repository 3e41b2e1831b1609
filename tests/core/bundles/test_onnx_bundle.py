"""The ONNX bundle survives publishing, and says what is wrong with one that it cannot read."""

import json

import pytest

from components.core.artifacts.manifest import publish, read_manifest
from components.core.bundles.onnx_bundle import OnnxBundle, load_onnx, save_onnx
from components.core.errors import UserError
from components.core.store import open_store
from components.core.tasks.images.assets import ImageAssets
from components.core.tasks.images.preprocess import Preprocess


ASSETS = ImageAssets(
    preprocess=Preprocess(image_size=64, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)), labels=["coat", "bäg"]
)


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    return open_store(str(tmp_path / "store"))


@pytest.fixture
def bundle(tmp_path) -> OnnxBundle:
    (tmp_path / "some.onnx").write_bytes(b"onnx bytes")
    return OnnxBundle(
        graphs={"model": tmp_path / "some.onnx"},
        assets=ASSETS,
        provenance={"task": "classification", "scheme": "int8", "complexity": {"parameters": 7, "macs": 9}},
    )


def test_a_bundle_comes_back_as_it_was(bundle, store, tmp_path):
    manifest = save_onnx(tmp_path / "artifact", bundle, store, {"scheme": "int8"})
    found = load_onnx(tmp_path / "artifact", store)
    assert {name: path.read_bytes() for name, path in found.graphs.items()} == {"model": b"onnx bytes"}
    assert (found.assets, found.provenance) == (bundle.assets, bundle.provenance)
    assert found.serving_files() == {"model.onnx": b"onnx bytes", **ASSETS.to_files()}
    assert found.size_bytes == 10
    assert manifest.metadata == {"scheme": "int8"}
    assert {entry.path for entry in manifest.files} == {
        "model.onnx", "preprocess.json", "labels.json", "provenance.json",
    }  # fmt: skip
    assert load_onnx(manifest, store).assets == bundle.assets


def test_equal_bundles_have_equal_digests(bundle, store, tmp_path):
    digests = {save_onnx(tmp_path / name, bundle, store).digest for name in ("a", "b")}
    assert len(digests) == 1
    assert str(tmp_path) not in json.dumps(read_manifest(tmp_path / "a").to_json())


def test_another_kind_or_a_missing_file_is_named(bundle, store, tmp_path):
    publish(tmp_path / "model", kind="model", files={"weights.safetensors": b""}, metadata={}, store=store)
    with pytest.raises(UserError, match="expected a 'onnx' artifact, got 'model'"):
        load_onnx(tmp_path / "model", store)
    publish(tmp_path / "half", kind="onnx", files={"model.onnx": b"x"}, metadata={}, store=store)
    with pytest.raises(UserError, match=r"no file 'provenance\.json'"):
        load_onnx(tmp_path / "half", store)


def test_unreadable_preprocessing_is_a_users_error(bundle, store, tmp_path):
    files = {"model.onnx": b"x", "preprocess.json": b"{}", "labels.json": b"[]", "provenance.json": b'{"format": 1, "task": "classification"}'}
    publish(tmp_path / "odd", kind="onnx", files=files, metadata={}, store=store)
    with pytest.raises(UserError, match=r"cannot be read: preprocess\.json must have format 1"):
        load_onnx(tmp_path / "odd", store)
