from __future__ import annotations

import hashlib
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from components.core.errors import UserError
from components.core.store import BlobDamaged, BlobMissing, Store, StoreError
from components.core.store.backends.objects import Objects

LARGE = random.Random(1).randbytes(13 << 20)


def key_of(digest: str) -> str:
    return f"blobs/sha256/{digest[:2]}/{digest}"


@pytest.mark.parametrize("body", [b"", b"bytes", LARGE], ids=["empty", "small", "large"])
def test_a_blob_is_named_by_its_sha256_and_comes_back(store: Store, tmp_path: Path, body: bytes) -> None:
    source = tmp_path / "source"
    source.write_bytes(body)
    digest = store.blobs.put(source)
    assert digest == store.blobs.put(body) == hashlib.sha256(body).hexdigest()
    assert store.blobs.get(digest) == body
    assert store.blobs.has(digest)
    assert store.blobs.size(digest) == len(body)
    store.blobs.fetch(digest, tmp_path / "new" / "folder" / "copy")
    assert (tmp_path / "new" / "folder" / "copy").read_bytes() == body


def test_equal_blobs_are_one_object(store: Store, objects: Objects) -> None:
    store.blobs.put_many([b"same", b"same", b"other"])
    assert len(list(objects.walk("blobs"))) == 2


def test_many_blobs_keep_their_order_and_their_paths(store: Store, tmp_path: Path) -> None:
    bodies = [f"{number}".encode() for number in range(50)]
    digests = store.blobs.put_many(bodies)
    assert digests == [hashlib.sha256(body).hexdigest() for body in bodies]
    store.blobs.fetch_many({tmp_path / str(number): digest for number, digest in enumerate(digests)})
    assert [(tmp_path / str(number)).read_bytes() for number in range(50)] == bodies


def test_eight_writers_of_one_blob_all_succeed(store: Store) -> None:
    body = b"the same bytes" * 1000
    with ThreadPoolExecutor(8) as pool:
        digests = set(pool.map(store.blobs.put, [body] * 8))
    assert digests == {hashlib.sha256(body).hexdigest()}
    assert store.blobs.get(digests.pop()) == body


def test_a_missing_blob_is_named(store: Store, tmp_path: Path) -> None:
    digest = "0" * 64
    assert not store.blobs.has(digest)
    for use in (store.blobs.get, store.blobs.size, lambda digest: store.blobs.fetch(digest, tmp_path / "copy")):
        with pytest.raises(BlobMissing, match=digest):
            use(digest)
    assert list(tmp_path.glob("*copy*")) == []


@pytest.mark.parametrize("damaged", [b"bites", b"byte", b"bytes and more"], ids=["flipped", "cut", "longer"])
def test_a_damaged_blob_is_never_handed_out(store: Store, objects: Objects, tmp_path: Path, damaged: bytes) -> None:
    digest = store.blobs.put(b"bytes")
    objects.put(key_of(digest), damaged)
    with pytest.raises(BlobDamaged, match=digest):
        store.blobs.get(digest)
    with pytest.raises(BlobDamaged, match=digest):
        store.blobs.fetch(digest, tmp_path / "copy")
    with pytest.raises(BlobDamaged, match=digest):
        store.blobs.fetch_many({tmp_path / "copy": digest, tmp_path / "other": store.blobs.put(b"other")})
    assert not (tmp_path / "copy").exists()
    assert list(tmp_path.glob(".*")) == []


def test_a_fetch_that_fails_leaves_the_file_that_was_there(store: Store, objects: Objects, tmp_path: Path) -> None:
    digest = store.blobs.put(b"bytes")
    objects.put(key_of(digest), b"bites")
    (tmp_path / "copy").write_bytes(b"of before")
    with pytest.raises(BlobDamaged):
        store.blobs.fetch(digest, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"of before"


def test_a_blob_that_was_cut_short_is_mended_by_the_next_put(store: Store, objects: Objects) -> None:
    digest = store.blobs.put(b"bytes")
    objects.put(key_of(digest), b"byt")
    store.blobs.put(b"bytes")
    assert store.blobs.get(digest) == b"bytes"


def test_a_file_that_does_not_exist_is_named(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"nowhere: No such file"):
        store.blobs.put_many([b"bytes", tmp_path / "nowhere"])


def test_what_is_no_digest_is_refused(store: Store, tmp_path: Path) -> None:
    for digest in ("", "abc", "A" * 64, "../" + "0" * 61):
        with pytest.raises(UserError, match="sha256"):
            store.blobs.has(digest)
        with pytest.raises(UserError, match="sha256"):
            store.blobs.fetch(digest, tmp_path / "copy")
