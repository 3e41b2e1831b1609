"""Faults that only a store in a folder can have: permissions, locks, and names that a file system cannot hold."""

from __future__ import annotations

import errno
import fcntl
import os
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread

import pytest

from components.core.store import AccessDenied, StoreError, open_store
from components.core.store.backends.local_objects import LocalObjects


def succeeds_for_an_ordinary_user(function: Callable[[], None]) -> bool:
    """Runs the function in a child without root's right to read and write everything."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            if os.geteuid() == 0:
                os.setgid(65534)
                os.setuid(65534)
            function()
            status = 0
        except BaseException:
            traceback.print_exc()
            raise
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1] == 0


@pytest.fixture
def shared_folder() -> Iterator[Path]:
    """A folder whose parents every user may enter; pytest's own are closed to others."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
        folder.chmod(0o700)


def test_a_folder_that_may_not_be_written_is_refused_in_one_line(shared_folder: Path) -> None:
    store = shared_folder / "store"
    store.mkdir(mode=0o555)

    def check() -> None:
        for uri in (store, store / "below"):
            with pytest.raises(AccessDenied, match="permission denied") as caught:
                open_store(str(uri)).check_writable()
            assert str(uri) in str(caught.value)
            assert len(str(caught.value).splitlines()) == 1

    assert succeeds_for_an_ordinary_user(check)


def test_what_may_not_be_read_is_neither_missing_nor_an_empty_listing(shared_folder: Path) -> None:
    objects = LocalObjects(shared_folder)
    objects.put("a/b", b"bytes")
    (shared_folder / "a").chmod(0)

    def check() -> None:
        for read in (objects.get, objects.size, objects.etag, lambda key: list(objects.stream(key))):
            with pytest.raises(AccessDenied):
                read("a/b")
        with pytest.raises(AccessDenied):
            list(objects.walk())

    assert succeeds_for_an_ordinary_user(check)
    (shared_folder / "a").chmod(0o700)


def test_a_released_file_can_be_read_by_the_process_that_serves_it(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        uri = open_store(str(tmp_path)).releases.publish("model", "1", {"model.onnx": b"model"})
    finally:
        os.umask(before)
    assert Path(uri, "model.onnx").stat().st_mode & 0o777 == 0o644


def test_a_conditional_write_waits_for_the_one_at_work(tmp_path: Path) -> None:
    objects = LocalObjects(tmp_path)
    etag = objects.put("a", b"first")
    writer = Thread(target=lambda: objects.put("a", b"second", if_match=etag))
    with (tmp_path / ".lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        writer.start()
        writer.join(timeout=0.3)
        assert writer.is_alive()
        assert objects.get("a").data == b"first"
    writer.join(timeout=30)
    assert objects.get("a").data == b"second"


def test_without_hard_links_the_first_writer_still_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    objects = LocalObjects(tmp_path)
    objects.put("a", b"first", if_absent=True)
    with pytest.raises(StoreError, match="exists already"):
        objects.put("a", b"second", if_absent=True)
    assert objects.get("a").data == b"first"


def test_a_folder_without_an_object_is_not_shown(tmp_path: Path) -> None:
    objects = LocalObjects(tmp_path)
    objects.put("runs/1/record", b"")
    objects.put("runs/2/record", b"")
    objects.delete("runs/1/record")
    (tmp_path / "runs" / "left-by-a-killed-writer").mkdir()
    assert objects.folders("runs") == ["2"]


def test_an_object_under_an_object_is_refused(tmp_path: Path) -> None:
    objects = LocalObjects(tmp_path)
    objects.put("a", b"")
    for key in ("a/b", "a/b/c"):
        with pytest.raises(StoreError, match="is an object itself"):
            objects.put(key, b"")


def test_a_full_disk_leaves_nothing_and_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    objects = LocalObjects(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StoreError, match="no space left"):
            objects.put("a", b"bytes")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
