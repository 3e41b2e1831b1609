"""The program beside a release says whether a machine computes what was verified."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from components.core.artifacts.manifest import read_manifest
from components.core.bundles.onnx_bundle import load_onnx
from components.core.runtime import self_test_program
from components.export.self_test import ROWS, self_test
from components.export.verification import VerificationError


@pytest.fixture
def folder(run_export, tmp_path) -> Path:
    """The files of a release, alone."""
    released = Path(run_export(name="tested")["release"].metadata["uri"].removeprefix("file://"))
    for name in ("model.onnx", "self_test.py", "self_test.json"):
        (tmp_path / name).write_bytes((released / name).read_bytes())
    return tmp_path


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Isolated: neither this project nor its environment variables are seen."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, "-I", str(folder / "self_test.py"), *words], cwd=folder.parent, env=clean, capture_output=True,
        text=True, check=False,
    )  # fmt: skip


def test_on_the_machine_of_the_release_everything_is_the_same(folder):
    done = run(folder)
    assert (done.returncode, done.stderr) == (0, "")
    found = re.search(
        r"model\.onnx computes the same here: largest difference (\S+) of the largest output", done.stdout
    )
    assert found is not None
    assert float(found[1]) < 1e-6  # the record has seven digits
    assert " ms a call here" not in done.stdout


def test_it_measures_the_latency_beside_that_of_the_card(folder, chain):
    done = run(folder, "--measure")
    assert done.returncode == 0, done.stderr
    assert " ms a call here (median, warm)" in done.stdout
    assert f"the release's card says {chain.evaluation.candidate.at(1).p50_ms:.3f} ms for one row" in done.stdout


def changed(folder: Path, factor: float) -> None:
    """The network's float constants (scales among them) times the factor: what a wrong kernel would do."""
    model = onnx.load(folder / "model.onnx")
    for one in model.graph.initializer:
        if one.data_type == TensorProto.FLOAT:
            values = numpy_helper.to_array(one) * np.float32(factor)
            one.CopyFrom(numpy_helper.from_array(values.astype(np.float32), one.name))
    onnx.save(model, folder / "model.onnx")


def test_a_machine_that_computes_something_else_is_told_so(folder):
    changed(folder, 1.5)
    done = run(folder)
    assert done.returncode == 1
    assert "model.onnx COMPUTES SOMETHING ELSE HERE" in done.stdout
    assert "The accuracy on the card does not hold here: try another version of onnxruntime" in done.stdout


def test_the_record_holds_no_row_of_the_data_and_is_small(folder):
    record = json.loads((folder / "self_test.json").read_text())
    (graph,) = record["graphs"].values()
    assert graph["inputs"] == [{"name": "images", "dtype": "float32", "shape": [1, 3, 32, 32], "high": None}]
    assert {name: len(values) for name, values in graph["outputs"].items()} == {"logits": 3 * ROWS}
    assert (folder / "self_test.json").stat().st_size < 5000


def test_inputs_are_whole_numbers_of_a_128th_and_differ_between_rows_and_channels():
    made = self_test_program.waves((2, 3, 8, 8), seed=5)
    assert made.dtype == np.float32
    assert np.array_equal(made * 128, np.rint(made * 128))
    assert -2 <= made.min() < made.max() <= 2
    planes = {plane.tobytes() for plane in made.reshape(6, -1)}
    assert len(planes) == 6
    assert self_test_program.waves((4,), seed=0).shape == (4,)
    assert self_test_program.waves((1, 0, 8), seed=0).shape == (1, 0, 8)
    numbers = self_test_program.feed([{"name": "n", "dtype": "int64", "shape": [1, 500], "high": 7}], row=0)["n"]
    assert (numbers.dtype, set(numbers.ravel().tolist())) == (np.int64, set(range(7)))
    assert self_test_program.drawn(3, 1).tolist() == self_test_program.drawn(5, 1).tolist()[:3]


def test_answers_are_spread_over_all_calls_and_bounded(folder):
    session = self_test_program.opened(folder / "model.onnx", 1)
    record = json.loads((folder / "self_test.json").read_text())["graphs"]["model"]
    many = self_test_program.answers(session, record["inputs"], 3000)["logits"]
    assert 1000 < len(many) <= self_test_program.MOST_VALUES


def test_a_model_that_does_not_repeat_itself_is_not_released(chain, monkeypatch):
    bundle = load_onnx(read_manifest(chain.inputs["candidate"]), chain.store)
    monkeypatch.setattr(self_test_program, "difference", lambda *_: float("nan"))
    with pytest.raises(VerificationError, match=r"model.onnx does not repeat its own answers"):
        self_test(replace(bundle), chain.evaluation)
