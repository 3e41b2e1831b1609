"""Records written behind the tasks' backs: none may be missing where somebody looks."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import components_for_tests as c
import pytest
from kfp import dsl

from components.core.results import cache
from components.core.store import open_store
from pipelines.runner.events import TaskStarted
from pipelines.runner.options import RunOptions
from pipelines.runner.records import journal
from pipelines.runner.records.backlog import NUM_WRITERS, Backlog
from pipelines.runner.resume import resume_run
from pipelines.runner.run import run_pipeline


@c.component
def journalled(status: dsl.PipelineTaskFinalStatus) -> list:
    """The tasks whose journal records are there, as a report of the run sees them."""
    import os

    from components.core.store import store_from_environment

    return [record["task"] for record in store_from_environment().journal.read(os.environ["TRIMTAB_RUN_ID"])]


@c.component
def change(data: dsl.Input[dsl.Dataset]) -> str:
    """Writes over its own input, which no component should."""
    import pathlib

    (pathlib.Path(data.path) / "deep" / "content.txt").write_text("changed")
    return "done"


def test_writes_begin_in_order_and_are_over_when_flush_returns() -> None:
    begun: list[int] = []
    done: list[int] = []

    def write(number: int) -> str:
        begun.append(number)
        done.append(number)
        return "" if number % 10 else f"problem {number}"

    async def scenario() -> list[str]:
        problems: list[str] = []
        backlog = Backlog(problems.append)
        for number in range(40):
            backlog.add(lambda number=number: write(number), key=str(number))
        assert backlog.is_waiting("39")
        await backlog.flush()
        assert sorted(done) == list(range(40))
        assert not backlog.is_waiting("39")
        await backlog.close()
        return problems

    assert asyncio.run(scenario()) == [f"problem {number}" for number in (0, 10, 20, 30)]
    batches = [begun[at : at + NUM_WRITERS] for at in range(0, 40, NUM_WRITERS)]
    assert [set(batch) for batch in batches] == [set(range(at, at + NUM_WRITERS)) for at in range(0, 40, NUM_WRITERS)]


def test_a_follower_does_not_wait_for_the_journal(
    compiled: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @dsl.pipeline(name="two")
    def two():
        c.text(value="after").after(c.add(a=1))

    started = threading.Event()
    write = journal.write
    monkeypatch.setattr(journal, "write", lambda *args: (started.wait(20) or pytest.fail("never"), write(*args)))

    def hear(event: Any) -> None:
        if isinstance(event, TaskStarted) and event.task == "text":
            started.set()

    home = tmp_path / "home"
    result = run_pipeline(compiled(two), {}, listener=hear, home=home)
    assert result.status == "succeeded"
    records = open_store(str(home / "store")).journal.read(result.run_id)
    assert {record["task"] for record in records} == {"add", "text"}


def test_an_exit_handler_finds_the_journal_of_all_that_was_before_it(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    @dsl.pipeline(name="handled")
    def handled():
        with dsl.ExitHandler(journalled()), dsl.ParallelFor(list(range(12))) as n:
            c.add(a=n).set_cpu_request("0.1")

    write = journal.write
    monkeypatch.setattr(journal, "write", lambda *args: (threading.Event().wait(0.05), write(*args)))
    ran = run(handled)
    seen = ran.outputs("journalled")["Output"]
    assert len(seen) == 12
    assert set(seen) == {task.task for task in ran.result.tasks} - {"journalled"}


def test_an_equal_task_waits_for_a_result_that_is_still_being_written(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    @dsl.pipeline(name="equal")
    def equal():
        first = c.add(a=1)
        c.add(a=1).after(first)

    save = cache.save
    monkeypatch.setattr(cache, "save", lambda *args, **more: (threading.Event().wait(0.3), save(*args, **more)))
    assert run(equal).cached() == {"add-2"}


def test_what_a_follower_does_to_its_input_does_not_get_into_the_cache(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    @dsl.pipeline(name="changed")
    def changed():
        change(data=c.write(content="one").outputs["data"])

    save = cache.save
    monkeypatch.setattr(cache, "save", lambda *args, **more: (threading.Event().wait(0.3), save(*args, **more)))
    run(changed)
    again = run(changed)
    assert again.cached() == {"write", "change"}
    artifact = next(task for task in again.result.tasks if task.task == "write").output_artifacts["data"][0]
    assert (Path(artifact["uri"]) / "deep" / "content.txt").read_text() == "one"


def test_resume_writes_what_a_killed_runner_had_not_yet_written(compiled: Callable[..., Path], tmp_path: Path) -> None:
    @dsl.pipeline(name="cut")
    def cut():
        c.fail().after(c.add(a=1))

    home = tmp_path / "home"
    run_pipeline(compiled(cut), {}, run_id="r", options=RunOptions(), listener=lambda _: None, home=home)
    store = open_store(str(home / "store"))
    for path in [*(home / "store" / "results").rglob("*.json"), *(home / "store" / "journal").rglob("add*.json")]:
        path.unlink()
    resume_run("r", listener=lambda _: None, home=home)
    assert {record["task"] for record in store.journal.read("r")} == {"add", "fail"}
    assert len(list((home / "store" / "results" / "add").iterdir())) == 1
