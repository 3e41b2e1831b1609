"""Accuracy control: the fewest layers go back to float that hold the allowed drop."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto
from torch import nn

from components.core.data.dataset import open_dataset
from components.core.errors import UserError
from components.core.models.inputs import Graph, InputSpec, OutputSpec
from components.core.runtime.conversion import float32_bundle
from components.core.runtime.onnx_export import export_onnx
from components.core.runtime.sessions import open_session
from components.quantize.accuracy_control import _with_followers, control_accuracy
from components.quantize.calibration import QuantizeConfig
from components.quantize.held import Held
from components.quantize.int8 import calibrate
from components.quantize.quantization import convert

IMAGES = np.random.default_rng(0).normal(size=(16, 8, 12, 12)).astype(np.float32)


def feeds():
    return [{"images": IMAGES}]


@pytest.fixture
def calibrated(tmp_path):
    """Four convolutions; the second and the fourth have one weight so large that rounding wipes out the others."""
    torch.manual_seed(0)
    layers = []
    for number in range(4):
        layer = nn.Conv2d(8, 8, 3, padding=1)
        if number in (1, 3):
            with torch.no_grad():
                layer.weight[:, 0, 0, 0] = 40.0 * (number + 1)
        layers += [layer, nn.ReLU()]
    module = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
    graph = Graph(
        module=module.eval(),
        inputs=(InputSpec(name="images", dtype="float32", shape=("batch", 8, 12, 12)),),
        outputs=(OutputSpec(name="logits", shape=("batch", 3)),),
    )
    export_onnx(graph, tmp_path / "float.onnx")
    return calibrate(tmp_path / "float.onnx", feeds, method="minmax")


@pytest.fixture(scope="module")
def small(make_model):
    return make_model("timm:test_efficientnet")


def noise_of(calibrated):
    """A stand-in for points lost: the largest error of an output, in per cent of the largest output."""
    whole = open_session(calibrated.model.SerializeToString()).run(None, feeds()[0])[0]

    def drop(content):
        found = open_session(content).run(None, feeds()[0])[0]
        return 100 * float(np.abs(found - whole).max() / np.abs(whole).max())

    return drop


def float_weights(content):
    """How many convolutions and products have float weights."""
    graph = onnx.load_from_string(content).graph
    return sum(one.data_type == TensorProto.FLOAT and len(one.dims) in (2, 4) for one in graph.initializer)


def test_the_fewest_layers_that_hold_it_go_back(calibrated):
    lines, drop = [], noise_of(calibrated)
    whole = drop(calibrated.integers().model.SerializeToString())
    found = control_accuracy(calibrated, allowed=whole / 2, drop=drop, sample=feeds(), report=lines.append)
    kept = drop(found.quantized.model.SerializeToString())
    assert kept <= whole / 2 < whole
    assert len(found.reverted) >= 1
    assert float_weights(found.quantized.model.SerializeToString()) == len(found.reverted)
    # One layer fewer of the same order is not enough.
    fewer = calibrated.integers(_with_followers(calibrated, found.reverted[:-1]))
    assert drop(fewer.model.SerializeToString()) > whole / 2
    assert (found.tries[0].reverted, found.tries[0].drop) == (0, pytest.approx(whole))
    assert len(lines) == len(found.tries)
    assert lines[0].startswith(f"0 layers in float: {whole:.2f} points lost, ")


def test_what_holds_from_the_start_is_left_alone(calibrated):
    drop = noise_of(calibrated)
    found = control_accuracy(calibrated, allowed=100.0, drop=drop, sample=feeds(), report=lambda _: None)
    assert (found.reverted, len(found.tries)) == ((), 1)
    assert found.quantized.model == calibrated.integers().model


def test_with_every_layer_in_float_the_file_answers_as_the_float_one(calibrated):
    found = control_accuracy(calibrated, allowed=0.0, drop=noise_of(calibrated), sample=feeds(), report=lambda _: None)
    assert len(found.reverted) == 5
    assert found.tries[-1].drop == 0.0
    assert {node.op_type for node in found.quantized.model.graph.node}.isdisjoint(
        {"QuantizeLinear", "DequantizeLinear"}
    )


def test_the_stage_holds_the_drop_on_validation_rows_and_records_it(
    small, write_labelled_by, store, tmp_path: Path, capsys
):
    write_labelled_by(small, tmp_path / "data")
    dataset = open_dataset(tmp_path / "data", store)
    (tmp_path / "plain").mkdir()
    plain = float32_bundle(small, tmp_path / "plain", source_digest="0" * 64)
    free = QuantizeConfig(scheme="int8", method="minmax", images=16, seed=0)
    held = Held(plain, "model", dataset, threads=1)
    assert held.rows == 60
    before = convert(plain, dataset, free, tmp_path, threads=1)
    lost = held.drop(before.graphs["model"].read_bytes())
    assert "accuracy_control" not in before.provenance
    assert lost > 0
    (tmp_path / "held").mkdir()
    bundle = convert(plain, dataset, replace(free, max_drop=0.0), tmp_path / "held", threads=1)
    record = bundle.provenance["accuracy_control"]["model"]
    assert held.drop(bundle.graphs["model"].read_bytes()) <= 0
    assert record["tries"][0] == {"reverted": 0, "drop_points": pytest.approx(lost, abs=1e-3)}
    assert (record["split"], record["rows"], record["allowed_points"]) == ("validation", 60, 0.0)
    assert len(record["reverted"]) >= 1
    fused = bundle.provenance["fused"]
    assert fused["convolutions_total"] - fused["convolutions"] == bundle.provenance["calibration"]["float_convolutions"]
    assert "layers in float" in capsys.readouterr().out


def test_without_validation_rows_it_is_refused_before_anything_is_tried(small, dataset, tmp_path):
    plain = float32_bundle(small, tmp_path, source_digest="0" * 64)
    config = QuantizeConfig(scheme="int8", method="minmax", images=16, seed=0, max_drop=1.0)
    with pytest.raises(UserError, match="int8_max_drop is measured on validation images, and there are none"):
        convert(plain, dataset, config, tmp_path, threads=1)
