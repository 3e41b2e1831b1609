from __future__ import annotations

from pathlib import Path

import pytest

from components.core.errors import UserError
from components.core.store import Store, StoreError
from components.core.store.backends.objects import Objects
from components.core.store.contents.checkpoints import Checkpoints


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_checkpoint_comes_back_whole(store: Store, another_store: Store, tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"weights")
    store.checkpoints.save("key", {"weights": tmp_path / "weights", "state/optimizer.json": b"{}"})
    assert another_store.checkpoints.load("key", tmp_path / "new")
    assert contents(tmp_path / "new") == {"weights": b"weights", "state/optimizer.json": b"{}"}


def test_without_a_checkpoint_nothing_is_loaded(store: Store, tmp_path: Path) -> None:
    assert not store.checkpoints.load("key", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_checkpoint_replaces_the_one_before_and_keeps_nothing_of_it(
    store: Store, objects: Objects, tmp_path: Path
) -> None:
    store.checkpoints.save("key", {"weights": b"1", "extra": b"1"})
    store.checkpoints.save("key", {"weights": b"2"})
    assert store.checkpoints.load("key", tmp_path / "new")
    assert contents(tmp_path / "new") == {"weights": b"2"}
    assert len(list(objects.walk("checkpoints"))) == 2  # the index and one file


def test_a_save_that_fails_midway_keeps_the_checkpoint_before(store: Store, objects: Objects, tmp_path: Path) -> None:
    store.checkpoints.save("key", {"weights": b"1", "state": b"1"})
    with pytest.raises(StoreError, match="nowhere: No such file"):
        store.checkpoints.save("key", {"weights": b"2", "state": tmp_path / "nowhere"})

    class BreaksAtTheState:
        def __getattr__(self, name: str) -> object:
            return getattr(objects, name)

        def put(self, key: str, body: bytes, **options: str) -> str:
            if key.endswith("/state"):
                raise StoreError("no connection")
            return objects.put(key, body, **options)  # type: ignore[arg-type]

    with pytest.raises(StoreError, match="no connection"):
        Checkpoints(BreaksAtTheState()).save("key", {"weights": b"2", "state": b"2"})  # type: ignore[arg-type]
    assert store.checkpoints.load("key", tmp_path / "new")
    assert contents(tmp_path / "new") == {"weights": b"1", "state": b"1"}


def test_a_cleared_checkpoint_leaves_nothing(store: Store, objects: Objects, tmp_path: Path) -> None:
    store.checkpoints.save("key", {"weights": b"1"})
    store.checkpoints.save("other", {"weights": b"other"})
    objects.put("checkpoints/key/left-by-a-killed-writer/weights", b"half")
    store.checkpoints.clear("key")
    store.checkpoints.clear("key")
    assert not store.checkpoints.load("key", tmp_path / "new")
    assert list(objects.walk("checkpoints/key")) == []
    assert store.checkpoints.load("other", tmp_path / "new")


def test_a_damaged_checkpoint_is_not_used_and_touches_no_file(
    store: Store, objects: Objects, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store.checkpoints.save("key", {"a": b"good", "b": b"good"})
    (damaged,) = [listed.key for listed in objects.walk("checkpoints") if listed.key.endswith("/b")]
    objects.put(damaged, b"evil")
    assert not store.checkpoints.load("key", tmp_path / "new")
    assert contents(tmp_path / "new") == {}
    assert "is not used" in caplog.text


def test_a_checkpoint_with_a_lost_file_is_not_used(store: Store, objects: Objects, tmp_path: Path) -> None:
    store.checkpoints.save("key", {"a": b"good", "b": b"good"})
    (lost,) = [listed.key for listed in objects.walk("checkpoints") if listed.key.endswith("/b")]
    objects.delete(lost)
    assert not store.checkpoints.load("key", tmp_path / "new")
    assert contents(tmp_path / "new") == {}


@pytest.mark.parametrize("name", ["../escape", "/absolute", "", "a/../../b", ".hidden"])
def test_a_checkpoint_file_cannot_leave_its_folder(store: Store, objects: Objects, name: str) -> None:
    with pytest.raises(UserError):
        store.checkpoints.save("key", {name: b""})
    with pytest.raises(UserError):
        store.checkpoints.save("../key", {"weights": b""})
    assert list(objects.walk()) == []
