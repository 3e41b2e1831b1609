"""The pages of a segmentation: masks over images, the IoU of each class, the card and its program."""

import base64
import io
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from evaluation_documents import evaluation, metric_result, model
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from components.core.data.batch import Batch
from components.core.evaluation.document import Evaluation, Sample, encode_evaluation
from components.core.report.page import render_page
from components.core.runtime.metadata import write_metadata
from components.core.tasks.images.preprocess import Preprocess
from components.core.tasks.segmentation.assets import SegmentationAssets
from components.core.tasks.segmentation.details import SegmentationDetails
from components.core.tasks.segmentation.masks import IGNORED, default_palette
from components.core.tasks.segmentation.pages import SegmentationPages
from components.core.tasks.segmentation.serving import cropped, decode_mask

CLASSES = ["background", "<b>shoe", "bag"]
SIZE = (60, 90)


def dataset(**metadata):
    return SimpleNamespace(
        classes=CLASSES,
        manifest=SimpleNamespace(metadata=metadata),
    )


def scene(seed: int) -> tuple[bytes, np.ndarray]:
    rng = np.random.default_rng(seed)
    mask = np.zeros(SIZE, np.uint8)
    mask[10:40, 15:45] = 1
    mask[20:50, 55:80] = 2
    mask[:3] = IGNORED
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(90, 160, (*SIZE, 3), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue(), mask


def sample(kind: str, seed: int) -> Sample:
    image, truth = scene(seed)
    prediction = np.where(truth == IGNORED, 0, truth).astype(np.uint8)
    prediction[15:25, 15:45] = 2
    batch = Batch(inputs={}, targets=[truth], digests=["d"])
    predictions = {"candidate": [prediction], "baseline": [np.where(truth == IGNORED, 0, truth).astype(np.uint8)]}
    shown = SegmentationPages().sample({"image": image}, batch, predictions, dataset())
    return Sample(digest="d", kind=kind, score=0.5, said=None, row=None, shown=shown)


@pytest.fixture
def document() -> Evaluation:
    sides = []
    for seed, error in ((0, 25), (1, 18)):
        _, truth = scene(seed)
        prediction = np.where(truth == IGNORED, 0, truth).astype(np.uint8)
        prediction[15:error, 15:45] = 2
        details = SegmentationDetails(CLASSES)
        details.add({}, [prediction], Batch(inputs={}, targets=[truth], digests=["d"]))
        sides.append(details.finish())
    return evaluation(
        task="segmentation",
        metrics=(metric_result(0.61, 0.62, name="miou", label="mIoU"),),
        candidate=model(details=sides[0]),
        baseline=model(scheme="float32", details=sides[1]),
        samples=tuple(sample(kind, seed) for seed, kind in enumerate(("worst", "typical", "best"))),
    )


def picture(shown: dict, name: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(shown["pictures"][name]))))


def test_a_sample_holds_image_truth_and_both_predictions_small_and_in_their_colours():
    shown = sample("worst", 0).shown
    assert set(shown["pictures"]) == {"image", "truth", "candidate", "baseline"}
    assert shown["classes"] == CLASSES
    assert shown["scores"]["baseline"] == 1.0 > shown["scores"]["candidate"] > 0.5
    plain, truth = picture(shown, "image").astype(float), picture(shown, "truth").astype(float)
    assert plain.shape == (*SIZE, 3)
    change = np.abs(truth - plain).mean(axis=2)
    assert change[25:35, 20:40].mean() > 20, "the class is painted"
    assert change[52:58, 2:10].mean() < 5, "the background stays"
    # VOC: class 1 is dark red, class 2 dark green.
    assert (truth - plain)[25:35, 20:40, 0].mean() > (truth - plain)[25:35, 20:40, 1].mean() + 30
    wrong = picture(shown, "candidate").astype(float) - picture(shown, "baseline").astype(float)
    assert np.abs(wrong)[16:24, 18:42].mean() > 10 * np.abs(wrong)[42:48, 60:75].mean()


def test_colours_are_those_of_the_data_set_if_it_has_any():
    image, truth = scene(0)
    batch = Batch(inputs={}, targets=[truth], digests=["d"])
    predictions = {"candidate": [truth], "baseline": [truth]}
    blue = dataset(palette=[[0, 0, 0], [0, 0, 255], [255, 255, 0]])
    shown = SegmentationPages().sample({"image": image}, batch, predictions, blue)
    painted = picture(shown, "truth").astype(float)[25:35, 20:40].mean(axis=(0, 1))
    assert painted.argmax() == 2


def test_a_large_image_becomes_a_small_picture_of_the_same_shape():
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((400, 800, 3), np.uint8)).save(buffer, "PNG")
    truth = np.ones((400, 800), np.uint8)
    batch = Batch(inputs={}, targets=[truth], digests=["d"])
    shown = SegmentationPages().sample(
        {"image": buffer.getvalue()}, batch, {"candidate": [truth], "baseline": [truth]}, dataset()
    )
    assert {picture(shown, name).shape for name in shown["pictures"]} == {(80, 160, 3)}


def test_the_page_shows_iou_before_and_after_confusions_and_every_sample_with_its_pictures(document):
    sections = SegmentationPages().evaluation_sections(document, candidate="release")
    html = render_page("x", sections)
    assert [section.title for section in sections] == ["Classes", "Samples"]
    assert html.count("data:image/jpeg;base64,") == 12
    for part in ("IoU, baseline", "IoU, release", "Confusions of the release", "The worst", "Typical ones", "The best"):
        assert part in html, part
    assert "<b>shoe" not in html
    assert "&lt;b&gt;shoe" in html
    before, after = (side.details["per_class"][1]["iou"] for side in (document.baseline, document.candidate))
    assert f"{100 * before:.1f} %" in html
    assert f"{100 * after:.1f} %" in html
    assert f"−{100 * (before - after):.1f} points" in html


def test_the_document_with_its_samples_is_json(document):
    assert Evaluation.from_json(document.to_json()) == document
    assert len(encode_evaluation(document)) < 120_000


def test_the_confusion_matrix_goes_to_kfp(document):
    logged = []
    shown = SimpleNamespace(log_confusion_matrix=lambda names, matrix: logged.append((names, matrix)))
    SegmentationPages().log_metrics(document, shown)
    assert logged == [(CLASSES, document.candidate.details["confusion"])]


def assets(side: int = 32, resize: str = "fit") -> SegmentationAssets:
    return SegmentationAssets(
        preprocess=Preprocess(image_size=side, mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.25), resize=resize),
        labels=CLASSES,
        palette=default_palette(3),
    )


def test_the_card_tells_the_iou_of_each_class_and_names_stay_text(document):
    card = SegmentationPages().card_text(
        document, assets(), {"backbone": "lite_0", "pruned": True, "scheme": "int8", "opset": 18,
                             "options": {"head": "lraspp"}},
    )  # fmt: skip
    assert card.intro.startswith(r"Semantic segmentation with 3 classes: lite\_0 with the head lraspp, pruned, int8")
    assert "<b>shoe" not in card.intro + card.figures
    row = next(line for line in card.figures.splitlines() if "shoe" in line)
    iou = document.candidate.details["per_class"][1]["iou"]
    assert row.endswith(f"| {100 * iou:.2f} % |")


@pytest.mark.parametrize(("size", "resize"), [((50, 30), "fit"), ((20, 24), "fit"), ((50, 30), "squash")])
def test_the_program_in_the_card_gives_the_mask_that_the_task_gives(tmp_path, document, size, resize):
    known = assets(resize=resize)
    path = tmp_path / "model.onnx"
    graph = helper.make_graph(
        [helper.make_node("Conv", ["images", "kernel"], ["logits"])], "main",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, 32, 32])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3, 32, 32])],
        [numpy_helper.from_array(np.eye(3, dtype=np.float32).reshape(3, 3, 1, 1), "kernel")],
    )  # fmt: skip
    file = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    write_metadata(file, known.to_metadata())
    onnx.save(file, path)
    noise = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "image.jpg")
    provenance = {"backbone": "b", "pruned": False, "scheme": "int8", "opset": 18}
    card = SegmentationPages().card_text(document, known, provenance)
    program = card.use.split("```python\n")[1].split("```")[0]
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    # The network hands on its input, so that the reference is the preprocessing and the decoding alone.
    logits = known.preprocess((tmp_path / "image.jpg").read_bytes())
    columns, rows = known.preprocess.placed(size)
    expected = decode_mask(cropped(logits, rows, columns), size[1], size[0])
    found = np.asarray(Image.open(tmp_path / "mask.png"))
    np.testing.assert_array_equal(found, np.array(known.palette, np.uint8)[expected])
    assert "background" in done.stdout


def test_pictures_of_a_sample_without_any_class_have_no_figure():
    image, truth = scene(0)
    nothing = np.full_like(truth, IGNORED)
    batch = Batch(inputs={}, targets=[nothing], digests=["d"])
    predictions = {"candidate": [np.zeros_like(truth)], "baseline": [np.zeros_like(truth)]}
    shown = SegmentationPages().sample({"image": image}, batch, predictions, dataset())
    assert shown["scores"] == {"candidate": None, "baseline": None}
    assert replace(sample("best", 1), shown=shown).shown["classes"] == []
