"""An executor output of any form: the task's fault, by name, and never the end of the runner."""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from kfp import dsl
from kfp.dsl import Artifact, Metrics, Output

from components.core.errors import UserError
from components.core.results.payload import Abandoned
from pipelines.runner.ir.pipeline import ArtifactPort, Component, Parameter
from pipelines.runner.processes.launch import Folders
from pipelines.runner.tasks.inputs import Inputs
from pipelines.runner.tasks.outputs import OUTPUT_FILE, collect, executor_input

COMPONENT = Component(
    name="comp-x", output_parameters={"text": Parameter(type="STRING")}, output_artifacts={"out": ArtifactPort()}
)


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    found = Folders(artifacts=tmp_path / "artifacts", work=tmp_path / "work", log=tmp_path / "log")
    found.artifacts.mkdir()
    (found.work / "outputs").mkdir(parents=True)
    return found


def collected(folders: Folders, text: str, **options: Any) -> Any:
    (folders.work / OUTPUT_FILE).write_text(text, encoding="utf-8", errors="surrogatepass")
    return collect(COMPONENT, executor_input(COMPONENT, Inputs(), folders), folders, **options)


def of_artifact(**fields: Any) -> str:
    return json.dumps({"artifacts": {"out": {"artifacts": [fields]}}})


WRONG = [
    of_artifact(uri=5), of_artifact(metadata=[1]), of_artifact(name={}), of_artifact(custom_path=7),
    '{"artifacts": {"out": {"artifacts": [5]}}}', '{"artifacts": {"out": {"artifacts": 5}}}', '{"artifacts": [1]}',
    '{"artifacts": {"out": 5}}', '{"parameterValues": [["text", "x"]]}', '{"parameterValues": "x"}', "[]", "5", "x", "",
    "[" * 100_000, '{"parameterValues": {"text": ' + "[" * 300 + "]" * 300 + "}}",
    '{"parameterValues": {"text": "\\ud800"}}',
    '{"parameterValues": {"text": [1e999]}}',
    json.dumps({"artifacts": {"out": {"artifacts": [{}] * 101}}}),
    of_artifact(metadata={"x": "\ud800"}), '{"parameterValues": {"text": ' + "9" * 5000 + "}}",
]  # fmt: skip


@pytest.mark.parametrize("text", WRONG, ids=range(len(WRONG)))
@pytest.mark.parametrize("contained", [False, True])
def test_an_executor_output_of_another_form_is_refused_in_one_line(
    folders: Folders, text: str, contained: bool
) -> None:
    options = {"shared": ()} if contained else {}
    if text in ("",):
        assert collected(folders, text, **options)[0] == {}
        return
    with pytest.raises(UserError) as refused:
        collected(folders, text, **options)
    assert "\n" not in str(refused.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
FIELDS = {"name": JSON, "uri": JSON, "metadata": JSON, "custom_path": JSON}
LISTED = st.lists(st.fixed_dictionaries({}, optional=FIELDS), max_size=2)
SHAPED = st.fixed_dictionaries(
    {},
    optional={
        "parameterValues": st.dictionaries(st.just("text"), JSON) | JSON,
        "artifacts": st.fixed_dictionaries({"out": st.fixed_dictionaries({"artifacts": LISTED | JSON}) | JSON}) | JSON,
    },
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(document=SHAPED | JSON)
@example(document={"artifacts": {"out": {"artifacts": [None]}}})
def test_any_executor_output_is_read_or_refused(folders: Folders, document: Any) -> None:
    with suppress(UserError):
        parameters, artifacts = collected(folders, json.dumps(document), shared=())
        assert isinstance(parameters.get("text", ""), str)
        assert {"name", "uri", "type", "metadata", "content"} == set().union(*artifacts["out"])


def test_a_metric_that_is_no_number_fails_its_task_and_is_named(run: Callable[..., Any]) -> None:
    @dsl.component(base_image="python:3.11")
    def score(loss: str, metrics: Output[Metrics]):
        metrics.log_metric("accuracy", 0.5)
        metrics.log_metric("loss", float(loss))

    @dsl.component(base_image="python:3.11")
    def struct() -> dict:
        return {"rows": [1.0, float("-inf")]}

    @dsl.pipeline(name="scores")
    def scores(loss: str):
        score(loss=loss)

    @dsl.pipeline(name="structs")
    def structs():
        struct()

    for loss, said in (("nan", "NaN"), ("inf", "Infinity")):
        ran = run(scores, loss=loss)
        assert ran.result.status == "failed"
        assert ran.ended("score").error == (
            f"its executor output cannot be read: it holds {said}, which JSON does not allow: "
            "artifacts.metrics.artifacts[0].metadata.loss"
        )
    assert run(scores, loss="0.25").result.status == "succeeded"
    assert "-Infinity, which JSON does not allow: parameterValues.Output.rows[1]" in run(structs).ended("struct").error


def test_a_wrong_executor_output_fails_its_task_by_name_and_the_exit_task_runs(run: Callable[..., Any]) -> None:
    @dsl.component(base_image="python:3.11")
    def lie(out: Output[Artifact]):
        import os

        out.uri = 5  # what kfp's executor then writes is of no use to anybody
        out.metadata["x"] = os.environ["TRIMTAB_TASK"]

    @dsl.component(base_image="python:3.11")
    def farewell():
        pass

    @dsl.pipeline(name="lying")
    def pipeline():
        with dsl.ExitHandler(farewell()):
            lie()

    ran = run(pipeline)
    assert ran.result.status == "failed"
    assert ran.result.error.startswith("lie: ")
    assert ran.statuses()["farewell"] == "succeeded", [task.error for task in ran.result.tasks]


@pytest.mark.parametrize("contained", [False, True])
def test_a_folder_of_a_tasks_own_choice_is_not_copied_to_its_end_when_nobody_waits(
    folders: Folders, contained: bool
) -> None:
    """The copy asks at each file, as the walks before and after it do."""
    mine = folders.work / "mine"
    for number in range(20):
        (mine / f"{number}").mkdir(parents=True)
        (mine / f"{number}" / "file").write_text("x")
    copied = lambda: len([*folders.artifacts.rglob("file")])  # noqa: E731
    with pytest.raises(Abandoned):
        collected(
            folders, of_artifact(custom_path=str(mine)), is_wanted=lambda: copied() < 3,
            **({"shared": ()} if contained else {}),
        )  # fmt: skip
    assert copied() == 3
