"""`-p data=@path`: artifacts that a whole pipeline takes in."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import components_for_tests as c
import pytest
from kfp import dsl
from kfp.dsl import Dataset, Input, Model

from components.core.errors import UserError
from components.core.store import open_objects
from pipelines.runner.resume import resume_run

Run = Callable[..., Any]


@c.component
def content(data: Input[Dataset]) -> str:
    return f"{type(data).__name__} {data.name} {open(data.path).read()}"  # noqa: PTH123


@c.component
def contents(all_data: Input[list[Dataset]]) -> list:
    return [open(data.path).read() for data in all_data]  # noqa: PTH123


@dsl.pipeline
def inner(data: Input[Dataset], extra: Input[Dataset] = None):
    content(data=data)
    c.optional(data=extra)


@dsl.pipeline(name="taking")
def taking(data: Input[Dataset], word: str = "w", extra: Input[Dataset] = None):
    inner(data=data, extra=extra)
    c.text(value=word)
    c.optional(data=extra)


def test_a_given_artifact_reaches_tasks_and_nested_pipelines(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("bytes")
    ran = run(taking, data=f"@{tmp_path}/a", word="@literally")
    assert ran.outputs("inner/content") == {"Output": "Dataset data bytes"}
    assert ran.outputs("text") == {"Output": "@literally"}
    assert ran.outputs("optional") == {"Output": "None True default"}
    given = run(taking, data=f"@file://{tmp_path}/a", extra=f"@{tmp_path}/a")
    assert given.cached() == {"inner/content"}
    assert given.outputs("optional") == given.outputs("inner/optional") == {"Output": "None False default"}


def test_a_path_that_begins_with_an_at_sign_is_written_with_two(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "@a").write_text("at")
    monkeypatch.chdir(tmp_path)
    assert run(taking, data="@@a").outputs("inner/content") == {"Output": "Dataset data at"}


def test_a_list_of_artifacts_is_given_with_commas(run: Run, tmp_path: Path) -> None:
    @dsl.pipeline(name="listed")
    def listed(all_data: Input[list[Dataset]]):
        contents(all_data=all_data)
        with dsl.ParallelFor(all_data) as data:
            content(data=data)

    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    ran = run(listed, all_data=f"@{tmp_path}/a,@{tmp_path}/b")
    assert ran.outputs("contents") == {"Output": ["a", "b"]}
    assert ran.outputs("for-loop-1/[1]/content")["Output"].endswith(" b")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "missing input artifact(s): data (Dataset), model (Model); give them with -p name=@path-or-uri"),
        ({"data": "a", "model": "@."}, "input 'data' is an artifact (Dataset): give it as -p data=@path-or-uri"),
        ({"data": "@", "model": "@."}, "got '@'"),
        ({"data": "@/no/such", "model": "@."}, "input artifact 'data': there is no file or folder /no/such"),
        ({"data": "@hdfs://b/k", "model": "@."}, "input artifact 'data': 'hdfs://b/k' cannot be fetched"),
        ({"date": "@x"}, "unknown parameter 'date'; did you mean 'data'? (parameters: data, model, word)"),
    ],
)
def test_artifacts_that_are_missing_or_wrong_are_named_and_nothing_starts(
    run: Run, tmp_path: Path, given: dict[str, str], said: str
) -> None:
    @dsl.pipeline(name="needing")
    def needing(data: Input[Dataset], model: Input[Model], word: str = "w"):
        content(data=data)

    with pytest.raises(UserError) as caught:
        run(needing, **given)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("home/runs/*"))


def test_a_resumed_run_has_its_artifacts_again(run: Run, tmp_path: Path) -> None:
    @dsl.pipeline(name="stopped")
    def stopped(data: Input[Dataset], folder: str):
        read = content(data=data)
        c.fails_until(folder=folder, attempts=2).after(read)
        content(data=data).after(read)

    (tmp_path / "a").write_text("first")
    (tmp_path / "count").mkdir()
    ran = run(stopped, data=f"@{tmp_path}/a", folder=str(tmp_path / "count"))
    assert ran.result.status == "failed"
    (tmp_path / "a").write_text("second")
    resumed = resume_run(ran.result.run_id, listener=lambda event: None, home=tmp_path / "home")
    assert resumed.status == "succeeded"
    # The bytes are others, so even what had succeeded runs again.
    outputs = {task.task: task.output_parameters.get("Output") for task in resumed.tasks}
    assert outputs["content"] == outputs["content-2"] == "Dataset data second"

    (tmp_path / "a").unlink()
    with pytest.raises(UserError, match="'data' of this run is no longer at"):
        resume_run(ran.result.run_id, from_task="content", listener=lambda event: None, home=tmp_path / "home")


@pytest.mark.s3
def test_an_artifact_in_a_bucket_is_downloaded_into_the_run(
    run: Run, object_store_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in object_store_server.environment.items():
        monkeypatch.setenv(name, value)
    uri = f"s3://{object_store_server.bucket}/inputs/{tmp_path.name}"
    open_objects(uri).put("a.txt", b"far")
    ran = run(taking, data=f"@{uri}/a.txt")
    assert ran.outputs("inner/content") == {"Output": "Dataset data far"}
    assert (ran.result.folder / "inputs" / "data").read_bytes() == b"far"
    with pytest.raises(UserError, match="input artifact 'data': there is no object"):
        run(taking, data=f"@{uri}/b.txt")
