"""A store of two layers: what a task in a container sees and writes, and that the lower one stays as it is."""

from pathlib import Path

import pytest

from components.core.store import Store, open_store, store_from_environment
from components.core.store.backends.layered_objects import LayeredObjects
from components.core.store.backends.local_objects import LocalObjects
from components.core.store.errors import NotFound, PreconditionFailed, ReleaseExists


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    store = open_store(str(tmp_path / "base"))
    store.blobs.put(b"before")
    store.releases.publish("net", "1", {"a": b"a"})
    store.refs.move("champion", {"x": 1}, expected=None)
    return tmp_path / "base"


@pytest.fixture
def layered(base: Path, tmp_path: Path) -> Store:
    return Store(LayeredObjects(LocalObjects(base), LocalObjects(tmp_path / "changes")))


def test_all_of_a_store_works_in_two_layers_and_the_lower_one_does_not_change(layered: Store, base: Path) -> None:
    before = everything(base)
    digest = layered.blobs.put(b"new")
    assert layered.blobs.get(digest) == b"new"
    assert layered.blobs.get(layered.blobs.put(b"before")) == b"before"
    layered.releases.publish("net", "2", {"a": b"b"})
    assert layered.releases.list() == [("net", "1"), ("net", "2")]
    layered.releases.verify("net", "2")
    with pytest.raises(ReleaseExists):
        layered.releases.publish("net", "1", {"a": b"other"})
    read = layered.refs.read("champion")
    assert read is not None
    layered.refs.move("champion", {"x": 2}, expected=read)
    moved = layered.refs.read("champion")
    assert moved is not None
    assert moved.value == {"x": 2}
    layered.checkpoints.save("k", {"f": b"1"})
    layered.checkpoints.save("k", {"f": b"2"})
    layered.checkpoints.clear("k")
    layered.results.save("stage", "k", {"x": 1})
    assert layered.results.load("stage", "k") == {"x": 1}
    layered.check_writable()
    assert everything(base) == before


def test_conditions_look_at_both_layers(base: Path, tmp_path: Path) -> None:
    lower = LocalObjects(base)
    objects = LayeredObjects(lower, LocalObjects(tmp_path / "changes"))
    etag = lower.put("k", b"1")
    with pytest.raises(PreconditionFailed):
        objects.put("k", b"2", if_absent=True)
    with pytest.raises(PreconditionFailed):
        objects.put("k", b"2", if_match="0" * 64)
    with pytest.raises(PreconditionFailed):
        objects.put("nowhere", b"2", if_match=etag)
    newer = objects.put("k", b"2", if_match=etag)
    with pytest.raises(PreconditionFailed):
        objects.put("k", b"3", if_match=etag)
    objects.put("k", b"3", if_match=newer)
    assert (objects.get("k").data, lower.get("k").data) == (b"3", b"1")
    assert sorted(listed.size for listed in objects.walk() if listed.key == "k") == [1]
    objects.delete("k")  # of its own layer only
    assert objects.get("k").data == b"1"
    with pytest.raises(NotFound):
        objects.get("nothing")


def test_a_task_in_a_container_opens_both(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIMTAB_STORE", str(base))
    monkeypatch.setenv("TRIMTAB_STORE_CHANGES", str(tmp_path / "changes"))
    store = store_from_environment()
    digest = store.blobs.put(b"new")
    assert store.uri == str(base)
    assert not open_store(str(base)).blobs.has(digest)
    assert open_store(str(tmp_path / "changes")).blobs.get(digest) == b"new"
