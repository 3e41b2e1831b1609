"""The released file itself: everything here is asserted on what a serving machine would be given."""

import hashlib
import json
import subprocess
from pathlib import Path

import onnx
import pytest

from components.core.artifacts.manifest import parse_manifest
from components.core.data.dataset import Dataset
from components.core.evaluation.document import Evaluation
from components.core.runtime.fusion import fused_convolution_share
from components.core.runtime.released import load_release
from components.core.runtime.sessions import open_session

pytestmark = [pytest.mark.e2e, pytest.mark.demo]


@pytest.fixture(scope="module")
def release(reduced_run, tmp_path_factory) -> Path:
    """The release's folder, fetched file by file from the store."""
    folder = tmp_path_factory.mktemp("release")
    store = reduced_run.store
    [(name, version)] = store.releases.list()
    for file in store.releases.files(name, version):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(store.releases.read(name, version, file))
    return folder


@pytest.fixture(scope="module")
def stated(release) -> Evaluation:
    return Evaluation.from_json(json.loads((release / "evaluation.json").read_text()))


@pytest.fixture(scope="module")
def prepared(reduced_run) -> Dataset:
    [record] = [record for task, record in reduced_run.records().items() if task.endswith("data-prep")]
    manifest = parse_manifest(record["output_artifacts"]["prepared"][0]["manifest"])
    return Dataset(manifest, reduced_run.store)


def test_the_stated_accuracy_is_reproduced_from_the_file_alone(release, stated, prepared):
    classify = load_release(release / "model.onnx")
    rows = list(prepared.iterate("test"))
    predictions = classify([row["image"] for row in rows])
    right = sum(
        prediction.label == prepared.classes[row["label"]] for prediction, row in zip(predictions, rows, strict=True)
    )
    assert stated.split == "test"
    assert stated.rows == len(rows) >= 2000
    assert right / len(rows) == pytest.approx(stated.primary.candidate.value, abs=1e-9)


def test_the_model_has_learnt_something(stated):
    # Ten balanced classes: chance is 0.10, and a random-weight network of this size stays near it.
    assert stated.primary.candidate.value > 0.75
    assert stated.primary.baseline.value > 0.75


def test_the_interval_holds_the_estimate_and_the_difference_is_paired(stated):
    for side in (stated.primary.candidate, stated.primary.baseline):
        assert side.low < side.value < side.high
    difference = stated.primary.difference
    assert difference.low <= difference.points <= difference.high
    assert "Tango" in stated.paired


def test_the_file_takes_any_batch_and_names_what_it_is(release):
    model = onnx.load(release / "model.onnx")
    onnx.checker.check_model(model)
    [images] = model.graph.input
    assert images.type.tensor_type.shape.dim[0].dim_param == "batch"
    session = open_session(release / "model.onnx")
    import numpy as np

    side = images.type.tensor_type.shape.dim[2].dim_value
    for batch in (1, 5):
        [logits] = session.run(None, {"images": np.zeros((batch, 3, side, side), np.float32)})
        assert logits.shape == (batch, 10)


def test_all_convolutions_of_the_int8_graph_but_its_float_front_are_fused(release):
    fused, total = fused_convolution_share(release / "model.onnx")
    assert total > 40
    assert fused == total - 3


def test_the_int8_model_is_smaller_than_the_float_baseline(release, stated):
    assert stated.candidate.size_bytes == (release / "model.onnx").stat().st_size
    assert stated.baseline.size_bytes / stated.candidate.size_bytes > 3.5


def test_the_checksums_hold_with_the_usual_tool(release):
    done = subprocess.run(["sha256sum", "--check", "SHA256SUMS"], cwd=release, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    listed = {line.split()[1].lstrip("*") for line in (release / "SHA256SUMS").read_text().splitlines()}
    assert {"model.onnx", "labels.json", "preprocess.json", "evaluation.json"} <= listed


def test_the_card_states_accuracy_split_and_licences(release, stated):
    [card] = [path for path in release.iterdir() if path.suffix == ".md"]
    text = card.read_text()
    assert f"{stated.primary.candidate.value * 100:.2f}" in text
    assert f"{stated.rows:,}" in text
    assert "Apache-2.0" in text


def test_nothing_released_holds_a_path_of_this_machine(release, reduced_run):
    for path in release.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            for secret in (str(reduced_run.home), str(Path(__file__).parents[2])):
                assert secret.encode() not in content, f"{path.name} names {secret}"


def test_the_version_is_the_digest_of_the_serving_files(release, reduced_run):
    [(_, version)] = reduced_run.store.releases.list()
    digest = reduced_run.document["outputs"]["release_digest"]
    assert digest.removeprefix("sha256:").startswith(version)
    assert hashlib.sha256((release / "model.onnx").read_bytes()).hexdigest() in (release / "SHA256SUMS").read_text()
