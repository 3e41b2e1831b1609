"""The float32 export of a model: made once for its weights, verified, and made again when it cannot be used."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch

from components.core.artifacts.manifest import Manifest
from components.core.bundles.model_bundle import ModelBundle, save_model
from components.core.bundles.onnx_bundle import OnnxBundle
from components.core.models.architecture import Architecture
from components.core.runtime import conversion
from components.core.runtime.conversion import float32_bundle, float32_of
from components.core.runtime.serving import graph_calls, graph_inputs
from components.core.store import Store, cache_key, open_store
from components.core.store.contents.blobs import blob_key
from components.core.tasks.images.assets import ImageAssets
from components.core.tasks.images.preprocess import Preprocess
from components.core.tasks.networks import build
from components.evaluate.bundles import open_as_onnx

ASSETS = ImageAssets(preprocess=Preprocess(image_size=32, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)), labels=["a", "b"])


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    return open_store(str(tmp_path / "store"))


def network(seed: int) -> ModelBundle:
    torch.manual_seed(seed)
    architecture = Architecture(backbone="tiny", source="timm:test_vit", num_outputs=2, task="classification")
    return ModelBundle(module=build(architecture).eval(), architecture=architecture, assets=ASSETS)


def saved_model(folder: Path, store: Store, seed: int = 0) -> Manifest:
    return save_model(folder, network(seed), store, {})


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> OnnxBundle:
    """One real export, which takes seconds."""
    folder = tmp_path_factory.mktemp("exported")
    return float32_bundle(network(0), folder, source_digest="0" * 64)


@pytest.fixture
def exports(monkeypatch: pytest.MonkeyPatch, exported: OnnxBundle) -> list[str]:
    """The digest of each model that is exported, in order; what is exported is always the same file."""
    made: list[str] = []

    def stand_in(bundle: ModelBundle, folder: Path, *, source_digest: str) -> OnnxBundle:
        made.append(source_digest)
        return replace(exported, provenance={**exported.provenance, "source_model": source_digest})

    monkeypatch.setattr(conversion, "float32_bundle", stand_in)
    return made


def test_a_network_is_exported_once_per_set_of_weights(tmp_path, store, exports):
    first, other = saved_model(tmp_path / "first", store), saved_model(tmp_path / "other", store, seed=1)
    bundles = [float32_of(manifest, store) for manifest in (first, first, other, first)]
    assert exports == [first.digest, other.digest]
    assert bundles[1].provenance == bundles[0].provenance != bundles[2].provenance
    assert bundles[0].provenance["source_model"] == first.digest
    assert bundles[0].assets == ASSETS
    assert bundles[0].graphs["model"].read_bytes() == bundles[3].graphs["model"].read_bytes()


def test_two_evaluations_and_a_release_of_the_same_weights_take_one_export(tmp_path, store, exports):
    manifest = saved_model(tmp_path / "model", store)
    validation, test = (open_as_onnx(tmp_path / "model", store) for _ in range(2))
    release = float32_of(manifest, store)
    assert exports == [manifest.digest]
    files = {bundle.graphs["model"].read_bytes() for bundle in (validation.bundle, test.bundle, release)}
    assert len(files) == 1


def test_the_file_computes_what_the_network_computes_and_is_the_same_when_it_is_remembered(tmp_path, store):
    manifest = saved_model(tmp_path / "model", store)
    made, remembered = float32_of(manifest, store), float32_of(manifest, store)
    assert remembered.graphs["model"].read_bytes() == made.graphs["model"].read_bytes()
    images = np.random.default_rng(3).standard_normal((3, 3, 32, 32), dtype=np.float32)
    with torch.inference_mode():
        expected = network(0).module(torch.from_numpy(images)).numpy()
    found = ort.InferenceSession(remembered.graphs["model"].read_bytes()).run(None, {"images": images})[0]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_other_code_exports_again(tmp_path, store, exports, monkeypatch):
    manifest = saved_model(tmp_path / "model", store)
    float32_of(manifest, store)
    monkeypatch.setattr(conversion, "digest_of", lambda parts: hashlib.sha256(b"changed").hexdigest())
    float32_of(manifest, store)
    assert exports == [manifest.digest] * 2


def only_key(store: Store, tmp_path: Path) -> str:
    (record,) = (tmp_path / "store" / "results" / "float32").glob("*.json")
    return record.stem


@pytest.mark.parametrize("damage", ["no file", "no manifest", "no json"])
def test_an_export_that_cannot_be_read_is_made_again(tmp_path, store, exports, damage, capsys, monkeypatch):
    manifest = saved_model(tmp_path / "model", store)
    bundle = float32_of(manifest, store)
    digest = hashlib.sha256(bundle.graphs["model"].read_bytes()).hexdigest()
    key, blob = only_key(store, tmp_path), tmp_path / "store" / blob_key(digest)
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "another-machine"))
    if damage == "no file":
        blob.unlink()
    elif damage == "no manifest":
        store.results.save("float32", key, {"manifest": {"format": 9}})
    else:
        (tmp_path / "store" / "results" / "float32" / f"{key}.json").write_text("{")
    again = float32_of(manifest, store)
    assert exports == [manifest.digest] * 2
    assert "cannot be used, so it is made again" in capsys.readouterr().out
    assert hashlib.sha256(again.graphs["model"].read_bytes()).hexdigest() == digest


def test_the_bundle_says_what_each_graph_takes_and_an_old_one_takes_what_its_network_takes(exported):
    bundle = replace(exported, provenance=dict(exported.provenance))
    assert graph_inputs(bundle, "model") == (ASSETS.inputs, {})
    described = bundle.provenance.pop("graphs")
    assert described["model"]["inputs"][0]["shape"] == ["batch", 3, 32, 32]
    assert graph_inputs(bundle, "model") == (ASSETS.inputs, {})
    graph_calls(bundle, batch=5, threads=1)()


def test_the_record_is_kept_under_the_digests_of_weights_and_code(tmp_path, store, exports, monkeypatch):
    monkeypatch.setattr(conversion, "digest_of", lambda parts: "c" * 64)
    manifest = saved_model(tmp_path / "model", store)
    float32_of(manifest, store)
    wanted = cache_key(component="float32", code="c" * 64, parameters={}, inputs={"model": manifest.digest})
    assert only_key(store, tmp_path) == wanted
