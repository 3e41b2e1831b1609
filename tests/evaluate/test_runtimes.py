"""A model in every runtime that is installed: what it computes there, how fast, and what is said of it."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from small_releases import classifier, segmenter

from components.core.budget import Budget
from components.core.bundles.onnx_bundle import OnnxBundle
from components.core.bundles.release_folder import read_release
from components.core.data.dataset import open_dataset, write_dataset
from components.core.evaluation.document import Evaluation, encode_evaluation
from components.core.runtime import runtimes
from components.core.runtime.runtimes import ONNXRUNTIME, Runtime, other_runtimes
from components.core.runtime.sessions import SessionError
from components.core.tasks import get_task
from components.core.tasks.segmentation.masks import encode
from components.evaluate.comparison import EvaluateConfig, evaluate_pair
from components.evaluate.runtimes import measure_runtimes
from pipelines.cli.measure_command import measure

ROUNDS = {1: 8, 4: 8}
needs_openvino = pytest.mark.openvino


class Changed:
    """onnxruntime's session with other answers."""

    def __init__(self, session: Any, change: Callable[[np.ndarray], np.ndarray]) -> None:
        self.session, self.change = session, change
        self.get_inputs, self.get_outputs = session.get_inputs, session.get_outputs

    def run(self, names: Any, feed: Any) -> list[np.ndarray]:
        return [self.change(value) for value in self.session.run(names, feed)]


def runtime(change: Callable[[np.ndarray], np.ndarray], name: str = "Another") -> Runtime:
    return Runtime(
        name=name, version="9.9", open=lambda path, **facts: Changed(ONNXRUNTIME.open(path, **facts), change)
    )


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Has these runtimes installed beside onnxruntime."""

    def install(*others: Runtime) -> None:
        monkeypatch.setattr("components.evaluate.runtimes.other_runtimes", lambda: others)

    return install


def test_without_another_runtime_nothing_is_measured_and_the_document_is_as_before(make_bundle, write_test_split):
    assert other_runtimes() == ()
    assert measure_runtimes(make_bundle("sees"), None, "test", threads=1, rounds=ROUNDS) == ()


def test_only_what_is_released_is_measured(dataset, opened, installed, write_test_split):
    installed(runtime(np.copy))
    config = EvaluateConfig(split="validation", threads=1, latency_rounds=3, budget=Budget())
    assert evaluate_pair(dataset, opened("a"), opened("b"), config).runtimes == ()
    tested = evaluate_pair(write_test_split("data"), opened("a"), opened("b"), replace(config, split="test"))
    ours, theirs = tested.runtimes
    assert (ours.name, ours.difference, ours.speedups) == ("onnxruntime", None, ())
    assert (theirs.name, theirs.version, theirs.difference) == ("Another", "9.9", 0.0)
    assert (theirs.computes_the_same, theirs.agreement, theirs.compared_rows) == (True, 1.0, 60)
    assert [one.batch for one in theirs.latency] == [one.batch for one in theirs.speedups] == [1, 32]
    assert Evaluation.from_json(json.loads(encode_evaluation(tested))) == tested


@pytest.mark.parametrize(
    ("change", "difference", "same", "agreement"),
    [
        # Four per cent of each output are four per cent of the largest; no decision changes.
        (lambda logits: 1.04 * logits, 0.04, True, 1.0),
        (lambda logits: 1.06 * logits, 0.06, False, 1.0),
        # Classes in another order: the third of the images whose class is in the middle is named as before.
        (lambda logits: logits[:, ::-1], None, False, 1 / 3),
        (lambda logits: np.where(logits > -9, np.nan, logits), None, False, None),
    ],
    ids=["rounding", "too far", "other decisions", "no numbers"],
)
def test_answers_are_compared_and_not_assumed(
    make_bundle, write_test_split, installed, change, difference, same, agreement
):
    installed(runtime(change))
    _, found = measure_runtimes(make_bundle("sees"), write_test_split("data"), "test", threads=1, rounds=ROUNDS)
    assert found.computes_the_same is same
    if difference is not None:
        assert found.difference == pytest.approx(difference, rel=1e-5)
    if agreement is not None:
        assert found.agreement == pytest.approx(agreement)
    assert found.latency  # its time is shown, whatever it computes


def test_a_runtime_that_cannot_run_the_model_is_a_row_with_the_reason(make_bundle, installed):
    def fail(path: Path, **facts: Any) -> Any:
        raise SessionError("Another cannot open model.onnx: no such operator")

    installed(Runtime(name="Another", version="9.9", open=fail), runtime(np.copy, "Third"))
    ours, broken, third = measure_runtimes(make_bundle("sees"), None, "test", threads=1, rounds=ROUNDS)
    assert (broken.refused, broken.latency) == ("Another cannot open model.onnx: no such operator", ())
    assert not broken.computes_the_same
    assert ours.latency
    assert third.speedups


def test_calls_of_varying_size_are_refused_by_name(make_bundle, installed, monkeypatch):
    installed(runtime(np.copy))
    bundle = make_bundle("sees")
    monkeypatch.setattr(type(bundle.task), "timed_units", "pieces")
    ours, theirs = measure_runtimes(bundle, None, "test", threads=1, rounds=ROUNDS)
    assert "many steps of growing size" in theirs.refused
    assert ours.refused == ""


@pytest.fixture
def released(tmp_path: Path) -> Callable[[dict[str, bytes]], OnnxBundle]:
    def write(files: dict[str, bytes]) -> OnnxBundle:
        for name, content in files.items():
            (tmp_path / name).write_bytes(content)
        return read_release(tmp_path)

    return write


@needs_openvino
@pytest.mark.parametrize("files", [classifier(["a", "b", "c"]), segmenter()], ids=["classifier", "segmenter"])
def test_openvino_computes_what_onnxruntime_does(released, openvino, files):
    _, theirs = measure_runtimes(released(files), None, "test", threads=1, rounds=ROUNDS)
    assert (theirs.name, theirs.version, theirs.refused) == ("OpenVINO", openvino, "")
    assert theirs.computes_the_same
    assert theirs.difference < 1e-5
    assert [one.batch for one in theirs.latency] == [1, 4]
    assert all(one.low <= one.ratio <= one.high for one in theirs.speedups)


@needs_openvino
def test_openvino_decides_as_onnxruntime_on_the_rows_of_the_split(make_bundle, write_test_split, openvino):
    _, theirs = measure_runtimes(make_bundle("sees"), write_test_split("data"), "test", threads=1, rounds=ROUNDS)
    assert (theirs.agreement, theirs.compared_rows) == (1.0, 60)


@needs_openvino
def test_images_of_any_size_are_decided_on_pixel_by_pixel(released, store, tmp_path, openvino, monkeypatch):
    rows = []
    for number, size in enumerate([(8, 8), (12, 20), (17, 9)]):
        rng, buffer = np.random.default_rng(number), io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(buffer, "PNG")
        mask, digest = encode(rng.integers(0, 2, size).astype(np.uint8)), sha256(buffer.getvalue()).hexdigest()
        rows.append({"image": buffer.getvalue(), "mask": mask, "digest": digest, "source": str(number)})
    rows.sort(key=lambda row: row["digest"])
    format_, classes = get_task("segmentation").rows, ["ground", "pole"]
    (tmp_path / "data").mkdir()
    write_dataset(tmp_path / "data", rows=format_, classes=classes, splits={"test": rows}, store=store)
    bundle, data = released(segmenter()), open_dataset(tmp_path / "data", store)
    _, theirs = measure_runtimes(bundle, data, "test", threads=1, rounds=ROUNDS)
    assert (theirs.refused, theirs.compared_rows) == ("", 3)
    assert theirs.agreement > 0.99
    # Of the other class everywhere no pixel is the same.
    monkeypatch.setattr("components.evaluate.runtimes.other_runtimes", lambda: (runtime(lambda logits: -logits),))
    _, negated = measure_runtimes(bundle, data, "test", threads=1, rounds=ROUNDS)
    assert negated.agreement == 0


def quantized_convolution(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """A 1×1 convolution in integers as releases have them: uint8 activations, int8 weights with a scale per channel.

    Gives what it computes, in numpy: y = s·Σ (q − z)·w·sₖ with q = round(x/s) + z in 0 … 255, quantized once more.
    """
    rng = np.random.default_rng(0)
    weights = rng.integers(-63, 64, (16, 8, 1, 1)).astype(np.int8)
    scales = rng.uniform(0.005, 0.02, 16).astype(np.float32)
    (s_in, z_in), (s_out, z_out) = (np.float32(0.02), np.uint8(110)), (np.float32(0.05), np.uint8(128))
    constants = {
        "weights": weights, "scales": scales, "zeros": np.zeros(16, np.int8),
        "s_in": s_in, "z_in": z_in, "s_out": s_out, "z_out": z_out,
    }  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", ["images", "s_in", "z_in"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s_in", "z_in"], ["x"]),
        helper.make_node("DequantizeLinear", ["weights", "scales", "zeros"], ["w"], axis=0),
        helper.make_node("Conv", ["x", "w"], ["y"]),
        helper.make_node("QuantizeLinear", ["y", "s_out", "z_out"], ["p"]),
        helper.make_node("DequantizeLinear", ["p", "s_out", "z_out"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "main",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 8, 4, 4])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 16, 4, 4])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)

    def quantized(values: np.ndarray, scale: np.float32, zero: np.uint8) -> np.ndarray:
        return (np.clip(np.rint(values / scale) + int(zero), 0, 255) - int(zero)).astype(np.float64)

    def reference(images: np.ndarray) -> np.ndarray:
        sums = np.einsum("nchw,kc->nkhw", quantized(images, s_in, z_in), weights[:, :, 0, 0].astype(np.float64))
        return s_out * quantized(s_in * sums * scales[:, None, None], s_out, z_out)

    return reference


@needs_openvino
def test_openvino_computes_an_integer_convolution_as_its_formula_says(tmp_path, openvino):
    reference = quantized_convolution(tmp_path / "model.onnx")
    images = np.random.default_rng(1).normal(size=(3, 8, 4, 4)).astype(np.float32)
    (other,) = other_runtimes()[:1]
    for shapes in ({"images": images.shape}, None):
        (found,) = other.open(tmp_path / "model.onnx", threads=1, shapes=shapes).run(["logits"], {"images": images})
        # One step of the output's quantization, 0.05, where the sum lies between two of them.
        assert np.abs(found - reference(images)).max() <= 0.0501
        assert np.mean(np.abs(found - reference(images)) > 1e-4) < 0.02
    assert np.abs(reference(images)).max() > 2  # and they are no zeros


@needs_openvino
@pytest.mark.parametrize(
    ("content", "said"), [(b"no graph", "OpenVINO cannot open model.onnx: Unable to read the model"), (b"", "OpenVINO")]
)
def test_what_openvino_cannot_open_is_said_in_one_line(tmp_path, openvino, content, said):
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(SessionError, match=said) as caught:
        other_runtimes()[0].open(tmp_path / "model.onnx", threads=1, shapes=None)
    assert "\n" not in str(caught.value)


def test_a_broken_openvino_is_refused_with_its_reason(openvino_elsewhere, make_bundle):
    _, theirs = measure_runtimes(make_bundle("sees"), None, "test", threads=1, rounds=ROUNDS)
    assert (theirs.name, theirs.version) == ("OpenVINO", "1.2.3")
    assert theirs.refused == "OpenVINO cannot be imported: libtbb.so.12: cannot open shared object file"


@pytest.fixture
def openvino_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An OpenVINO whose libraries are not for this machine."""
    (tmp_path / "openvino-1.2.3.dist-info").mkdir()
    (tmp_path / "openvino-1.2.3.dist-info" / "METADATA").write_text("Name: openvino\nVersion: 1.2.3\n")
    (tmp_path / "openvino.py").write_text(
        "raise ImportError('libtbb.so.12: cannot open shared object file')\n", encoding="utf-8"
    )
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "openvino", raising=False)


@needs_openvino
def test_bf16_is_a_runtime_of_its_own_where_the_cpu_computes_in_it(openvino, monkeypatch):
    class Core:
        def get_property(self, device: str, name: str) -> list[str]:
            return ["FP32", "BF16"]

    monkeypatch.setattr(runtimes, "_core", Core)
    names = [one.name for one in other_runtimes()]
    monkeypatch.undo()
    assert names == ["OpenVINO", "OpenVINO in bf16"]


@needs_openvino
def test_openvino_reports_nothing_to_anyone(openvino_packages, tmp_path):
    """Its package for reports is here, and would leave a number for the user in the home folder on import."""
    program = "from components.core.runtime.runtimes import other_runtimes; print(other_runtimes()[0].version)"
    paths = os.pathsep.join([*filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)), str(openvino_packages)])
    home = {**os.environ, "HOME": str(tmp_path), "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}
    assert (openvino_packages / "openvino_telemetry").is_dir()
    root = Path(runtimes.__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", program], env=home, cwd=root, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "2026.4.1"), done.stderr
    assert not (tmp_path / "intel").exists()


@needs_openvino
def test_measure_prints_a_row_per_runtime(released, openvino, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "250")
    released(classifier(["a", "b", "c"]))
    out = tmp_path / "out.json"
    assert measure(str(tmp_path), [], store="", threads=1, json_file=out) == 0
    said = capsys.readouterr().out
    assert f"OpenVINO    │ {openvino} │" in said
    assert "Serve with onnxruntime: " in said
    assert "the same but for rounding: largest difference 0.00 % of the largest output" in said
    first, second = json.loads(out.read_text())["runtimes"]
    assert (first["name"], second["name"], second["version"]) == ("onnxruntime", "OpenVINO", openvino)


def test_measure_is_as_before_where_onnxruntime_is_alone(released, tmp_path, capsys):
    released(classifier(["a", "b", "c"]))
    out = tmp_path / "out.json"
    assert measure(str(tmp_path), [], store="", threads=1, json_file=out) == 0
    assert "runtime" not in capsys.readouterr().out
    assert "runtimes" not in json.loads(out.read_text())
