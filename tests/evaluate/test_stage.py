"""The stage on a data set and files whose figures are known."""

import base64
import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from components.core.artifacts.manifest import read_file, read_manifest
from components.core.budget import Budget
from components.core.data.dataset import Dataset
from components.core.data.group_keys import encode_group_keys
from components.core.errors import UserError
from components.core.evaluation.document import Evaluation, encode_evaluation, read_evaluation
from components.core.report.page import render_page
from components.core.split_part import SplitPart, all_parts
from components.core.store import open_store
from components.core.tasks import get_task
from components.evaluate import samples
from components.evaluate.comparison import EvaluateConfig, budget_verdict, evaluate_pair


def config(**changes):
    return EvaluateConfig(**({"split": "validation", "threads": 1, "latency_rounds": 3, "budget": Budget()} | changes))


@pytest.fixture
def document(dataset, opened) -> Evaluation:
    return evaluate_pair(dataset, opened("sees"), opened("blind", blind=True), config(latency_rounds=4))


def test_accuracies_are_those_of_the_labels(document):
    # 6 of 60 labels are wrong; two of these are blue pictures, which the blind one takes for red, and so is right once
    # where the label says red.
    metric = document.primary
    assert (metric.name, metric.label, metric.interval) == ("top1", "top-1", "Wilson")
    assert metric.candidate.value == pytest.approx(54 / 60)
    assert metric.baseline.value == pytest.approx(38 / 60)
    assert metric.candidate.low < metric.candidate.value < metric.candidate.high
    assert metric.points == pytest.approx(100 * 16 / 60)
    assert metric.difference.low < metric.points < metric.difference.high
    assert document.rows == 60


def test_no_samples_are_kept_where_none_are_asked_for(dataset, opened, document):
    found = evaluate_pair(dataset, opened("sees"), opened("blind", blind=True), config(samples=0))
    assert document.samples
    assert found.samples == ()
    assert found.metrics == document.metrics


def test_rows_that_a_model_has_seen_leave_the_comparison(dataset, opened, document):
    rows = list(dataset.iterate("validation"))
    seen = {row["digest"] for row in rows[::3]}
    found = evaluate_pair(dataset, opened("sees"), opened("blind", blind=True), config(), seen=seen)
    assert (found.rows, found.left_out) == (60 - len(seen), len(seen))
    assert found.aside == f" (without {len(seen)} that a model had seen before)"
    assert sum(map(sum, found.candidate.details["confusion"])) == found.rows
    assert sum(group.support for group in found.groups) == found.rows
    assert found.samples
    assert not seen & {sample.digest for sample in found.samples}
    # Which rows the candidate gets right does not depend on what else is read.
    wrong = {sample.digest for sample in document.samples if sample.kind == "wrong"} - seen
    assert {sample.digest for sample in found.samples if sample.kind == "wrong"} == wrong
    everything = {row["digest"] for row in rows}
    with pytest.raises(UserError, match="all images of the validation split"):
        evaluate_pair(dataset, opened("sees"), opened("blind", blind=True), config(), seen=everything)


def test_a_part_of_the_split_is_read_alone_and_the_parts_are_the_whole(dataset, opened, document):
    read = []
    for part in all_parts(3):
        found = evaluate_pair(dataset, opened("sees"), opened("blind", blind=True), config(part=part))
        held = [row["digest"] for row in dataset.iterate("validation") if part.holds(row["digest"])]
        assert (found.part, found.rows, found.left_out) == (part, len(held), 0)
        assert found.aside == f" (part {part.number} of 3)"
        assert {sample.digest for sample in found.samples} <= set(held)
        assert Evaluation.from_json(found.to_json()) == found
        read.append(found)
    assert sum(one.rows for one in read) == document.rows == 60
    assert all(one.rows for one in read)
    confusions = np.sum([one.candidate.details["confusion"] for one in read], axis=0)
    assert confusions.tolist() == document.candidate.details["confusion"]


def test_rows_of_a_group_are_in_one_part_and_new_rows_of_it_join_them(write_test_split, opened):
    digests = sorted(row["digest"] for row in write_test_split("all").iterate("test"))
    # Ten patients with six pictures each, of which the last is new in the second data set.
    keys = {digest: sha256(f"patient {number % 10}".encode()).hexdigest() for number, digest in enumerate(digests)}
    held = {part: {digest for digest in digests if part.holds(keys[digest])} for part in all_parts(3)}
    for name, known in (("before", digests[:50]), ("after", digests)):
        grouped = write_test_split(name, known=known, files=encode_group_keys({one: keys[one] for one in known}))
        for part, wanted in held.items():
            found = evaluate_pair(
                grouped, opened("sees"), opened("blind", blind=True), config(split="test", part=part, samples=60)
            )
            assert found.rows == len(wanted & set(known))
            assert {sample.digest for sample in found.samples} <= wanted & set(known)
            assert found.samples


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"{", "is not valid JSON"), (b"[" * 100_000, "is not valid JSON"), (b'{"a": 1}', "must hold a key of each row")],
)
def test_a_damaged_list_of_groups_is_refused(write_test_split, opened, content, said):
    damaged = write_test_split("data", files={"group_keys.json": content})
    with pytest.raises(UserError, match=said):
        evaluate_pair(damaged, opened("a"), opened("b"), config(split="test", part=SplitPart(number=1, of=2)))


def test_near_copies_of_another_form_in_the_manifest_are_refused(dataset, opened, tmp_path):
    manifest = replace(dataset.manifest, metadata={**dataset.manifest.metadata, "near_duplicates": {"rows": "many"}})
    wrong = Dataset(manifest, open_store(str(tmp_path)))
    with pytest.raises(UserError, match="the dataset's manifest: near_duplicates has no 'grouped'; prepare the data"):
        evaluate_pair(wrong, opened("a"), opened("b"), config())


def test_of_a_part_only_its_own_rows_count_as_left_out(dataset, opened):
    part = SplitPart(number=1, of=2)
    digests = [row["digest"] for row in dataset.iterate("validation")]
    own, others = ([one for one in digests if part.holds(one) is held] for held in (True, False))
    found = evaluate_pair(
        dataset, opened("sees"), opened("blind", blind=True), config(part=part), seen={*own[:4], *others[:9]}
    )
    assert (found.rows, found.left_out) == (len(own) - 4, 4)
    assert found.aside == " (part 1 of 2; without 4 that a model had seen before)"


def test_a_part_without_a_row_is_refused_by_its_number(dataset, opened):
    digests = [row["digest"] for row in dataset.iterate("validation")]
    empty = next(part for part in all_parts(366) if not any(part.holds(digest) for digest in digests))
    with pytest.raises(UserError, match=rf"{empty.said} of the validation split \(60 images\) is empty; give fewer"):
        evaluate_pair(dataset, opened("sees"), opened("blind", blind=True), config(part=empty))


def test_the_task_keeps_confusions_and_classes_of_each_model(document):
    ours, theirs = document.candidate.details, document.baseline.details
    assert sum(map(sum, ours["confusion"])) == 60
    blue = theirs["per_class"][2]
    assert (blue["class"], blue["recall"], blue["precision"]) == ("blue", 0.0, 0.0)
    group = document.groups[2]
    assert (group.kind, group.name, group.support) == ("class", "blue", blue["support"])
    assert (group.baseline, group.candidate) == (0.0, pytest.approx(ours["per_class"][2]["recall"]))


def test_each_model_gets_its_own_image_size(dataset, opened):
    found = evaluate_pair(dataset, opened("small", image_size=4), opened("large", image_size=16), config())
    assert (found.candidate.inputs["input"], found.baseline.inputs["input"]) == ("4 × 4 px", "16 × 16 px")
    assert found.primary.candidate.value == found.primary.baseline.value == pytest.approx(54 / 60)


def test_latency_is_stated_with_threads_samples_and_host(document):
    for side in (document.candidate, document.baseline):
        one, many = side.at(1), side.at(32)
        assert (one.threads, one.batch, many.batch) == (1, 1, 32)
        assert one.samples == 3 * document.speedups[0].pairs  # 4 calls asked for: at least 8 blocks of at least 3
        assert many.samples >= 24
        assert one.cold_ms > 0
        assert many.rows_per_second == pytest.approx(32_000 / many.p50_ms)
    assert document.speedups[0].low <= document.speedup <= document.speedups[0].high
    assert document.host["versions"]["onnxruntime"]
    assert "1 thread" in document.method
    assert f"{document.candidate.at(1).samples} calls at batch 1 and " in document.method
    assert "warm and alone" in document.method


def test_sizes_are_those_of_the_files(dataset, opened):
    small, large = opened("small"), opened("large", image_size=128)
    found = evaluate_pair(dataset, small, large, config())
    size = small.bundle.graphs["model"].stat().st_size
    assert (found.candidate.size_bytes, found.candidate.graphs) == (size, {"model": size})
    assert found.size_ratio == pytest.approx(large.bundle.size_bytes / size)
    assert (found.candidate.digest, found.baseline.digest) == (small.digest, large.digest)


def test_samples_mix_right_and_wrong_and_hold_the_row_as_it_was(document):
    found = document.samples
    wrong = [sample for sample in found if sample.shown["label"] != sample.shown["candidate"]]
    assert len(found) == 24
    assert len(wrong) == 6
    assert list(found[:6]) == wrong
    for sample in found:
        assert (sample.kind, sample.score) == (("wrong", 0.0) if sample in wrong else ("right", 1.0))
        assert sample.said == sample.shown["candidate"]
        image = base64.b64decode(sample.row["image"]["base64"])
        assert sha256(image).hexdigest() == sample.digest


def test_the_document_holds_each_small_image_once_and_the_page_shows_it(document):
    encoded = encode_evaluation(document).decode()
    page = render_page("x", get_task("classification").pages.evaluation_sections(document))
    for sample in document.samples:
        assert encoded.count(sample.row["image"]["base64"]) == 1
        assert f'src="data:image/png;base64,{sample.row["image"]["base64"]}"' in page


def test_of_a_row_that_is_too_large_for_the_document_the_picture_is_kept(dataset, opened, monkeypatch):
    monkeypatch.setattr(samples, "_ROW_BYTES", 10)
    found = evaluate_pair(dataset, opened("a"), opened("b"), config())
    page = render_page("x", get_task("classification").pages.evaluation_sections(found))
    assert {sample.row for sample in found.samples} == {None}
    for sample in found.samples:
        assert f'src="data:image/png;base64,{sample.shown["image_base64"]}"' in page


def test_training_images_and_empty_or_unknown_splits_are_refused(dataset, opened):
    model = opened("a")
    with pytest.raises(UserError, match="cannot be evaluated on the images it was trained on"):
        evaluate_pair(dataset, model, model, config(split="train"))
    with pytest.raises(UserError, match="unknown split 'holdout'; available: validation, test"):
        evaluate_pair(dataset, model, model, config(split="holdout"))
    with pytest.raises(UserError, match="the test split is empty"):
        evaluate_pair(dataset, model, model, config(split="test"))


@pytest.mark.parametrize("blue", [float("nan"), float("inf")])
def test_a_model_that_gives_no_finite_answer_is_refused_in_one_line(dataset, opened, blue):
    for pair in ((opened("broken", blue=blue), opened("whole")), (opened("whole"), opened("broken", blue=blue))):
        with pytest.raises(UserError, match=r"NaN or infinity \('logits'\) for 32 of 32 images"):
            evaluate_pair(dataset, *pair, config())


def test_a_class_that_is_ruled_out_with_minus_infinity_is_an_answer(dataset, opened):
    found = evaluate_pair(dataset, opened("without", blue=-float("inf")), opened("blind", blind=True), config())
    assert found.primary.candidate.value == found.primary.baseline.value


def test_a_model_of_other_classes_is_refused(dataset, opened):
    with pytest.raises(UserError, match=r"the model predicts 3 classes \(cat, dog, fox\)"):
        evaluate_pair(dataset, opened("a", labels=["cat", "dog", "fox"]), opened("b"), config())


@pytest.mark.parametrize(("name", "value"), [("threads", 0), ("latency_rounds", 0)])
def test_impossible_measurements_are_refused(name, value):
    with pytest.raises(UserError, match=f"{name} must be at least 1"):
        config(**{name: value})


def test_no_limit_is_always_met():
    verdict = budget_verdict(Budget(), latency_ms=1e9, size_bytes=10**12, difference_points=-99)
    assert (verdict.meets, verdict.checks) == (True, ())


def test_each_limit_is_checked_and_one_missed_limit_decides():
    verdict = budget_verdict(
        Budget(max_latency_ms=2.0, max_size_mb=4.0, max_drop=1.5),
        latency_ms=2.0,
        size_bytes=4_000_001,
        difference_points=-1.5,
    )
    assert not verdict.meets
    assert {check.limit: check.met for check in verdict.checks} == {
        "max_latency_ms": True,
        "max_size_mb": False,
        "max_drop": True,
    }


def test_a_better_candidate_has_dropped_by_nothing():
    (check,) = budget_verdict(Budget(max_drop=0.0), latency_ms=1, size_bytes=1, difference_points=0.7).checks
    assert (check.limit, check.allowed, check.measured, check.met) == ("max_drop", 0.0, 0.0, True)


@pytest.mark.parametrize(
    ("name", "value"),
    [("max_latency_ms", 0.0), ("max_size_mb", -2.0), ("max_drop", -0.1), ("max_drop", float("nan"))],
)
def test_an_impossible_limit_is_refused_by_name(name, value):
    with pytest.raises(UserError, match=name):
        Budget(**{name: value})


def test_component_writes_evaluation_metrics_confusions_and_page(
    dataset_path, store, make_bundle, publish, run_evaluate
):
    inputs = {
        "dataset": dataset_path,
        "candidate": publish(make_bundle("a", blind=True), "candidate"),
        "baseline": publish(make_bundle("b"), "baseline"),
    }
    outputs = run_evaluate(inputs, split="validation", latency_rounds=2, max_drop=5.0, max_size_mb=1.0)
    found = read_evaluation(outputs["evaluation"].path, store)
    manifest = read_manifest(outputs["evaluation"].path, kind="evaluation")
    assert json.loads(read_file(manifest, "evaluation.json", store))["format"] == 6
    assert found.verdict.meets is False
    assert found.candidate.digest == read_manifest(inputs["candidate"]).digest
    logged = outputs["metrics"].metadata
    assert logged["top1"] == pytest.approx(found.primary.candidate.value, rel=5e-5)
    assert logged["baseline_top1"] == pytest.approx(found.primary.baseline.value, rel=5e-5)
    assert logged["meets_budget"] == 0
    assert {"speedup_batch1", "speedup_batch32", "difference_points", "size_mb"} <= set(logged)
    matrix = outputs["visualization"].metadata["confusionMatrix"]
    assert [entry["displayName"] for entry in matrix["annotationSpecs"]] == ["red", "green", "blue"]
    page = Path(outputs["page"].path).read_text()
    assert "misses the budget" in page
    assert "lost 26.67 points, allowed 5 points (missed)" in page


def test_another_kind_of_artifact_is_refused(dataset_path, make_bundle, publish, run_evaluate):
    inputs = {"dataset": dataset_path, "candidate": dataset_path, "baseline": publish(make_bundle("b"), "baseline")}
    with pytest.raises(UserError, match="cannot evaluate a 'dataset' artifact"):
        run_evaluate(inputs, split="validation")
