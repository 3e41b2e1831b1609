"""A released file is used from its bytes alone, and without torch."""

import io
import subprocess
import sys

import numpy as np
import onnx
import pytest
from PIL import Image

from components.core.errors import UserError
from components.core.runtime.metadata import read_metadata, strip_metadata, write_metadata
from components.core.runtime.released import load_release
from components.core.tasks.images.assets import softmax
from components.core.tasks.images.preprocess import Preprocess

PREPROCESS = Preprocess(image_size=32, mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.25))
LABELS = ["a", "b|c", "ü", "d", "e"]


def png(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (40, 50, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


@pytest.fixture
def released(toy_onnx) -> bytes:
    model = onnx.load(toy_onnx)
    write_metadata(model, {"preprocess": PREPROCESS.to_json(), "labels": LABELS, "task": "classification"})
    return model.SerializeToString()


def test_predictions_are_those_of_the_same_steps_by_hand(released):
    images = [png(seed) for seed in range(40)]
    release = load_release(released)
    predictions = release(images)
    assert len(predictions) == 40
    inputs = np.stack([PREPROCESS(image) for image in images])
    logits = release.session.run(None, {"images": inputs})[0]
    for prediction, row in zip(predictions, logits, strict=True):
        assert prediction.index == row.argmax()
        assert prediction.label == LABELS[prediction.index]
        np.testing.assert_allclose(prediction.probabilities, np.exp(row) / np.exp(row).sum(), rtol=1e-5)


def test_a_file_without_labels_or_preprocessing_is_named(toy_onnx):
    with pytest.raises(UserError, match=r"no trimtab.preprocess and no trimtab.labels in its metadata"):
        load_release(toy_onnx)


def test_metadata_survives_and_stripping_removes_it(released, toy_onnx):
    model = onnx.load_from_string(released)
    entries = {entry.key: entry.value for entry in model.metadata_props}
    assert read_metadata(entries)["labels"] == LABELS
    strip_metadata(model)
    assert model.SerializeToString() == onnx.load(toy_onnx).SerializeToString()


def test_softmax_does_not_overflow():
    np.testing.assert_allclose(softmax(np.array([[1000.0, 1000.0], [-1000.0, 0.0]], np.float32)), [[0.5, 0.5], [0, 1]])


def test_reading_a_release_needs_no_torch(released, tmp_path):
    (tmp_path / "model.onnx").write_bytes(released)
    (tmp_path / "image.png").write_bytes(png(1))
    script = (
        "import sys; from pathlib import Path\n"
        "from components.core.runtime.released import load_release\n"
        "release = load_release('model.onnx')\n"
        "print(release([Path('image.png').read_bytes()])[0].label)\n"
        "assert not {'torch', 'timm', 'onnx', 'kfp', 'pandas'} & set(sys.modules), sorted(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == load_release(released)([png(1)])[0].label


@pytest.mark.parametrize("value", ["[" * 100_000, "{", "", "9" * 5000])
def test_metadata_that_is_no_json_is_one_line(value):
    with pytest.raises(UserError, match=r"metadata cannot be used: trimtab\.labels is not JSON") as caught:
        read_metadata({"other": "x", "trimtab.labels": value})
    assert len(str(caught.value)) < 300
