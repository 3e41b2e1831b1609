"""evaluation.json: what it holds comes back, and what is wrong with it is named."""

import json
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
from evaluation_documents import (
    comparison,
    cost,
    evaluation,
    metric_result,
    model,
    robustness,
    sample,
    verdict,
)
from hypothesis import given
from hypothesis import strategies as st

from components.core.artifacts.manifest import publish
from components.core.budget import Budget, Check
from components.core.errors import UserError
from components.core.evaluation.document import (
    Difference,
    Estimate,
    Evaluation,
    NearCopiesFacts,
    encode_evaluation,
    read_evaluation,
    without_samples,
)
from components.core.evaluation.parsing import parse, to_json
from components.core.store import open_store
from components.evaluate.page import write_evaluation_page

FULL = evaluation(
    metrics=(metric_result(0.9, 0.91), metric_result(31.2, 30.9, name="bleu", label="BLEU", percent=False)),
    groups=(comparison("boot", kind="class"), comparison("hat", kind="class", support=0, points=None)),
    slices=(comparison("camera=night"),),
    verdict=verdict(Check(limit="max_drop", allowed=1.5, measured=1.0, met=True)),
    budget=Budget(max_drop=1.5),
    samples=(sample(1, "coat", "bag", "aGk="),),
    robustness=robustness(),
    cost=cost(0.04),
)


def leaves(value: Any, path: tuple = ()) -> list[tuple]:
    """The path of every value inside a document that is neither a list nor an object."""
    if isinstance(value, dict):
        return [leaf for key, item in value.items() for leaf in leaves(item, (*path, key))]
    if isinstance(value, list):
        return [leaf for number, item in enumerate(value) for leaf in leaves(item, (*path, number))]
    return [path]


def fields(value: Any, path: tuple = ()) -> list[tuple]:
    """The path of every field of every object that this form knows; what host and details hold is anybody's."""
    free = {"host", "details", "shown", "counts", "inputs", "graphs", "row", "integer"}
    if isinstance(value, dict):
        return [(*path, key) for key in value] + [
            found for key, item in value.items() if key not in free for found in fields(item, (*path, key))
        ]
    if isinstance(value, list):
        return [found for number, item in enumerate(value) for found in fields(item, (*path, number))]
    return []


FIELDS = [path for path in fields(FULL.to_json()) if path != ("format",)]


def test_a_document_comes_back_as_it_was():
    assert Evaluation.from_json(json.loads(encode_evaluation(FULL))) == FULL
    assert Evaluation.from_json(FULL.to_json()).primary.points == pytest.approx(-1.0)


@given(
    value=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    points=st.none() | st.floats(-100, 100),
    batch1=st.floats(1e-3, 1e6),
    names=st.lists(st.text(), max_size=3),
)
def test_any_figures_come_back(value, points, batch1, names):
    metric = replace(
        metric_result(0.5, 0.5),
        candidate=Estimate(value=value, low=value, high=value),
        difference=Difference(points=points, low=points, high=points),
    )
    document = evaluation(
        metrics=(metric,), candidate=model(latency=batch1), slices=tuple(comparison(name) for name in names)
    )
    assert Evaluation.from_json(json.loads(encode_evaluation(document))) == document


def without(document: dict, path: tuple) -> dict:
    changed = deepcopy(document)
    inner: Any = changed
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]
    return changed


def written(path: tuple) -> str:
    text = ""
    for key in path:
        text += f"[{key}]" if isinstance(key, int) else f".{key}"
    return text.removeprefix(".")


@pytest.mark.parametrize("path", FIELDS, ids=written)
def test_a_missing_field_is_named_with_its_place(path):
    with pytest.raises(UserError) as raised:
        Evaluation.from_json(without(FULL.to_json(), path))
    place = written(path[:-1]) or "the document"
    assert str(raised.value) == f"evaluation.json cannot be read: {place} has no {path[-1]!r}"


@pytest.mark.parametrize("path", FIELDS, ids=written)
def test_a_value_of_another_type_is_named_with_its_place(path):
    document = deepcopy(FULL.to_json())
    inner: Any = document
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = [{}] if not isinstance(inner[path[-1]], list) else "no list"
    with pytest.raises(UserError, match=r"evaluation\.json cannot be read: ") as raised:
        Evaluation.from_json(document)
    assert written(path) in str(raised.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rows": True}, "rows must be a whole number, got True"),
        ({"rows": 1.5}, "rows must be a whole number, got 1.5"),
        ({"size_ratio": float("nan")}, "size_ratio must be a number, got nan"),
        ({"metrics": []}, "an evaluation has at least one metric"),
        ({"speedups": []}, "both models must be timed at batch 1"),
        ({"unheard": 1}, "the document has the unknown field 'unheard'"),
    ],
)
def test_what_cannot_be_is_refused(change, said):
    with pytest.raises(UserError, match=said):
        Evaluation.from_json({**FULL.to_json(), **change})


def test_an_evaluation_from_before_robustness_and_cost_is_read():
    earlier = {**FULL.to_json(), "format": 5}
    for name in ("robustness", "cost"):
        del earlier[name]
    assert Evaluation.from_json(earlier) == replace(FULL, robustness=None, cost=None)
    with pytest.raises(UserError, match=r"has no 'metrics'"):
        Evaluation.from_json({name: value for name, value in earlier.items() if name != "metrics"})


def test_an_evaluation_of_an_earlier_version_is_refused_in_one_line_that_says_what_to_do():
    with pytest.raises(UserError, match=r"made by an earlier version of trimtab \(format 1\); evaluate again"):
        Evaluation.from_json({"format": 1, "split": "test", "candidate": {"top1": 0.9}})
    with pytest.raises(UserError, match=r"made by an earlier version of trimtab \(format 3\); evaluate again"):
        Evaluation.from_json({**FULL.to_json(), "format": 3})
    for odd in ({}, [], "text", {"format": 7}, {"format": True}):
        with pytest.raises(UserError, match="must have format 6"):
            Evaluation.from_json(odd)


def test_numbers_that_json_cannot_hold_are_not_written():
    with pytest.raises(ValueError, match="None stands for what is not known"):
        to_json(Estimate(value=float("nan"), low=None, high=None))


@pytest.mark.parametrize("odd", [10**400, -(10**400), float("nan"), float("inf"), True, "1"])
def test_what_is_no_number_that_a_float_can_hold_is_refused(odd):
    with pytest.raises(ValueError, match="value must be a number, got"):
        parse(Estimate, {"value": odd, "low": None, "high": None})


def test_a_whole_number_serves_where_a_number_is_asked_for():
    assert parse(Estimate, {"value": 1, "low": None, "high": 2.5}) == Estimate(value=1.0, low=None, high=2.5)


def test_it_is_read_from_an_artifact_and_another_kind_is_refused(tmp_path):
    store = open_store(str(tmp_path / "store"))
    files = {"evaluation.json": encode_evaluation(FULL)}
    publish(tmp_path / "here", kind="evaluation", files=files, metadata={}, store=store)
    assert read_evaluation(tmp_path / "here", store) == FULL
    publish(tmp_path / "other", kind="decision", files=files, metadata={}, store=store)
    with pytest.raises(UserError, match="decision"):
        read_evaluation(tmp_path / "other", store)
    publish(tmp_path / "broken", kind="evaluation", files={"evaluation.json": b"{"}, metadata={}, store=store)
    with pytest.raises(UserError, match=r"evaluation\.json is not valid JSON"):
        read_evaluation(tmp_path / "broken", store)
    publish(tmp_path / "deep", kind="evaluation", files={"evaluation.json": b"[" * 100_000}, metadata={}, store=store)
    with pytest.raises(UserError, match=r"evaluation\.json is not valid JSON: it is nested"):
        read_evaluation(tmp_path / "deep", store)


def test_without_its_samples_the_rest_stays():
    assert without_samples(FULL) == replace(FULL, samples=())


def test_what_must_be_said_of_the_rows_stands_in_brackets(tmp_path):
    facts = evaluation().dataset
    assert evaluation().aside == ""
    scenes = evaluation(dataset=replace(facts, description="synthetic scenes"))
    write_evaluation_page(tmp_path / "page.html", scenes)
    assert "1,000 images of the test split (synthetic scenes)." in (tmp_path / "page.html").read_text()


def test_near_copies_in_training_are_said_of_the_split_that_has_them():
    near = NearCopiesFacts(grouped=False, rows=9, groups=4, in_training={"test": 40, "validation": 0})
    leaky = evaluation(dataset=replace(evaluation().dataset, near_copies=near))
    assert leaky.aside == " (40 of 1,000 have a near copy in training)"
    assert replace(leaky, split="validation").aside == ""
    assert Evaluation.from_json(leaky.to_json()) == leaky


def test_a_metric_of_which_no_row_says_anything_gives_no_points():
    nothing = metric_result(0.5, 0.5, difference=Difference(points=None, low=None, high=None))
    with pytest.raises(UserError, match="top-1 cannot be computed"):
        _ = nothing.points
