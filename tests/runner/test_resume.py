"""Going on with a run: what is kept, what runs again, and what is refused."""

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import components_for_tests as c
import pytest
from kfp import dsl

from components.core.errors import UserError
from components.core.store import open_store
from pipelines.runner.events import Event, TaskEnded, TaskStarted, Warned
from pipelines.runner.options import RunOptions
from pipelines.runner.records.state import RunState, read_run, read_tasks
from pipelines.runner.resume import resume_run
from pipelines.runner.run import run_pipeline


@c.component
def when_there(path: str) -> str:
    import pathlib

    return pathlib.Path(path).read_text()


@dsl.pipeline(name="mendable")
def mendable(path: str) -> str:
    data = c.write(content="one").outputs["data"]
    read = c.read(data=data)
    with dsl.ParallelFor([1, 2, 3]) as n:
        c.add(a=n)
    late = when_there(path=path).after(read)
    return c.text(value=late.output).output


class Resumed:
    """The events heard while a run was resumed."""

    def __init__(self, home: Path, **options: Any) -> None:
        self.events: list[Event] = []
        self.result = resume_run("r", listener=self.events.append, home=home, **options)

    @property
    def started(self) -> set[str]:
        return {event.task for event in self.events if isinstance(event, TaskStarted)}

    @property
    def kept(self) -> set[str]:
        return {event.task for event in self.events if isinstance(event, TaskEnded) and event.kept}

    @property
    def warnings(self) -> list[str]:
        return [event.message for event in self.events if isinstance(event, Warned)]


@c.component
def publish(model: dsl.Output[dsl.Model]):
    from components.core.artifacts.manifest import publish
    from components.core.store import store_from_environment

    publish(model.path, kind="model", files={"w.bin": b"weights"}, metadata={}, store=store_from_environment())


@dsl.pipeline(name="publishing")
def publishing(path: str):
    when_there(path=path).after(publish())


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def begin(compiled: Callable[..., Path], home: Path) -> Callable[..., Any]:
    def begin_run(pipeline: Any, **parameters: Any) -> Any:
        options = RunOptions(use_cache=False)
        return run_pipeline(
            compiled(pipeline), parameters, run_id="r", options=options, listener=lambda _: None, home=home
        )

    return begin_run


def test_a_failed_run_goes_on_where_it_failed_and_ends_as_if_nothing_had_been(
    begin: Callable[..., Any], home: Path, tmp_path: Path
) -> None:
    missing = tmp_path / "later.txt"
    assert begin(mendable, path=str(missing)).status == "failed"
    missing.write_text("mended")
    resumed = Resumed(home)
    assert resumed.result.status == "succeeded"
    assert resumed.result.outputs == {"Output": "mended"}
    assert resumed.started == {"when-there", "text"}
    assert resumed.kept >= {"write", "read"}
    tasks = {task.task: task for task in read_tasks(home / "runs" / "r")}
    assert {task.status for task in tasks.values()} == {"succeeded"}
    assert read_run(home / "runs" / "r").status == "succeeded"


def test_an_output_that_was_changed_or_lost_is_made_again(
    begin: Callable[..., Any], home: Path, tmp_path: Path
) -> None:
    missing = tmp_path / "later.txt"
    begin(mendable, path=str(missing))
    missing.write_text("mended")
    file = home / "runs/r/artifacts/write/data/deep/content.txt"
    file.write_text("two")
    resumed = Resumed(home)
    assert "write" in resumed.started
    assert file.read_text() == "one"
    # Its consumer's inputs are the same as before, so that one is kept.
    assert "read" in resumed.kept


@pytest.mark.parametrize("collected", [False, True])
def test_an_output_whose_blobs_were_collected_meanwhile_is_made_again(
    begin: Callable[..., Any], home: Path, tmp_path: Path, collected: bool
) -> None:
    missing = tmp_path / "later.txt"
    begin(publishing, path=str(missing))
    missing.write_text("mended")
    store = open_store(str(home / "store"))
    digest = hashlib.sha256(b"weights").hexdigest()
    assert store.blobs.has(digest)
    if collected:
        (home / "store/blobs/sha256" / digest[:2] / digest).unlink()
    resumed = Resumed(home)
    assert resumed.result.status == "succeeded"
    assert ("publish" in resumed.started) == collected
    assert store.blobs.has(digest)


def test_a_finished_run_is_not_run_again_but_from_a_task_on_if_asked(
    begin: Callable[..., Any], home: Path, tmp_path: Path
) -> None:
    source = tmp_path / "there.txt"
    source.write_text("first")
    begin(mendable, path=str(source))
    assert Resumed(home).events == []
    source.write_text("second")
    resumed = Resumed(home, from_task="when-there")
    assert resumed.started == {"when-there", "text"}
    assert resumed.result.outputs == {"Output": "second"}
    with pytest.raises(UserError, match="no task 'when-their'"):
        Resumed(home, from_task="when-their")
    with pytest.raises(UserError, match="3 tasks are called 'add'"):
        Resumed(home, from_task="add")
    group = next(task.task for task in read_tasks(home / "runs/r") if task.task.endswith("/add")).split("/")[0]
    assert Resumed(home, from_task=group).started == {f"{group}/[{i}]/add" for i in range(3)}


@dsl.pipeline(name="guarded")
def guarded(path: str):
    with dsl.ExitHandler(c.final(run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER)):
        when_there(path=path)
    c.text(value=dsl.PIPELINE_JOB_CREATE_TIME_UTC_PLACEHOLDER)


def test_an_exit_task_that_had_seen_the_failure_sees_the_success(
    begin: Callable[..., Any], home: Path, tmp_path: Path
) -> None:
    missing = tmp_path / "later.txt"
    before = begin(guarded, path=str(missing))
    assert before.summary["outputs"]["state"] == "FAILED"
    missing.write_text("mended")
    after = Resumed(home)
    assert after.result.summary is not None
    assert after.result.summary["outputs"]["state"] == "COMPLETE"
    assert after.result.summary["title"] == "r"


def test_the_run_keeps_its_time_so_that_what_depends_on_it_is_kept(
    begin: Callable[..., Any], home: Path, tmp_path: Path
) -> None:
    missing = tmp_path / "later.txt"
    begin(guarded, path=str(missing))
    missing.write_text("mended")
    time.sleep(1.1)  # the placeholder counts whole seconds
    assert "text" in Resumed(home).kept


def test_a_run_that_is_at_work_is_not_resumed(begin: Callable[..., Any], home: Path, tmp_path: Path) -> None:
    begin(mendable, path=str(tmp_path / "never"))
    working = RunState(home / "runs" / "r")
    try:
        with pytest.raises(UserError, match="run by another process"):
            Resumed(home)
    finally:
        working.close()


def test_a_run_that_is_not_there_is_refused(home: Path) -> None:
    with pytest.raises(UserError, match="no run"):
        Resumed(home)
    assert not home.exists()


def test_other_code_than_at_the_beginning_is_said(
    begin: Callable[..., Any], home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = tmp_path / "later.txt"
    begin(mendable, path=str(missing))
    missing.write_text("mended")
    # Every digest covers the versions of the libraries.
    monkeypatch.setattr("components.core.results.code.library_versions", lambda: "torch 99")
    resumed = Resumed(home)
    assert resumed.result.status == "succeeded"
    assert "the code has changed" in resumed.warnings[0]


def test_a_folder_that_was_left_before_the_run_began_is_used(compiled: Callable[..., Path], home: Path) -> None:
    (home / "runs" / "r").mkdir(parents=True)

    @dsl.pipeline(name="plain")
    def plain(n: int) -> int:
        return c.add(a=n).output

    result = run_pipeline(compiled(plain), {"n": 1}, run_id="r", listener=lambda _: None, home=home)
    assert result.outputs == {"Output": 3}


def test_a_refreshed_task_runs_although_its_result_is_known(compiled: Callable[..., Path], home: Path) -> None:
    @dsl.pipeline(name="known")
    def known(n: int) -> int:
        return c.add(a=c.add(a=n).output).output

    started: list[set[str]] = []
    for refresh in ((), (), ("add-2",)):
        events: list[Event] = []
        options = RunOptions(refresh=refresh)
        run_pipeline(compiled(known), {"n": 1}, options=options, listener=events.append, home=home)
        started.append({event.task for event in events if isinstance(event, TaskStarted)})
    assert started == [{"add", "add-2"}, set(), {"add-2"}]
    with pytest.raises(UserError, match="no task 'ad' in this pipeline; did you mean 'add'"):
        run_pipeline(compiled(known), {"n": 1}, options=RunOptions(refresh=("ad",)), listener=lambda _: None, home=home)
