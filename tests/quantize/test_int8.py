"""The integer graph: everything fused, small, deterministic, close to the float one, and its biases corrected."""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from kfp import dsl
from onnx import TensorProto, numpy_helper

from components.core.artifacts.manifest import read_manifest
from components.core.bundles.model_bundle import save_model
from components.core.bundles.onnx_bundle import load_onnx
from components.core.errors import UserError
from components.core.runtime.conversion import float32_bundle
from components.core.runtime.integer_graph import with_integers
from components.core.runtime.released import load_release
from components.core.runtime.sessions import open_session
from components.quantize.bias_correction import correct_biases, give_every_layer_a_bias
from components.quantize.calibration import QuantizeConfig
from components.quantize.int8 import calibrate
from components.quantize.observe import activation_ranges
from components.quantize.quantization import convert

CONFIG = QuantizeConfig(scheme="int8", method="percentile", images=48, seed=0)


@pytest.fixture(scope="module")
def lite0_pair(lite0, dataset, tmp_path_factory):
    """(int8, float32) bundles of EfficientNet-Lite0 with random weights, converted once for this module."""
    folder = tmp_path_factory.mktemp("lite0")
    (folder / "plain").mkdir()
    plain = float32_bundle(lite0, folder / "plain", source_digest="0" * 64)
    return convert(plain, dataset, CONFIG, folder, threads=1), plain


def test_all_convolutions_but_the_first_three_and_the_classifier_run_as_integers(lite0_pair):
    provenance = lite0_pair[0].provenance
    fused = provenance["fused"]
    assert (fused["convolutions"], fused["convolutions_total"]) == (46, 49)
    assert (fused["products"], fused["products_total"]) == (1, 1)
    assert len(fused["floating"]) == provenance["calibration"]["float_convolutions"] == 3


def test_the_file_is_three_and_a_half_times_smaller_and_holds_no_float_weights(lite0_pair):
    int8_bundle, plain = lite0_pair
    assert plain.size_bytes / int8_bundle.size_bytes > 3.5
    constants = onnx.load(int8_bundle.graphs["model"]).graph.initializer
    floats = [tensor for tensor in constants if tensor.data_type == TensorProto.FLOAT]
    # What is left in float are scales, one per channel at most, and the first three convolutions.
    assert max(np.prod(tensor.dims) for tensor in floats) <= 1280
    assert sum(np.prod(t.dims) for t in constants if t.data_type == TensorProto.INT8) > 3_300_000


def test_neither_file_tells_where_it_was_made(lite0_pair):
    for bundle in lite0_pair:
        model = onnx.load(bundle.graphs["model"])
        for tensor in model.graph.initializer:
            name = tensor.name
            tensor.Clear()  # any three letters turn up somewhere in megabytes of weights
            tensor.name = name
        data = model.SerializeToString()
        for trace in (b"site-packages", b".py", b"/tmp", b"/home", sys.prefix.encode(), b"stack_trace"):
            assert trace not in data


def test_the_same_network_and_images_give_the_same_bytes(lite0_pair, dataset, lite0):
    from components.quantize.calibration import Division, training_feeds
    from components.quantize.quantization import _without_metadata

    path = lite0_pair[1].graphs["model"]
    source = path.with_name("again.onnx")
    source.write_bytes(_without_metadata(path))
    division = Division.of(dataset.rows("train"), CONFIG.images, CONFIG.seed)
    digests = {
        hashlib.sha256(
            calibrate(
                source,
                lambda: training_feeds(dataset, lite0.task, lite0.assets, division, calibrate=True),
                method="percentile",
            )
            .integers()
            .model.SerializeToString(deterministic=True)
        ).hexdigest()
        for _ in range(2)
    }
    assert len(digests) == 1


def test_the_integer_network_follows_the_float_one_on_unseen_images(lite0_pair):
    close = lite0_pair[0].provenance["agreement"]
    assert close["rows"] == 48
    # Random weights are the hard case: a trained network of this kind stays 19 dB above the error.
    assert close["signal_to_noise_db"] > 5
    assert close["argmax"] > 0.8


def test_the_file_alone_knows_preprocessing_labels_and_takes_any_batch(lite0_pair, lite0):
    release = load_release(lite0_pair[0].graphs["model"].read_bytes())
    assert release.assets == lite0.assets
    assert release.facts["scheme"] == "int8"
    for batch in (1, 5):
        shape = release.session.run(None, {"images": np.zeros((batch, 3, 32, 32), np.float32)})[0].shape
        assert shape == (batch, 3)


def test_a_wrong_scale_of_the_weights_is_made_good_by_the_biases(toy_graph):
    """Weights rounded to very coarse steps shift the means; corrected biases bring them back."""
    model = onnx.ModelProto()
    model.CopyFrom(toy_graph)
    give_every_layer_a_bias(model)
    rng = np.random.default_rng(1)
    images = (0.5 + rng.random((64, 3, 8, 8))).astype(np.float32)

    def batches():
        return ({"images": images[start : start + 16]} for start in range(0, 64, 16))

    ranges = activation_ranges(model, batches, "minmax", percentile=100.0, threads=1)
    quantized = with_integers(model, ranges, floating=[])
    for tensor in quantized.graph.initializer:
        if tensor.name == "kernel_quantized":
            coarse = np.floor(numpy_helper.to_array(tensor) / 16.0) * 16
            tensor.CopyFrom(numpy_helper.from_array(coarse.astype(np.int8), tensor.name))
    expected = open_session(toy_graph.SerializeToString()).run(None, {"images": images})[0].mean(axis=0)

    def shift():
        found = open_session(quantized.SerializeToString()).run(None, {"images": images})[0].mean(axis=0)
        return np.abs(found - expected).max()

    before = shift()
    assert correct_biases(quantized, model, batches, threads=1) == 2
    # What is left is the second layer seeing inputs behind a ReLU that the first one's rounding changed.
    assert shift() < 0.15 * before


def test_a_layer_without_bias_gets_one_of_zeros(toy_graph):
    model = onnx.ModelProto()
    model.CopyFrom(toy_graph)
    give_every_layer_a_bias(model)
    assert [len(node.input) for node in model.graph.node if node.op_type in ("Conv", "Gemm")] == [3, 3]
    images = np.ones((2, 3, 8, 8), np.float32)
    before, after = (open_session(m.SerializeToString()).run(None, {"images": images})[0] for m in (toy_graph, model))
    np.testing.assert_allclose(before, after, rtol=1e-5)


def run_component(folder: Path, dataset_path: Path, model_path: Path, **parameters):
    from components.quantize.component import quantize

    outputs = {
        "quantized": dsl.Model(uri=str(folder / "quantized")),
        "metrics": dsl.Metrics(uri=str(folder / "metrics")),
        "page": dsl.HTML(uri=str(folder / "page.html")),
    }
    quantize.python_func(
        dataset=dsl.Dataset(uri=str(dataset_path)), model=dsl.Model(uri=str(model_path)), **outputs, **parameters
    )
    return outputs


@pytest.mark.parametrize("scheme", ["int8", "float32"])
def test_the_component_publishes_bundle_metrics_and_page(scheme, tmp_path, store, dataset_path, make_model):
    model = make_model("timm:test_resnet")
    manifest = save_model(tmp_path / "model", model, store, {})
    recipe = {"name": "r", "scheme": scheme}
    outputs = run_component(tmp_path, dataset_path, tmp_path / "model", recipe=recipe, calibration_images=32)
    bundle = load_onnx(outputs["quantized"].path, store)
    assert bundle.provenance["source_model"] == manifest.digest
    assert bundle.provenance["complexity"]["parameters"] == 372_979
    assert outputs["quantized"].metadata["scheme"] == bundle.provenance["scheme"] == scheme
    page = (tmp_path / "page.html").read_text()
    if scheme == "int8":
        assert outputs["metrics"].metadata["integer_convolutions"] == outputs["metrics"].metadata["convolutions"] > 10
        assert "convolutions run as integers" in page
        assert bundle.provenance["calibration"]["split"] == "train"
    else:
        assert "calibration" not in bundle.provenance
        assert bundle.provenance["parity"]["relative_difference"] < 1e-3
        assert "Exported as float32" in page
    text = json.dumps(read_manifest(outputs["quantized"].path).to_json()) + json.dumps(bundle.provenance)
    assert str(tmp_path) not in text


def test_a_model_of_other_classes_is_refused_before_any_work(dataset, lite0_pair, tmp_path):
    from dataclasses import replace

    plain = lite0_pair[1]
    other = replace(plain, assets=replace(plain.assets, labels=["a", "b", "c"]))
    with pytest.raises(UserError, match=r"the model predicts 3 classes \(a, b, c\), the data set has 3 \(rows"):
        convert(other, dataset, CONFIG, tmp_path, threads=1)
    assert not list(tmp_path.iterdir())
