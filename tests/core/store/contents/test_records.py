"""Results and the journal."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from components.core.errors import UserError
from components.core.store import Damaged, Store, StoreError
from components.core.store.backends.objects import Objects

RECORD: dict[str, Any] = {"text": "Grüße 数", "number": 1.5, "none": None, "list": [1, {"a": True}]}


def test_a_result_is_found_again_by_its_key(store: Store, another_store: Store) -> None:
    assert store.results.load("prune", "key") is None
    store.results.save("prune", "key", RECORD)
    assert another_store.results.load("prune", "key") == RECORD
    assert store.results.load("prune", "other") is None
    assert store.results.load("distill", "key") is None


def test_a_result_is_replaced(store: Store) -> None:
    store.results.save("prune", "key", {"n": 1})
    store.results.save("prune", "key", {"n": 2})
    assert store.results.load("prune", "key") == {"n": 2}


def test_two_writers_of_one_result_are_harmless(store: Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: store.results.save("prune", "key", RECORD), range(8)))
    assert store.results.load("prune", "key") == RECORD


@pytest.mark.parametrize(
    "data", [b'{"cut": ', b"[1]", b"\xff", b"", b"[" * 100_000], ids=["cut", "a list", "not UTF-8", "empty", "brackets"]
)
def test_a_damaged_result_is_said_to_be_damaged(store: Store, objects: Objects, data: bytes) -> None:
    objects.put("results/prune/key.json", data)
    with pytest.raises(Damaged, match=r"results/prune/key\.json"):
        store.results.load("prune", "key")


@pytest.mark.parametrize("value", [float("nan"), object(), b"bytes"], ids=["nan", "object", "bytes"])
def test_a_result_that_json_cannot_hold_is_refused(store: Store, value: object) -> None:
    with pytest.raises(StoreError, match="prune/key"):
        store.results.save("prune", "key", {"value": value})
    assert store.results.load("prune", "key") is None


@pytest.mark.parametrize("name", ["", "..", "a/b", "/a", "a b", "ü"])
def test_a_result_with_an_unusable_name_is_refused(store: Store, name: str) -> None:
    with pytest.raises(UserError):
        store.results.save(name, "key", {})
    with pytest.raises(UserError):
        store.results.load("prune", name)


def test_the_journal_is_read_in_the_order_of_starting(store: Store) -> None:
    for task, started in (("c", 2.0), ("a", 3.0), ("b", 1.0)):
        store.journal.write("run-1", task, {"task": task, "started": started})
    assert [record["task"] for record in store.journal.read("run-1")] == ["b", "c", "a"]
    assert store.journal.read("run-2") == []


def test_a_task_that_never_started_is_in_the_journal_too(store: Store) -> None:
    store.journal.write("run-1", "b", {"task": "b", "started": 1.0})
    store.journal.write("run-1", "a", {"task": "a", "started": None})
    assert [record["task"] for record in store.journal.read("run-1")] == ["a", "b"]


def test_a_task_is_written_again_in_its_place(store: Store) -> None:
    store.journal.write("run-1", "a", {"status": "failed", "started": 1.0})
    store.journal.write("run-1", "a", {"status": "succeeded", "started": 2.0})
    assert [record["status"] for record in store.journal.read("run-1")] == ["succeeded"]


def test_tasks_whose_paths_look_alike_stay_apart(store: Store) -> None:
    tasks = [
        "exit-handler-1/for-loop-2/[0]/prune",
        "exit-handler-1/for-loop-2/0/prune",
        "exit-handler-1-for-loop-2-0-prune",
        "../../etc",
        "[]",
        "x" * 500,
        "y" + "x" * 499,
        "задача",
    ]
    for number, task in enumerate(tasks):
        store.journal.write("run-1", task, {"task": task, "started": number})
    assert [record["task"] for record in store.journal.read("run-1")] == tasks


def test_runs_are_those_that_have_a_record(store: Store) -> None:
    assert store.journal.runs() == []
    for run in ("run-2", "run-1", "run-3", "run-4"):
        store.journal.write(run, "task", {"started": 0})
    assert store.journal.runs() == ["run-1", "run-2", "run-3", "run-4"]


@pytest.mark.parametrize("run", ["", "..", "a/b", "a b"])
def test_a_run_with_an_unusable_name_is_refused(store: Store, run: str) -> None:
    with pytest.raises(UserError, match="run"):
        store.journal.write(run, "task", {})
