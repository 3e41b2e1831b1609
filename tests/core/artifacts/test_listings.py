"""Artifacts of very many files: the manifest names listings, and whoever reads the artifact follows them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from components.core.artifacts import listings
from components.core.artifacts.entries import FileEntry, Listing
from components.core.artifacts.listings import listed_files, write_listings
from components.core.artifacts.manifest import (
    Manifest,
    materialize,
    parse_manifest,
    publish_entries,
    read_manifest,
)
from components.core.errors import UserError
from components.core.results.payload import hold_payload
from components.core.store import BlobMissing, Store, StoreError, open_store
from components.core.store.contents import listings as stored


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(listings, "LISTED_FILES", 3)
    return open_store(str(tmp_path / "store"))


def put(store: Store, count: int) -> list[FileEntry]:
    contents = [f"content {number}".encode() for number in range(count)]
    digests = store.blobs.put_many(contents)
    return [
        FileEntry(path=f"{number:05d}.bin", bytes=len(content), sha256=digest)
        for number, (content, digest) in enumerate(zip(contents, digests, strict=True))
    ]


def published(folder: Path, store: Store, count: int = 7) -> tuple[Manifest, list[FileEntry]]:
    entries = put(store, count)
    found = write_listings(entries, store)
    return publish_entries(folder, kind="dataset", entries=[], metadata={"a": 1}, listings=found), entries


def test_listings_read_back_as_the_files_that_were_written(tmp_path: Path, store: Store) -> None:
    manifest, entries = published(tmp_path / "artifact", store)
    assert [listing.num_files for listing in manifest.listings] == [3, 3, 1]
    assert manifest.total_bytes == sum(entry.bytes for entry in entries)
    read = read_manifest(tmp_path / "artifact", kind="dataset")
    assert read == manifest
    assert read.digest == manifest.digest
    assert list(listed_files(read, store)) == entries


def test_the_manifest_grows_with_the_listings_and_not_with_the_files(tmp_path: Path, store: Store) -> None:
    _, entries = published(tmp_path / "artifact", store, 9)
    text = (tmp_path / "artifact" / "manifest.json").read_text()
    assert not any(entry.sha256 in text for entry in entries)
    assert json.loads(text)["format"] == 2


def test_every_file_of_a_listing_is_brought_to_disk(tmp_path: Path, store: Store) -> None:
    manifest, entries = published(tmp_path / "artifact", store)
    folder = materialize(manifest, store, tmp_path / "out")
    assert {path.name for path in folder.glob("*.bin")} == {entry.path for entry in entries}
    assert (folder / "00006.bin").read_bytes() == b"content 6"


def test_the_digest_of_an_artifact_covers_its_listings(tmp_path: Path, store: Store) -> None:
    one, _ = published(tmp_path / "one", store, 7)
    other, _ = published(tmp_path / "other", store, 8)
    assert one.digest != other.digest
    document = one.to_json()
    document["listings"][0]["sha256"] = "0" * 64
    with pytest.raises(ValueError, match="is not that of its content"):
        parse_manifest(document)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"listings": {}}, "must be lists"),
        ({"listings": None}, "needs 'listings'"),
        ({"listings": [{"sha256": "0" * 64}]}, "needs exactly"),
        ({"listings": [{"sha256": "0", "bytes": 1, "num_files": 1, "total_bytes": 1}]}, "64 lower-case hex digits"),
        ({"listings": [{"sha256": "0" * 64, "bytes": 1, "num_files": -1, "total_bytes": 1}]}, "counts files"),
        ({"listings": [{"sha256": "0" * 64, "bytes": 1, "num_files": 1, "total_bytes": 1}] * 2}, "named twice"),
        ({"format": 3}, "not a manifest of format 1 or 2"),
    ],
)
def test_a_manifest_whose_listings_are_malformed_is_refused(
    tmp_path: Path, store: Store, change: dict[str, Any], said: str
) -> None:
    manifest, _ = published(tmp_path, store)
    with pytest.raises(ValueError, match=said):
        parse_manifest({**manifest.to_json(), **change})


def listing_of(content: bytes, store: Store, *, num_files: int = 1, total_bytes: int = 1, **changes: Any) -> Manifest:
    facts = {"bytes": len(content), "sha256": store.blobs.put(content), **changes}
    listing = Listing(num_files=num_files, total_bytes=total_bytes, **facts)
    return Manifest(kind="dataset", metadata={}, files=(), listings=(listing,))


def files(*paths: str) -> bytes:
    return json.dumps({"files": [{"path": path, "bytes": 1, "sha256": "0" * 64} for path in paths]}).encode()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"not JSON", "is not JSON"),
        (b"[" * 5000, "is not JSON"),
        (b"[]", "holds no list of files"),
        (b'{"files": [1]}', "needs exactly path, bytes and sha256"),
        (files("../outside"), "unsafe path"),
        (files("/etc/passwd"), "unsafe path"),
        (files("a", "b"), "does not hold the 1 files of 1 bytes"),
        (b'{"files": [], "listings": []}', "does not hold the 1 files of 1 bytes"),
    ],
)
def test_a_hostile_listing_is_one_line(store: Store, content: bytes, said: str) -> None:
    with pytest.raises(UserError, match=said):
        listed_files(listing_of(content, store), store)


def test_a_file_that_is_listed_twice_is_refused(store: Store) -> None:
    with pytest.raises(UserError, match="name a file twice"):
        listed_files(listing_of(files("a", "a"), store, num_files=2, total_bytes=2), store)


def test_a_listing_of_another_or_of_a_huge_size_is_not_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="instead of 3"):
        listed_files(listing_of(files("a"), store, bytes=3), store)
    monkeypatch.setattr(stored, "MOST_BYTES", 10)
    monkeypatch.setattr(type(store.blobs), "get", lambda *_: pytest.fail("it was read"))
    with pytest.raises(UserError, match="instead of at most 10"):
        listed_files(listing_of(files("a"), store), store)


def test_a_cached_artifact_is_taken_only_if_all_that_its_listings_name_is_there(tmp_path: Path, store: Store) -> None:
    manifest, entries = published(tmp_path / "artifact", store)
    artifact = {"uri": str(tmp_path / "artifact")}
    hold_payload(artifact, store)
    held: Sequence[str] = [entries[4].sha256, manifest.listings[1].sha256]
    for digest in held:
        blob = tmp_path / "store" / "blobs" / "sha256" / digest[:2] / digest
        content = blob.read_bytes()
        blob.unlink()
        with pytest.raises(BlobMissing, match=digest):
            hold_payload(artifact, store)
        blob.write_bytes(content + b"!")
        with pytest.raises(StoreError):
            hold_payload(artifact, store)
        blob.write_bytes(content)
