"""The ONNX bundle survives publishing, and says what is wrong with one that it cannot read."""

import json
from dataclasses import replace

import pytest

from components.core.artifacts.manifest import publish, read_manifest
from components.core.bundles.onnx_bundle import OnnxBundle, load_onnx, read_onnx, save_onnx
from components.core.bundles.release_files import serving_names
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
    files = {
        "model.onnx": b"x",
        "preprocess.json": b"{}",
        "labels.json": b"[]",
        "provenance.json": b'{"format": 1, "task": "classification"}',
    }
    publish(tmp_path / "odd", kind="onnx", files=files, metadata={}, store=store)
    with pytest.raises(UserError, match=r"cannot be read: preprocess\.json must have format 1"):
        load_onnx(tmp_path / "odd", store)


def test_several_graphs_are_files_of_their_names(bundle, store, tmp_path):
    (tmp_path / "other.onnx").write_bytes(b"more")
    two = replace(bundle, graphs={"encoder": bundle.graphs["model"], "decoder": tmp_path / "other.onnx"})
    manifest = save_onnx(tmp_path / "two", two, store)
    assert {entry.path for entry in manifest.files if entry.path.endswith(".onnx")} == {"encoder.onnx", "decoder.onnx"}
    found = load_onnx(manifest, store)
    assert {name: path.read_bytes() for name, path in found.graphs.items()} == {
        "decoder": b"more", "encoder": b"onnx bytes",
    }  # fmt: skip
    assert found.size_bytes == 14
    assert sorted(found.serving_files()) == ["decoder.onnx", "encoder.onnx", "labels.json", "preprocess.json"]


def test_a_bundle_of_an_earlier_version_is_read_and_would_be_written_to_the_same_bytes(store, tmp_path):
    files = {
        "model.onnx": b"onnx bytes",
        "preprocess.json": (
            b'{"format":1,"image_size":64,"interpolation":"bilinear","mean":[0.5,0.5,0.5],"resize":"squash",'
            b'"std":[0.5,0.5,0.5]}'
        ),
        "labels.json": '["coat","bäg"]'.encode(),
        "provenance.json": (
            b'{"backbone":"b","format":1,"fused":{"convolutions":1,"convolutions_total":1,"floating":[],"products":0,'
            b'"products_total":0},"scheme":"int8","task":"classification"}'
        ),
    }
    before = publish(tmp_path / "before", kind="onnx", files=files, metadata={}, store=store)
    found = load_onnx(tmp_path / "before", store)
    assert (found.assets, found.task.name, list(found.graphs)) == (ASSETS, "classification", ["model"])
    assert save_onnx(tmp_path / "now", found, store).digest == before.digest


FACTS = {"format": 1, "task": "classification"}


@pytest.mark.parametrize(
    ("graphs", "provenance", "changes", "message"),
    [
        ({}, FACTS, {}, "it has no .onnx file"),
        (["model.onnx"], {"task": "classification"}, {}, "provenance.json must have format 1"),
        (["model.onnx"], {**FACTS, "format": 2}, {}, "provenance.json must have format 1"),
        (["model.onnx"], [1], {}, "provenance.json must have format 1"),
        (["model.onnx"], {"format": 1}, {}, "task 'None' is not available"),
        (["model.onnx"], {**FACTS, "task": "pose"}, {}, "task 'pose' is not available"),
        (["model.onnx"], FACTS, {"labels.json": b"{}"}, "labels must be a list of class names"),
        (["model.onnx"], FACTS, {"preprocess.json": b"[]"}, "preprocess.json must hold an object"),
    ],
)
def test_what_cannot_be_read_is_named(graphs, provenance, changes, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        read_onnx({name: tmp_path / name for name in graphs}, provenance, {**ASSETS.to_files(), **changes})


def test_a_release_serves_graphs_and_assets_and_neither_evidence_nor_signatures():
    evidence = [
        "SHA256SUMS", "card.md", "decision.json", "evaluation.json", "provenance.json", "retraining.json",
        "sources.json", "SHA256SUMS.minisig",
    ]  # fmt: skip
    assert serving_names(["preprocess.json", "model.onnx", *evidence, "labels.json"]) == [
        "labels.json", "model.onnx", "preprocess.json",
    ]  # fmt: skip
    of_other_tasks = ["decoder.onnx", "encoder.onnx", "palette.json", "vocabulary.model"]
    assert serving_names([*reversed(of_other_tasks), *evidence]) == of_other_tasks
