from __future__ import annotations

import json
import random
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from components.core.errors import UserError
from components.core.store import Damaged, NotFound, ReleaseExists, Store, StoreError
from components.core.store.backends.objects import Objects
from components.core.store.contents.releases import Releases

LARGE = random.Random(2).randbytes(7 << 20)


def test_a_release_is_plain_files_that_read_back(store: Store, objects: Objects, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(LARGE)
    files = {"model.onnx": tmp_path / "model.onnx", "card.md": b"# card", "triton/1/labels.json": b"[]"}
    uri = store.releases.publish("flowers", "abc123", files)
    assert uri == objects.address("releases/flowers/abc123")
    assert store.releases.list() == [("flowers", "abc123")]
    assert store.releases.files("flowers", "abc123") == ["card.md", "model.onnx", "triton/1/labels.json"]
    assert store.releases.read("flowers", "abc123", "model.onnx") == LARGE
    assert objects.get("releases/flowers/abc123/card.md").data == b"# card"


def test_the_same_release_again_changes_nothing(store: Store, objects: Objects) -> None:
    files = {"model.onnx": b"model", "card.md": b"card"}
    uri = store.releases.publish("flowers", "1", files)
    before = {listed.key: objects.etag(listed.key) for listed in objects.walk()}
    assert store.releases.publish("flowers", "1", files) == uri
    assert {listed.key: objects.etag(listed.key) for listed in objects.walk()} == before


@pytest.mark.parametrize(
    "files",
    [
        {"model.onnx": b"other", "card.md": b"card"},
        {"model.onnx": b"model"},
        {"model.onnx": b"model", "card.md": b"card", "more": b""},
    ],
    ids=["other bytes", "a file less", "a file more"],
)
def test_a_release_never_changes(store: Store, objects: Objects, files: dict[str, bytes]) -> None:
    first = {"model.onnx": b"model", "card.md": b"card"}
    store.releases.publish("flowers", "1", first)
    with pytest.raises(ReleaseExists, match="flowers 1") as caught:
        store.releases.publish("flowers", "1", files)
    changed = {name for name in first.keys() | files.keys() if first.get(name) != files.get(name)}
    assert set(caught.value.differing) == changed
    assert {name: store.releases.read("flowers", "1", name) for name in first} == first
    assert len(list(objects.walk("releases"))) == 3


def test_what_has_no_marker_is_no_release(store: Store, objects: Objects) -> None:
    objects.put("releases/flowers/1/model.onnx", b"half of it")
    assert store.releases.list() == []
    with pytest.raises(NotFound):
        store.releases.files("flowers", "1")
    with pytest.raises(NotFound):
        store.releases.read("flowers", "1", "model.onnx")


def test_what_an_interrupted_publisher_left_is_overwritten(store: Store, objects: Objects) -> None:
    objects.put("releases/flowers/1/model.onnx", b"of the one that was killed")
    store.releases.publish("flowers", "1", {"model.onnx": b"model"})
    assert store.releases.read("flowers", "1", "model.onnx") == b"model"


def test_eight_publishers_of_the_same_release_all_succeed(store: Store) -> None:
    files = {"model.onnx": b"model", "card.md": b"card"}
    with ThreadPoolExecutor(8) as pool:
        uris = set(pool.map(lambda _: store.releases.publish("flowers", "1", files), range(8)))
    assert len(uris) == 1
    assert store.releases.read("flowers", "1", "model.onnx") == b"model"


def test_of_publishers_of_different_bytes_at_most_one_succeeds_and_nothing_mixed_is_read(store: Store) -> None:
    def publish(number: int) -> int | None:
        body = f"{number}".encode()
        try:
            store.releases.publish("flowers", "1", {"a": body, "b": body, "c": body})
        except ReleaseExists:
            return None
        return number

    with ThreadPoolExecutor(8) as pool:
        winners = [number for number in pool.map(publish, range(8)) if number is not None]
    assert len(winners) <= 1
    for winner in winners:
        for name in ("a", "b", "c"):
            with suppress(Damaged):  # overwritten in the moment before the marker: refused, never handed out
                assert store.releases.read("flowers", "1", name) == f"{winner}".encode()


def test_a_file_that_someone_else_overwrote_keeps_the_marker_from_being_written(objects: Objects) -> None:
    class OverwritesTheFirst:
        """Another publisher, who comes between the last file and the marker."""

        def __getattr__(self, name: str) -> object:
            return getattr(objects, name)

        def etag(self, key: str) -> str:
            objects.put("releases/flowers/1/a", b"other")
            return objects.etag(key)

    with pytest.raises(ReleaseExists, match="someone else"):
        Releases(OverwritesTheFirst()).publish("flowers", "1", {"a": b"a"})  # type: ignore[arg-type]
    assert Releases(objects).list() == []


def test_a_damaged_release_file_is_never_handed_out(store: Store, objects: Objects) -> None:
    store.releases.publish("flowers", "1", {"model.onnx": b"model"})
    objects.put("releases/flowers/1/model.onnx", b"modem")
    with pytest.raises(Damaged, match=r"model\.onnx"):
        store.releases.read("flowers", "1", "model.onnx")


def test_a_release_file_that_does_not_exist_is_named(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="nowhere: No such file"):
        store.releases.publish("flowers", "1", {"card.md": b"card", "model.onnx": tmp_path / "nowhere"})
    assert store.releases.list() == []


def test_the_marker_lists_sizes_and_digests(store: Store, objects: Objects) -> None:
    store.releases.publish("flowers", "1", {"card.md": b"abc"})
    marker = json.loads(objects.get("releases/flowers/1/release.json").data)
    # printf abc | sha256sum
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert marker["files"] == {"card.md": {"bytes": 3, "sha256": digest}}


@pytest.mark.parametrize(
    ("name", "version", "files"),
    [
        ("../flowers", "1", {"a": b""}),
        ("flowers", "..", {"a": b""}),
        ("flowers", "1/2", {"a": b""}),
        ("flowers", "1", {"../a": b""}),
        ("flowers", "1", {"/a": b""}),
        ("flowers", "1", {"release.json": b""}),
        ("flowers", "1", {}),
    ],
)
def test_a_release_with_an_unusable_name_is_refused(
    store: Store, objects: Objects, name: str, version: str, files: dict[str, bytes]
) -> None:
    with pytest.raises(UserError):
        store.releases.publish(name, version, files)
    assert list(objects.walk()) == []
