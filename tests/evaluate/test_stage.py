"""The stage on a data set and files whose accuracies are known."""

import base64
import io
import json
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from components.core.artifacts.manifest import read_file, read_manifest
from components.core.budget import Budget
from components.core.errors import UserError
from components.evaluate.comparison import EvaluateConfig, compare
from components.evaluate.samples import embeddable


def config(**changes):
    return EvaluateConfig(**({"split": "validation", "threads": 1, "latency_rounds": 3, "budget": Budget()} | changes))


def test_accuracies_are_those_of_the_labels(dataset, make_bundle):
    document = compare(dataset, make_bundle("sees"), make_bundle("blind", blind=True), config())
    ours, theirs = document["candidate"], document["baseline"]
    # 6 of 60 labels are wrong; two of these are blue pictures, which the blind one takes for red, and so is right once
    # where the label says red.
    assert ours["top1"] == pytest.approx(54 / 60)
    assert theirs["top1"] == pytest.approx(38 / 60)
    assert ours["top1_low"] < ours["top1"] < ours["top1_high"]
    difference = document["difference"]
    assert difference["top1_points"] == pytest.approx(100 * 16 / 60)
    assert difference["low"] < difference["top1_points"] < difference["high"]
    assert sum(map(sum, ours["confusion"])) == document["rows"] == 60
    blue = theirs["per_class"][2]
    assert (blue["class"], blue["recall"], blue["precision"]) == ("blue", 0.0, 0.0)


def test_each_model_gets_its_own_image_size(dataset, make_bundle):
    document = compare(dataset, make_bundle("small", image_size=4), make_bundle("large", image_size=16), config())
    assert (document["candidate"]["image_size"], document["baseline"]["image_size"]) == (4, 16)
    assert document["candidate"]["top1"] == document["baseline"]["top1"] == pytest.approx(54 / 60)


def test_latency_is_stated_with_threads_samples_and_host(dataset, make_bundle):
    document = compare(dataset, make_bundle("a"), make_bundle("b"), config(latency_rounds=4))
    for side in ("candidate", "baseline"):
        one, many = document[side]["latency_batch1"], document[side]["latency_batch32"]
        assert (one["threads"], one["samples"], one["batch"]) == (1, 4, 1)
        assert (many["samples"], many["batch"]) == (10, 32)
        assert document[side]["images_per_second_batch32"] == pytest.approx(32_000 / many["p50_ms"])
    assert document["speedup"]["batch1"] == pytest.approx(
        document["baseline"]["latency_batch1"]["p50_ms"] / document["candidate"]["latency_batch1"]["p50_ms"]
    )
    assert document["host"]["versions"]["onnxruntime"]
    assert "1 thread" in document["method"]


def test_samples_mix_right_and_wrong_and_embed_the_image_as_it_was(dataset, make_bundle):
    samples = compare(dataset, make_bundle("a"), make_bundle("b"), config())["samples"]
    wrong = [sample for sample in samples if sample["label"] != sample["candidate"]]
    assert len(samples) == 24
    assert len(wrong) == 6
    assert samples[:6] == wrong
    for sample in samples:
        assert sha256(base64.b64decode(sample["image_base64"])).hexdigest() == sample["digest"]


def test_a_large_image_is_embedded_as_a_thumbnail():
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (400, 300, 3), dtype=np.uint8))
    buffer = io.BytesIO()
    noise.save(buffer, format="PNG")
    data, media_type = embeddable(buffer.getvalue())
    assert media_type == "image/jpeg"
    assert max(Image.open(io.BytesIO(data)).size) == 160


def test_training_images_and_empty_or_unknown_splits_are_refused(dataset, make_bundle):
    bundle = make_bundle("a")
    with pytest.raises(UserError, match="not evaluated on the images it was trained on"):
        compare(dataset, bundle, bundle, config(split="train"))
    with pytest.raises(UserError, match="unknown split 'holdout'; available: validation, test"):
        compare(dataset, bundle, bundle, config(split="holdout"))
    with pytest.raises(UserError, match="the test split is empty"):
        compare(dataset, bundle, bundle, config(split="test"))


def test_a_model_of_other_classes_is_refused(dataset, make_bundle):
    with pytest.raises(UserError, match=r"the model predicts 3 classes \(cat, dog, fox\), the data set has 3"):
        compare(dataset, make_bundle("a", labels=["cat", "dog", "fox"]), make_bundle("b"), config())


@pytest.mark.parametrize(("name", "value"), [("threads", 0), ("latency_rounds", 0)])
def test_impossible_measurements_are_refused(name, value):
    with pytest.raises(UserError, match=f"{name} must be at least 1"):
        config(**{name: value})


def test_component_writes_evaluation_metrics_confusions_and_page(
    dataset_path, store, make_bundle, publish, run_evaluate
):
    inputs = {
        "dataset": dataset_path,
        "candidate": publish(make_bundle("a", blind=True), "candidate"),
        "baseline": publish(make_bundle("b"), "baseline"),
    }
    outputs = run_evaluate(inputs, split="validation", latency_rounds=2, max_drop=5.0, max_size_mb=1.0)
    manifest = read_manifest(outputs["evaluation"].path, kind="evaluation")
    document = json.loads(read_file(manifest, "evaluation.json", store))
    assert document["format"] == 1
    assert document["verdict"]["meets"] is False
    assert document["candidate"]["digest"] == read_manifest(inputs["candidate"]).digest
    assert outputs["metrics"].metadata["top1"] == document["candidate"]["top1"]
    assert outputs["metrics"].metadata["meets_budget"] == 0
    matrix = outputs["classification"].metadata["confusionMatrix"]
    assert [entry["displayName"] for entry in matrix["annotationSpecs"]] == ["red", "green", "blue"]
    page = Path(outputs["page"].path).read_text()
    assert "misses the budget" in page
    assert "lost accuracy" in page


def test_another_kind_of_artifact_is_refused(dataset_path, make_bundle, publish, run_evaluate):
    inputs = {"dataset": dataset_path, "candidate": dataset_path, "baseline": publish(make_bundle("b"), "baseline")}
    with pytest.raises(UserError, match="cannot evaluate a 'dataset' artifact"):
        run_evaluate(inputs, split="validation")
