"""Temperature scaling: the fit against a search by brute force, and a release that carries it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from kfp import dsl

from components.core.artifacts.manifest import read_manifest
from components.core.bundles.model_bundle import ModelBundle, save_model
from components.core.bundles.onnx_bundle import OnnxBundle, load_onnx
from components.core.data.dataset import open_dataset
from components.core.data.reading import read_batches
from components.core.errors import UserError
from components.core.runtime.conversion import float32_bundle
from components.core.runtime.metadata import read_metadata
from components.core.store import Store
from components.core.tasks import get_task
from components.quantize.component import quantize
from components.quantize.temperature import check_scalable, fit_temperature, with_temperature


def negative_log_likelihood(logits: np.ndarray, labels: np.ndarray, temperature: float) -> float:
    """−mean log softmax(z / T)[y], written out."""
    scaled = logits.astype(np.float64) / temperature
    chances = np.exp(scaled) / np.exp(scaled).sum(axis=1, keepdims=True)
    return float(-np.log(chances[np.arange(len(labels)), labels]).mean())


def answers(rows: int, classes: int, sharpened: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits times `sharpened`, and labels drawn by the probabilities that the logits stated before."""
    rng = np.random.default_rng(seed)
    honest = rng.normal(0, 2, (rows, classes))
    chances = np.exp(honest) / np.exp(honest).sum(axis=1, keepdims=True)
    return (sharpened * honest).astype(np.float32), (chances.cumsum(axis=1) < rng.random((rows, 1))).sum(axis=1)


@pytest.mark.parametrize(("rows", "classes", "sharpened"), [(50, 2, 3.0), (400, 10, 0.2), (400, 3, 40.0)])
def test_the_temperature_is_where_a_search_by_brute_force_finds_the_least_loss(rows, classes, sharpened):
    logits, labels = answers(rows, classes, sharpened, seed=rows)
    grid = sharpened * np.geomspace(0.2, 5, 4001)
    losses = [negative_log_likelihood(logits, labels, temperature) for temperature in grid]
    best = grid[int(np.argmin(losses))]
    assert grid[0] < best < grid[-1]
    fitted = fit_temperature(logits, labels)
    assert fitted.temperature == pytest.approx(best, rel=1e-3)
    assert fitted.rows == rows


def test_what_the_logits_were_multiplied_by_is_found_again():
    assert fit_temperature(*answers(20_000, 5, 3.0, seed=1)).temperature == pytest.approx(3.0, rel=0.03)


def test_a_class_that_is_ruled_out_counts_for_nothing():
    logits, labels = answers(300, 4, 2.0, seed=2)
    ruled_out = np.concatenate([logits, np.full((300, 1), -np.inf, np.float32)], axis=1)
    assert fit_temperature(ruled_out, labels) == fit_temperature(logits, labels)
    assert "ruled out" in fit_temperature(ruled_out, np.full(300, 4)).why


def test_huge_logits_do_not_overflow():
    logits, labels = answers(300, 4, 1.0, seed=3)
    small, huge = fit_temperature(logits, labels).temperature, fit_temperature(1e4 * logits + 1e6, labels).temperature
    assert small is not None
    assert huge == pytest.approx(1e4 * small, rel=0.02)


@pytest.mark.parametrize(("labels", "why"), [([0, 0, 1], "answered rightly"), ([1, 1, 0], "no more than chance")])
def test_where_no_temperature_is_best_none_is_given(labels, why):
    logits = np.array([[2, 0], [1, 0], [0, 1]], np.float32)
    fitted = fit_temperature(logits, np.array(labels))
    assert fitted.temperature is None
    assert why in fitted.why


@pytest.fixture(scope="module")
def model(make_model: Callable[..., ModelBundle]) -> ModelBundle:
    return make_model("timm:test_resnet")


@pytest.fixture
def plain(model, tmp_path: Path) -> OnnxBundle:
    (tmp_path / "plain").mkdir()
    return float32_bundle(model, tmp_path / "plain", source_digest="0" * 64)


@pytest.fixture
def labelled(model, write_labelled_by, tmp_path: Path) -> Path:
    write_labelled_by(model, tmp_path / "labelled")
    return tmp_path / "labelled"


def test_the_files_carry_what_fits_their_own_logits_on_validation_rows(plain, labelled, store, tmp_path):
    dataset = open_dataset(labelled, store)
    before = {name: path.read_bytes() for name, path in plain.graphs.items()}
    scaled = with_temperature(plain, dataset, tmp_path, threads=1)
    task, session = plain.task, ort.InferenceSession(scaled.graphs["model"])
    batches = list(read_batches(dataset, "validation", task.transform(plain.assets), batch_size=60))
    logits = session.run(["logits"], batches[0].inputs)[0]
    expected = fit_temperature(logits, batches[0].targets).temperature
    assert expected is not None
    assert scaled.assets.temperature == expected
    assert scaled.provenance["temperature"] == {"value": expected, "split": "validation", "rows": 60}
    assert json.loads(scaled.assets.to_files()["temperature.json"]) == expected
    inside = read_metadata(session.get_modelmeta().custom_metadata_map)
    assert task.read_metadata(inside, {}) == scaled.assets == task.read_assets(scaled.assets.to_files())
    # The network and its answers are the same, and so is the file that it was made from.
    assert {name: path.read_bytes() for name, path in plain.graphs.items()} == before
    np.testing.assert_array_equal(logits, ort.InferenceSession(plain.graphs["model"]).run(None, batches[0].inputs)[0])


def test_a_temperature_that_is_no_number_above_0_is_refused_by_its_value(plain):
    files = replace(plain.assets, temperature=1.5).to_files()
    for wrong in (b"0", b"-1", b'"hot"', b"true", b"NaN"):
        with pytest.raises(ValueError, match="temperature must be a number above 0, got"):
            plain.task.read_assets({**files, "temperature.json": wrong})


def run_quantize(model: ModelBundle, data: Path, store: Store, folder: Path, **asked: Any) -> OnnxBundle:
    folder.mkdir()
    save_model(folder / "model", model, store, {})
    types = {"quantized": dsl.Model, "metrics": dsl.Metrics, "page": dsl.HTML}
    outputs = {name: kind(uri=str(folder / name)) for name, kind in types.items()}
    inputs = {"dataset": dsl.Dataset(uri=str(data)), "model": dsl.Model(uri=str(folder / "model"))}
    quantize.python_func(**inputs, **outputs, recipe={"name": "r", "scheme": "int8", **asked}, calibration_images=20)
    return load_onnx(read_manifest(folder / "quantized"), store)


def test_the_stage_fits_one_only_where_it_is_asked_for(model, labelled, store, tmp_path):
    off = run_quantize(model, labelled, store, tmp_path / "off")
    on = run_quantize(model, labelled, store, tmp_path / "on", temperature_scaling=True)
    assert sorted(off.serving_files()) == ["labels.json", "model.onnx", "preprocess.json"]
    assert "temperature" not in off.provenance
    assert sorted(on.serving_files()) == ["labels.json", "model.onnx", "preprocess.json", "temperature.json"]
    assert on.provenance["temperature"]["value"] == on.assets.temperature
    temperature = on.assets.temperature
    assert f"Logits are divided by {temperature:g} before softmax" in (tmp_path / "on" / "page").read_text()


def test_it_is_refused_before_anything_is_done_where_it_cannot_be(dataset_path, store, model, tmp_path):
    with pytest.raises(UserError, match="fitted on validation images, and there are none"):
        run_quantize(model, dataset_path, store, tmp_path / "none", temperature_scaling=True)
    for name in ("segmentation", "translation"):
        with pytest.raises(UserError, match=f"not available for {get_task(name).title}, which predicts no"):
            check_scalable(get_task(name), open_dataset(dataset_path, store))
