"""The promises of both implementations of `Objects`."""

from __future__ import annotations

import hashlib
import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from components.core.errors import UserError
from components.core.store import Damaged, NotFound, PreconditionFailed, StoreError, open_objects
from components.core.store.backends.objects import Objects

LARGE = random.Random(0).randbytes(13 << 20)  # three parts on S3


def keys_of(objects: Objects, folder: str = "") -> list[str]:
    return sorted(listed.key for listed in objects.walk(folder))


@pytest.mark.parametrize("body", [b"", b"\x00\xff text", LARGE], ids=["empty", "small", "large"])
@pytest.mark.parametrize("as_file", [False, True], ids=["bytes", "file"])
def test_what_is_put_comes_back(objects: Objects, tmp_path: Path, body: bytes, as_file: bool) -> None:
    source = tmp_path / "source"
    source.write_bytes(body)
    objects.put("a/b", source if as_file else body)
    assert objects.get("a/b").data == body
    assert b"".join(objects.stream("a/b")) == body
    assert objects.size("a/b") == len(body)


@pytest.mark.parametrize("body", [b"second", LARGE], ids=["small", "large"])
def test_put_if_absent_keeps_the_first_object(objects: Objects, body: bytes) -> None:
    etag = objects.put("a", b"first", if_absent=True)
    with pytest.raises(PreconditionFailed):
        objects.put("a", body, if_absent=True)
    assert objects.get("a").data == b"first"
    assert objects.etag("a") == objects.get("a").etag == etag


@pytest.mark.parametrize("body", [b"third", LARGE], ids=["small", "large"])
def test_put_if_match_replaces_only_the_state_it_names(objects: Objects, body: bytes) -> None:
    stale = objects.put("a", b"first")
    fresh = objects.put("a", b"second")
    with pytest.raises(PreconditionFailed):
        objects.put("a", body, if_match=stale)
    assert objects.get("a").data == b"second"
    assert objects.put("a", body, if_match=fresh) == objects.etag("a")
    assert objects.get("a").data == body


def test_put_if_match_of_an_object_that_is_gone_is_refused(objects: Objects) -> None:
    etag = objects.put("a", b"first")
    objects.delete("a")
    with pytest.raises(PreconditionFailed):
        objects.put("a", b"second", if_match=etag)
    assert keys_of(objects) == []


def test_of_eight_writers_who_want_to_be_first_one_is(objects: Objects) -> None:
    def put(number: int) -> int | None:
        try:
            objects.put("a", f"{number}".encode(), if_absent=True)
        except PreconditionFailed:
            return None
        return number

    with ThreadPoolExecutor(8) as pool:
        winners = [number for number in pool.map(put, range(8)) if number is not None]
    assert len(winners) == 1
    assert objects.get("a").data == f"{winners[0]}".encode()


@pytest.mark.parametrize("body", [b"small", LARGE], ids=["small", "large"])
def test_a_body_without_the_promised_digest_is_not_stored(objects: Objects, body: bytes) -> None:
    with pytest.raises(Damaged):
        objects.put("a", body, sha256=hashlib.sha256(b"something else").hexdigest())
    assert keys_of(objects) == []


@pytest.mark.parametrize("body", [b"small", LARGE], ids=["small", "large"])
def test_bytes_of_another_digest_are_not_brought_and_leave_nothing(
    objects: Objects, tmp_path: Path, body: bytes
) -> None:
    objects.put("a", body)
    with pytest.raises(Damaged):
        objects.fetch("a", tmp_path / "folder" / "copy", sha256=hashlib.sha256(b"something else").hexdigest())
    assert list((tmp_path / "folder").iterdir()) == []


def test_a_source_that_cannot_be_read_is_named(objects: Objects, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"nowhere: No such file") as caught:
        objects.put("a", tmp_path / "nowhere")
    assert not isinstance(caught.value, NotFound)


def test_reading_what_is_not_there_is_not_found(objects: Objects) -> None:
    objects.put("a", b"an object, not a folder")
    for key in ("b", "b/c"):
        for read in (objects.get, objects.size, objects.stat, objects.etag, lambda key: list(objects.stream(key))):
            with pytest.raises(NotFound, match=key):
                read(key)


def test_a_folder_is_not_an_object(objects: Objects) -> None:
    objects.put("a/b", b"")
    for read in (objects.get, objects.size, objects.stat, objects.etag, lambda key: list(objects.stream(key))):
        with pytest.raises(NotFound):
            read("a")


def test_a_listing_goes_on_over_pages(objects: Objects) -> None:
    names = [f"many/{number:02}" for number in range(10)]  # four pages of three on S3
    for name in names:
        objects.put(name, b"12")
    assert keys_of(objects, "many") == names
    assert {listed.size for listed in objects.walk("many")} == {2}


def test_a_listing_and_a_stat_tell_size_stamp_and_time(objects: Objects) -> None:
    before = time.time()
    objects.put("a/b", b"123")
    listed = objects.stat("a/b")
    assert list(objects.walk("a")) == [listed]
    assert (listed.key, listed.size) == ("a/b", 3)
    assert before - 2 <= listed.modified <= time.time() + 2  # whole seconds on S3, on its clock
    objects.put("a/b", b"1234")
    assert objects.stat("a/b").stamp != listed.stamp


def test_a_listing_of_more_than_a_servers_page_is_whole(store_uri: str) -> None:
    objects, names = open_objects(store_uri), [f"many/{number:04}" for number in range(1005)]  # a page holds 1,000
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda name: objects.put(name, b""), names))
    assert keys_of(objects, "many") == names


def test_folders_go_on_over_pages(objects: Objects) -> None:
    for number in range(7):
        objects.put(f"runs/{number}/deep/object", b"")
    objects.put("runs/object", b"")
    assert objects.folders("runs") == [str(number) for number in range(7)]
    assert objects.folders("nothing") == []
    assert objects.folders("") == ["runs"]


def test_a_listing_of_a_folder_leaves_out_its_namesakes(objects: Objects) -> None:
    for key in ("a/b", "ab/c", "a-b"):
        objects.put(key, b"")
    assert keys_of(objects, "a") == ["a/b"]
    assert keys_of(objects) == ["a-b", "a/b", "ab/c"]


def test_a_deleted_object_is_gone_and_deleting_again_is_no_error(objects: Objects) -> None:
    objects.put("a/b/c", b"")
    objects.delete("a/b/c")
    objects.delete("a/b/c")
    assert keys_of(objects) == []


def test_a_key_that_leads_out_of_the_store_is_refused_everywhere(objects: Objects) -> None:
    for use in (
        objects.get,
        objects.size,
        objects.stat,
        objects.etag,
        objects.delete,
        objects.folders,
        lambda key: objects.put(key, b""),
        lambda key: list(objects.stream(key)),
        lambda key: list(objects.walk(key)),
    ):
        for key in ("../a", "/etc/passwd", "a/../../b", ".partial/a"):
            with pytest.raises(UserError):
                use(key)


def test_a_key_may_hold_spaces_and_letters_of_any_language(objects: Objects) -> None:
    objects.put("Müller & Söhne/数据 (1).jpg", b"image")
    assert keys_of(objects) == ["Müller & Söhne/数据 (1).jpg"]
    assert objects.get("Müller & Söhne/数据 (1).jpg").data == b"image"


def test_the_probe_leaves_nothing_behind(objects: Objects) -> None:
    objects.check_writable()
    assert keys_of(objects) == []
