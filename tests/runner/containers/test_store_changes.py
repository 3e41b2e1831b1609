"""Which writes of a stage in a container of its own come into the store."""

from pathlib import Path

import pytest

from components.core.errors import UserError
from components.core.store import Store, open_store
from components.core.store.backends.layered_objects import LayeredObjects
from components.core.store.backends.local_objects import LocalObjects
from components.core.store.errors import ReleaseExists
from pipelines.runner.containers.store_changes import take_in


@pytest.fixture
def store(tmp_path: Path) -> Store:
    found = open_store(str(tmp_path / "store"))
    found.releases.publish("net", "1", {"model.onnx": b"1"})
    return found


@pytest.fixture
def seen(store: Store, tmp_path: Path) -> Store:
    """The store as a stage in a container sees it."""
    return Store(LayeredObjects(LocalObjects(Path(store.uri)), LocalObjects(tmp_path / "changes")))


def test_blobs_and_releases_of_a_stage_come_in_and_whatever_else_it_kept_does_not(
    store: Store, seen: Store, tmp_path: Path
) -> None:
    digest = seen.blobs.put(b"weights")
    large = seen.blobs.put(b"x" * 3_000_000)
    seen.releases.publish("net", "2", {"model.onnx": b"2", "deep/card.md": b"# card"})
    seen.releases.publish("net", "1", {"model.onnx": b"1"})  # again: it changes nothing
    seen.checkpoints.save("k", {"f": b"1"})
    seen.results.save("stage", "k", {"x": 1})
    take_in(store, tmp_path / "changes")
    assert store.blobs.get(digest) == b"weights"
    assert store.blobs.size(large) == 3_000_000
    assert store.releases.list() == [("net", "1"), ("net", "2")]
    assert store.releases.verify("net", "2") == ["deep/card.md", "model.onnx"]
    assert store.results.load("stage", "k") is None
    assert not store.checkpoints.load("k", tmp_path / "loaded")
    take_in(store, tmp_path / "changes")  # what a killed runner had begun


def test_a_release_that_is_there_with_other_bytes_stays(store: Store, seen: Store, tmp_path: Path) -> None:
    Store(LocalObjects(tmp_path / "changes")).releases.publish("net", "1", {"model.onnx": b"evil"})
    with pytest.raises(ReleaseExists):
        take_in(store, tmp_path / "changes")
    assert store.releases.read("net", "1", "model.onnx") == b"1"


def test_a_marker_that_names_another_release_is_refused(store: Store, tmp_path: Path) -> None:
    other = Store(LocalObjects(tmp_path / "changes"))
    other.releases.publish("net", "8", {"model.onnx": b"8"})
    (tmp_path / "changes/releases/net/8").rename(tmp_path / "changes/releases/net/9")
    with pytest.raises(UserError, match="marker"):
        take_in(store, tmp_path / "changes")
    assert store.releases.list() == [("net", "1")]


def test_a_moved_ref_is_refused_and_names_what_would_allow_it(store: Store, seen: Store, tmp_path: Path) -> None:
    seen.refs.move("champion", {"x": 1}, expected=None)
    seen.blobs.put(b"weights")
    with pytest.raises(UserError, match=r"ref 'champion' .* --allow store"):
        take_in(store, tmp_path / "changes")
    assert store.refs.read("champion") is None


def test_nothing_written_is_nothing_taken(store: Store, tmp_path: Path) -> None:
    take_in(store, tmp_path / "changes")
    (tmp_path / "changes").mkdir()
    take_in(store, tmp_path / "changes")
