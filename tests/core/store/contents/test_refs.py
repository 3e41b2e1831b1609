from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from components.core.errors import UserError
from components.core.store import PreconditionFailed, RefConflict, Store
from components.core.store.backends.objects import Objects
from components.core.store.contents.refs import Refs


def test_a_ref_points_at_its_last_value(store: Store, another_store: Store) -> None:
    assert store.refs.read("champion") is None
    first = store.refs.move("champion", {"version": "1"}, expected=None)
    second = store.refs.move("champion", {"version": "2"}, expected=first)
    assert another_store.refs.read("champion") == second
    assert second.value == {"version": "2"}


def test_a_ref_may_be_in_a_folder(store: Store) -> None:
    store.refs.move("flowers/champion", {"version": "1"}, expected=None)
    assert store.refs.read("champion") is None
    ref = store.refs.read("flowers/champion")
    assert ref is not None
    assert ref.value == {"version": "1"}


def test_a_ref_that_exists_is_not_made_again(store: Store, another_store: Store) -> None:
    store.refs.move("champion", {"version": "1"}, expected=None)
    with pytest.raises(RefConflict, match="champion"):
        another_store.refs.move("champion", {"version": "1"}, expected=None)


def test_a_stale_reader_cannot_move_a_ref_even_if_it_came_back_to_the_same_value(store: Store) -> None:
    stale = store.refs.move("champion", {"version": "1"}, expected=None)
    there = store.refs.move("champion", {"version": "2"}, expected=stale)
    back = store.refs.move("champion", {"version": "1"}, expected=there)
    with pytest.raises(RefConflict):
        store.refs.move("champion", {"version": "3"}, expected=stale)
    assert store.refs.read("champion") == back


@pytest.mark.parametrize("start", ["absent", "present"])
def test_of_twenty_writers_who_race_for_a_ref_one_wins(store: Store, start: str) -> None:
    expected = store.refs.move("champion", {"writer": -1}, expected=None) if start == "present" else None

    def move(writer: int) -> int | None:
        try:
            store.refs.move("champion", {"writer": writer}, expected=expected)
        except RefConflict:
            return None
        return writer

    with ThreadPoolExecutor(20) as pool:
        winners = [writer for writer in pool.map(move, range(20)) if writer is not None]
    ref = store.refs.read("champion")
    assert ref is not None
    assert winners == [ref.value["writer"]]


def test_counting_by_compare_and_swap_loses_no_count(store: Store) -> None:
    store.refs.move("count", {"n": 0}, expected=None)

    def add_one(_: int) -> None:
        while True:
            ref = store.refs.read("count")
            assert ref is not None
            try:
                store.refs.move("count", {"n": ref.value["n"] + 1}, expected=ref)
                return
            except RefConflict:
                continue

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add_one, range(16)))
    ref = store.refs.read("count")
    assert ref is not None
    assert ref.value == {"n": 16}


def test_a_move_whose_answer_was_lost_is_not_taken_for_a_conflict(objects: Objects) -> None:
    class LosesTheAnswer:
        """As botocore's retry shows it: the first write was done, the second finds it in its way."""

        def __getattr__(self, name: str) -> object:
            return getattr(objects, name)

        def put(self, key: str, body: bytes, **condition: object) -> str:
            objects.put(key, body, **condition)  # type: ignore[arg-type]
            raise PreconditionFailed(key)

    refs = Refs(LosesTheAnswer())  # type: ignore[arg-type]
    moved = refs.move("champion", {"version": "1"}, expected=None)
    assert refs.read("champion") == moved
    again = refs.move("champion", {"version": "2"}, expected=moved)
    assert refs.read("champion") == again


@pytest.mark.parametrize("name", ["", "../champion", "/champion", "a//b", "a b", ".hidden"])
def test_a_name_that_is_no_name_is_refused(store: Store, name: str) -> None:
    with pytest.raises(UserError, match="ref"):
        store.refs.read(name)
