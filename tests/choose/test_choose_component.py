import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from evaluation_documents import evaluation, metric_result, model

from components.choose.component import choose
from components.core.artifacts.manifest import publish, read_file, read_manifest
from components.core.choice.measured import measure_recipes
from components.core.errors import UserError
from components.core.evaluation.document import Difference, encode_evaluation
from components.core.store import open_store

RECIPES = [{"name": "80% MACs", "macs_fraction": 0.8}, {"name": "50% MACs", "macs_fraction": 0.5}]


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("TRIMTAB_STORE", str(tmp_path / "store"))
    return open_store(str(tmp_path / "store"))


def measured(*, top1, latency, size, macs, baseline_latency=10.0, split="validation"):
    """One recipe against a baseline of 90 %; a standard error of 0.3 points."""
    return evaluation(
        split=split,
        metrics=(metric_result(top1, 0.9, spread=0.588),),
        candidate=model(latency=latency, size_bytes=size, macs=macs),
        baseline=model(scheme="float32", latency=baseline_latency, size_bytes=12_000_000, macs=1000),
    )


MEASURED = [
    measured(top1=0.898, latency=6.0, size=3_000_000, macs=800),
    measured(top1=0.880, latency=8.0, size=2_000_000, macs=500, baseline_latency=20.0),
]


def outputs(tmp_path):
    return {
        name: SimpleNamespace(path=str(tmp_path / "outputs" / name), metadata={})
        for name in ("chosen", "chosen_model", "decision", "page")
    }


class Metrics:
    """Stands for KFP's Metrics artifact."""

    def __init__(self):
        self.logged = {}
        self.metadata = {}

    def log_metric(self, name, value):
        self.logged[name] = value


def run(tmp_path, store, evaluations=MEASURED, recipes=RECIPES, **limits):
    """The stage on artifacts in a real store; returns its outputs."""

    def artifacts(kind, name, contents):
        made = []
        for number, content in enumerate(contents):
            path = tmp_path / "inputs" / f"{kind}-{number}"
            publish(path, kind=kind, files={name: content}, metadata={"number": number}, store=store)
            made.append(SimpleNamespace(path=str(path), metadata={}))
        return made

    given, metrics = outputs(tmp_path), Metrics()
    choose.python_func(
        candidates=artifacts("onnx", "model.onnx", [f"onnx {n}".encode() for n in range(len(evaluations))]),
        models=artifacts("model", "weights.safetensors", [f"torch {n}".encode() for n in range(len(evaluations))]),
        evaluations=artifacts("evaluation", "evaluation.json", [encode_evaluation(one) for one in evaluations]),
        recipes=recipes,
        metrics=metrics,
        **given,
        **limits,
    )
    decision = json.loads(read_file(read_manifest(given["decision"].path, kind="decision"), "decision.json", store))
    return given, decision, metrics.logged


def test_the_chosen_artifacts_are_the_very_inputs_under_another_path(tmp_path, store):
    given, decision, _ = run(tmp_path, store, max_drop=1.0)
    assert decision["chosen"] == 0
    for name, kind in (("chosen", "onnx"), ("chosen_model", "model")):
        copy = read_manifest(given[name].path, kind=kind)
        assert copy.digest == read_manifest(tmp_path / "inputs" / f"{kind}-0").digest
    assert read_file(read_manifest(given["chosen"].path), "model.onnx", store) == b"onnx 0"


def test_with_a_looser_limit_the_faster_recipe_is_chosen_and_the_metrics_say_so(tmp_path, store):
    given, decision, metrics = run(tmp_path, store, max_drop=3.0)
    assert decision["chosen"] == 1
    assert decision["meets_budget"] is True
    assert metrics["speedup_batch1"] == pytest.approx(2.5)
    assert metrics["drop_points"] == pytest.approx(2.0)
    assert metrics["meets_budget"] == 1
    assert given["chosen"].metadata["recipe"] == "50% MACs"


def test_an_impossible_budget_delivers_the_nearest_recipe_with_the_reason(tmp_path, store):
    given, decision, metrics = run(tmp_path, store, max_size_mb=0.5)
    assert decision["chosen"] == 1
    assert decision["meets_budget"] is False
    assert decision["recipes"][1]["reasons"] == ["size 2.00 MB, allowed 0.5 MB"]
    assert metrics["meets_budget"] == 0
    with open(given["page"].path, encoding="utf-8") as file:  # noqa: PTH123
        assert "50% MACs is chosen, and misses the budget" in file.read()


def test_the_page_says_which_recipe_was_not_measured_as_it_should_be(tmp_path, store):
    given, decision, _ = run(tmp_path, store, [MEASURED[0], replace(MEASURED[1], warnings=("The machine was busy.",))])
    assert [recipe["warnings"] for recipe in decision["recipes"]] == [[], ["The machine was busy."]]
    assert "50% MACs: The machine was busy." in Path(given["page"].path).read_text()
    given, _, _ = run(tmp_path / "quiet", store)
    assert "Not measured as it should be" not in Path(given["page"].path).read_text()


def test_latencies_are_compared_through_the_baseline_that_was_timed_with_them():
    # 8 of 20 ms on a busy machine is faster than 6 of 10 ms on a quiet one.
    first, second = measure_recipes(MEASURED)
    assert (first.relative_latency, second.relative_latency) == (0.6, 0.4)
    assert (first.latency_ms, second.latency_ms) == (pytest.approx(9.0), pytest.approx(6.0))
    assert first.drop_error == pytest.approx(0.3, abs=1e-3)


def test_a_choice_on_test_data_is_refused(tmp_path, store):
    peeking = [MEASURED[0], replace(MEASURED[1], split="test")]
    with pytest.raises(UserError, match="evaluation 2 of 2 was made on the test split"):
        run(tmp_path, store, evaluations=peeking)


def test_lists_of_different_lengths_are_refused(tmp_path, store):
    with pytest.raises(UserError, match="got 2, 2, 2 and 1"):
        run(tmp_path, store, recipes=RECIPES[:1])


def test_no_recipe_at_all_is_refused(tmp_path, store):
    with pytest.raises(UserError, match="got 0, 0, 0 and 0"):
        run(tmp_path, store, evaluations=[], recipes=[])


def test_an_impossible_limit_is_refused_before_anything_is_read(tmp_path, store):
    with pytest.raises(UserError, match="max_latency_ms must be greater than 0"):
        run(tmp_path, store, max_latency_ms=0.0)


def test_recipes_that_were_measured_by_different_metrics_are_not_compared(tmp_path, store):
    other = replace(MEASURED[1], metrics=(metric_result(0.4, 0.41, name="overlap", label="overlap"),))
    with pytest.raises(UserError, match="evaluations of different metrics cannot be compared: overlap, top1"):
        run(tmp_path, store, evaluations=[MEASURED[0], other])


def test_the_choice_is_made_in_points_of_any_metric_and_its_page_names_it(tmp_path, store):
    # 31.2 and 30.1 of something that is no percentage and has one point per unit, against 32.
    scores = {"name": "score", "label": "Score", "percent": False, "points_per_unit": 1.0}
    evaluations = [
        replace(
            one,
            metrics=(
                replace(
                    metric_result(value, 32.0, **scores),
                    difference=Difference(points=value - 32, low=value - 32 - 0.2, high=value - 32 + 0.2),
                ),
            ),
        )
        for one, value in zip(MEASURED, (31.2, 30.1), strict=True)
    ]
    given, decision, metrics = run(tmp_path, store, evaluations=evaluations, max_drop=1.0)
    assert decision["chosen"] == 0
    assert decision["metric"] == {**scores, "higher_is_better": True}
    assert [row["drop_points"] for row in decision["recipes"]] == [pytest.approx(0.8), pytest.approx(1.9)]
    assert decision["baseline"]["value"] == 32.0
    assert metrics["validation_score"] == 31.2
    page = Path(given["page"].path).read_text(encoding="utf-8")
    assert "Score against latency" in page
    assert ">31.20<" in page
    assert "top-1" not in page
