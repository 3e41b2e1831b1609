from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from components.core.store import Store, open_store
from components.core.store.contents.champions import Champions

Trimtab = Callable[..., Any]


@pytest.fixture
def store(tmp_path: Path, trimtab: Trimtab) -> Store:
    """The store that a run in this folder would use, with three releases."""
    found = open_store(str(tmp_path / "trimtab-out" / "store"))
    for version in ("aaa", "bbb", "ccc"):
        found.releases.publish("sorter", version, {"model.onnx": version.encode()})
    return found


def test_a_promotion_and_a_rollback_leave_who_when_and_why(
    trimtab: Trimtab, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIMTAB_USER", "ann")
    assert trimtab("promote", "sorter/aaa", "--why", "the first").out == "champion: none -> sorter/aaa\n"
    assert trimtab("promote", "bbb", "--why", "better").out == "champion: sorter/aaa -> sorter/bbb\n"
    monkeypatch.delenv("TRIMTAB_USER")
    monkeypatch.setenv("LOGNAME", "bob")
    assert trimtab("rollback", "--why", "complaints").out == "champion: sorter/bbb -> sorter/aaa\n"
    lines = trimtab("champion").out.splitlines()
    assert lines[0] == "sorter/aaa"
    assert [line.split("+00:00  ")[1].split(" by ")[0] for line in lines[1:]] == [
        "rolled back sorter/aaa ",
        "promoted sorter/bbb ",
        "promoted sorter/aaa ",
    ]
    assert "by bob@" in lines[1]
    assert lines[1].endswith(": complaints")
    assert "by ann: better" in lines[2]


def test_each_name_has_a_champion_of_its_own(trimtab: Trimtab, store: Store) -> None:
    trimtab("promote", "aaa", "--why", "x", "--name", "eu/champion")
    assert trimtab("champion", "--name", "eu/champion").out.startswith("sorter/aaa\n")
    said = trimtab("champion")
    assert said.code == 2
    assert f"there is no champion 'champion' yet in the store {store.uri}; promote a release: trimtab" in said.err


def test_promoting_the_champion_says_that_nothing_moved(trimtab: Trimtab, store: Store) -> None:
    trimtab("promote", "aaa", "--why", "x")
    said = trimtab("promote", "aaa", "--why", "x")
    assert said.code == 0
    assert "already" in said.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("promote", "sorter/ddd", "--why", "x"), "there is no release 'sorter/ddd'; give one as NAME/VERSION: sorter"),
        (("promote", "sorter", "--why", "x"), "3 releases are called 'sorter'"),
        (("promote", "aaa"), "why"),
        (("promote", "aaa", "--why", " "), "why must not be empty"),
        (("rollback", "--why", "x"), "there is no champion to roll back"),
        (("promote", "aaa", "--why", "x", "--name", "../x"), "not a usable"),
    ],
)
def test_a_mistake_is_one_line(trimtab: Trimtab, store: Store, arguments: tuple[str, ...], words: str) -> None:
    said = trimtab(*arguments)
    assert said.code == 2
    assert words in said.err
    assert said.err.count("\n") <= 1
    assert store.champions.read() is None


@pytest.mark.parametrize(
    "command", [("promote", "model", "--why", "x"), ("verify", "model"), ("layout", "model", "--to", "there")]
)
def test_a_store_without_releases_says_how_to_make_one(
    trimtab: Trimtab, tmp_path: Path, command: Sequence[str]
) -> None:
    open_store(str(tmp_path / "store")).blobs.put(b"of a first run")
    said = trimtab(*command, "--store", str(tmp_path / "store"))
    assert said.code == 2
    assert said.err == (
        "error: there is no release 'model': the store has no releases yet; make one with trimtab run, or give "
        "another --store\n"
    )


def test_a_damaged_release_is_refused_in_one_line(trimtab: Trimtab, store: Store, tmp_path: Path) -> None:
    (tmp_path / "trimtab-out" / "store" / "releases" / "sorter" / "bbb" / "model.onnx").write_bytes(b"?")
    said = trimtab("promote", "bbb", "--why", "x")
    assert said.code == 2
    assert "sorter/bbb is not a complete release" in said.err
    assert "Traceback" not in said.err


def test_whoever_comes_second_is_told_who_was_first(
    trimtab: Trimtab, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another promotes between the look at the champion and the swap."""
    trimtab("promote", "aaa", "--why", "x")
    move = Champions._move

    def late(self: Champions, *given: Any) -> Any:
        monkeypatch.setattr(Champions, "_move", move)
        store.champions.promote("sorter", "ccc", who="ann", why="was faster")
        return move(self, *given)

    monkeypatch.setattr(Champions, "_move", late)
    said = trimtab("promote", "bbb", "--why", "x")
    assert said.code == 2
    assert "somebody else moved the champion at the same moment, to sorter/ccc, by ann" in said.err
    assert trimtab("champion").out.startswith("sorter/ccc\n")
