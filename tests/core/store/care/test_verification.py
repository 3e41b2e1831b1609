"""Verification: every kind of damage is found, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest

from components.core.store import BlobMissing, Store
from components.core.store.backends.objects import Objects
from components.core.store.care.verification import verify
from components.core.store.contents.blobs import blob_key


def fill(store: Store) -> dict[str, str]:
    """A store with one of everything; digests by name."""
    weights, labels = store.blobs.put(b"weights"), store.blobs.put(b"labels")
    entries = [
        {"path": "weights", "bytes": 7, "sha256": weights},
        {"path": "labels", "bytes": 6, "sha256": labels},
    ]
    manifest = store.blobs.put(json.dumps({"files": entries}).encode())
    files = {"manifest.json": manifest}
    store.results.save("prune", "key", {"output_artifacts": {"model": [{"payload": "folder", "files": files}]}})
    store.results.save("preflight", "key", {"output_artifacts": {}, "output_parameters": {"recipes": "[]"}})
    store.journal.write("run", "prune", {"task": "prune"})
    store.releases.publish("sorter", "1", {"model.onnx": b"onnx", "card.md": b"card"})
    store.refs.move("champion", {"name": "sorter", "version": "1"}, expected=None)
    return {"weights": weights, "labels": labels, "manifest": manifest}


def problems(objects: Objects, **options: Any) -> list[tuple[str, str, bool]]:
    return [(one.key, one.problem, one.damaged) for one in verify(objects, **options).findings]


def test_of_a_whole_store_nothing_is_reported_and_everything_was_looked_at(store: Store, objects: Objects) -> None:
    fill(store)
    told: list[tuple[int, int]] = []
    verified = verify(objects, tell=lambda done, total: told.append((done, total)))
    assert verified.findings == []
    assert verified.looked_at == {"blobs": 3, "results": 2, "journal records": 1, "releases": 1, "refs": 1}
    assert verified.blob_bytes > 13
    assert max(told) == (verified.blob_bytes, verified.blob_bytes)
    assert len(told) == 3


def test_a_changed_byte_of_a_blob_is_found_with_the_result_that_needs_it(store: Store, objects: Objects) -> None:
    digest = fill(store)["weights"]
    objects.put(blob_key(digest), b"weightz")
    assert problems(objects) == [
        (blob_key(digest), "its content does not have the sha256 in its name", True),
        ("results/prune/key.json", f"its weights, blob {digest}, is damaged", False),
    ]


def test_a_blob_that_is_gone_is_found_through_the_manifest(store: Store, objects: Objects) -> None:
    digest = fill(store)["labels"]
    objects.delete(blob_key(digest))
    assert problems(objects) == [("results/prune/key.json", f"its labels, blob {digest}, is not there", False)]


def test_a_manifest_that_is_gone_is_found(store: Store, objects: Objects) -> None:
    digest = fill(store)["manifest"]
    objects.delete(blob_key(digest))
    assert problems(objects) == [("results/prune/key.json", f"its manifest.json, blob {digest}, is not there", False)]


def test_a_size_that_is_not_the_manifests_is_found(store: Store, objects: Objects) -> None:
    weights = store.blobs.put(b"weights")
    entries = [{"path": "w", "bytes": 8, "sha256": weights}]
    manifest = store.blobs.put(json.dumps({"files": entries}).encode())
    store.results.save("prune", "key", {"output_artifacts": {"m": [{"files": {"manifest.json": manifest}}]}})
    assert problems(objects) == [
        ("results/prune/key.json", f"its w, blob {weights}, has 7 bytes instead of 8", False)
    ]  # fmt: skip


@pytest.mark.parametrize("key", ["results/prune/key.json", "journal/run/broken.json", "refs/champion.json"])
def test_a_record_that_is_no_document_is_found(store: Store, objects: Objects, key: str) -> None:
    fill(store)
    objects.put(key, b'{"cut off')
    assert problems(objects) == [(key, "it is not a JSON object", True)]


def test_a_changed_byte_of_a_release_and_a_file_that_is_gone_are_found(store: Store, objects: Objects) -> None:
    fill(store)
    store.releases.publish("sorter", "2", {"model.onnx": b"onnx"})
    objects.put("releases/sorter/1/card.md", b"cart")
    objects.delete("releases/sorter/2/model.onnx")
    found = problems(objects)
    assert [(key, damaged) for key, _, damaged in found] == [("releases/sorter/1", True), ("releases/sorter/2", True)]
    assert "card.md is damaged" in found[0][1]
    assert "model.onnx is missing" in found[1][1]


def test_a_blob_that_a_release_was_made_from_and_that_is_gone_is_found(store: Store, objects: Objects) -> None:
    weights, labels = store.blobs.put(b"weights"), store.blobs.put(b"labels")
    entries = [{"path": "w", "bytes": 7, "sha256": weights}, {"path": "l", "bytes": 6, "sha256": labels}]
    sources = json.dumps({"model": {"files": entries}}).encode()
    store.releases.publish("sorter", "1", {"model.onnx": b"onnx", "sources.json": sources})
    assert problems(objects) == []
    objects.delete(blob_key(weights))
    problem = f"1 of the 2 blobs that it was made from are not there: {weights}"
    assert problems(objects) == [("releases/sorter/1", problem, False)]


def test_a_ref_to_a_release_that_is_gone_is_found(store: Store, objects: Objects) -> None:
    fill(store)
    objects.delete("releases/sorter/1/release.json")
    assert problems(objects) == [
        ("refs/champion.json", "it points at sorter/1, and there is no such complete release", False)
    ]


def test_an_object_that_is_no_blob_is_found_among_the_blobs(store: Store, objects: Objects) -> None:
    digest = fill(store)["weights"]
    wrong = f"blobs/sha256/zz/{digest}"
    objects.put(wrong, b"weights")
    assert problems(objects) == [(wrong, "its name is no sha256 in its folder", True)]


def test_quarantine_moves_what_is_damaged_so_that_it_is_missed_and_can_be_put_again(
    store: Store, objects: Objects
) -> None:
    digest = fill(store)["weights"]
    objects.put(blob_key(digest), b"weightz")
    objects.put("results/preflight/key.json", b"{")
    objects.put("refs/champion.json", b"{")
    findings = verify(objects, quarantine=True).findings
    moved = {finding.key: finding.moved_to for finding in findings if finding.moved_to}
    assert moved == {key: f"quarantine/{key}" for key in (blob_key(digest), "results/preflight/key.json")}
    assert objects.get(f"quarantine/{blob_key(digest)}").data == b"weightz"
    with pytest.raises(BlobMissing):
        store.blobs.get(digest)
    assert store.results.load("preflight", "key") is None
    assert objects.get("refs/champion.json").data == b"{"
    assert store.blobs.put(b"weights") == digest
    assert [finding.key for finding in verify(objects).findings] == ["refs/champion.json"]


def test_what_a_listing_names_is_looked_for(store: Store, objects: Objects) -> None:
    rows = store.blobs.put(b"rows")
    listing = store.blobs.put(json.dumps({"files": [{"path": "f", "bytes": 4, "sha256": rows}]}).encode())
    document = {"kind": "dataset", "files": [], "listings": [{"sha256": listing}]}
    manifest = store.blobs.put(json.dumps(document).encode())
    store.results.save("data", "key", {"output_artifacts": {"out": [{"files": {"manifest.json": manifest}}]}})
    sources = json.dumps({"dataset": document}).encode()
    store.releases.publish("sorter", "1", {"model.onnx": b"onnx", "sources.json": sources})
    assert problems(objects) == []
    objects.delete(blob_key(rows))
    assert problems(objects) == [
        ("results/data/key.json", f"its f, blob {rows}, is not there", False),
        ("releases/sorter/1", f"1 of the 2 blobs that it was made from are not there: {rows}", False),
    ]
    objects.delete(blob_key(listing))
    assert problems(objects) == [
        ("results/data/key.json", f"its listing, blob {listing}, is not there", False),
        ("releases/sorter/1", f"1 of the 1 blobs that it was made from are not there: {listing}", False),
    ]
