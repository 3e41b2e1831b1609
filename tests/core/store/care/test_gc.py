"""The objects that a garbage collection deletes, and those that it must not."""

from __future__ import annotations

import json
import os
import time
from typing import Any

import pytest
from aged_objects import Aged

from components.core.store import BlobMissing, Damaged, Store
from components.core.store.backends.objects import Objects, digest_of
from components.core.store.care.garbage import Collected, collect
from components.core.store.contents.blobs import blob_key
from components.core.store.contents.sweeps import Sweep, host_name, read_sweep, write_sweep
from components.core.store.errors import CollectionBusy

HOUR, DAY = 3600.0, 86400.0
GRACE = 14 * DAY


@pytest.fixture
def aged(objects: Objects) -> Aged:
    return Aged(objects)


@pytest.fixture
def store(aged: Aged) -> Store:
    return Store(aged)  # type: ignore[arg-type]


def keys_of(objects: Objects) -> set[str]:
    return {listed.key for listed in objects.walk() if not listed.key.startswith("gc/")}


def gone(collected: Collected) -> dict[str, set[str]]:
    return {kind: {listed.key for listed in listed_of} for kind, listed_of in collected.deleted.items()}


def put_artifact(store: Store, *contents: bytes) -> tuple[dict[str, Any], list[str]]:
    """A result's record of one artifact whose manifest names these contents, and the digests of all its blobs."""
    digests = [store.blobs.put(content) for content in contents]
    files = [
        {"path": f"{n}", "bytes": len(content), "sha256": digest}
        for n, (content, digest) in enumerate(zip(contents, digests, strict=True))
    ]
    manifest = store.blobs.put(json.dumps({"kind": "model", "files": files}).encode())
    record = {"output_artifacts": {"model": [{"payload": "folder", "files": {"manifest.json": manifest}}]}}
    return record, [*digests, manifest]


def journal_record(kind: str, metadata: dict[str, str], *digests: str) -> dict[str, Any]:
    files = [{"path": "f", "bytes": 1, "sha256": digest} for digest in digests]
    return {
        "task": "export",
        "output_artifacts": {"out": [{"manifest": {"kind": kind, "metadata": metadata, "files": files}}]},
    }


def test_what_nothing_refers_to_goes_when_it_is_old_and_stays_while_it_is_young(store: Store, aged: Aged) -> None:
    old, young = store.blobs.put(b"old"), store.blobs.put(b"young")
    aged.ages[blob_key(old)] = GRACE + HOUR
    aged.ages[blob_key(young)] = GRACE - HOUR
    collected = collect(aged, grace_seconds=GRACE)
    assert gone(collected)["blobs"] == {blob_key(old)}
    assert (collected.kept_blobs, collected.kept_bytes) == (1, 5)
    assert not store.blobs.has(old)
    assert store.blobs.get(young) == b"young"


def test_a_dry_run_says_what_would_go_and_deletes_nothing(store: Store, aged: Aged) -> None:
    store.blobs.put(b"old")
    store.results.save("prune", "key", {"saved": 1})
    store.checkpoints.save("key", {"weights": b"w"})
    aged.age_all(GRACE + HOUR)
    before = {listed.key for listed in aged.walk()}
    would = collect(aged, grace_seconds=GRACE, dry_run=True)
    assert {listed.key for listed in aged.walk()} == before
    assert gone(collect(aged, grace_seconds=GRACE)) == gone(would)
    assert keys_of(aged) == set()


def test_a_recent_result_keeps_what_the_manifests_of_its_artifacts_name(store: Store, aged: Aged) -> None:
    kept, blobs = put_artifact(store, b"weights", b"labels")
    dropped, others = put_artifact(store, b"other weights")
    store.results.save("prune", "kept", kept)
    store.results.save("prune", "dropped", dropped)
    aged.age_all(GRACE + HOUR)
    aged.ages["results/prune/kept.json"] = GRACE - HOUR
    collected = collect(aged, grace_seconds=GRACE)
    assert gone(collected)["results"] == {"results/prune/dropped.json"}
    assert gone(collected)["blobs"] == {blob_key(digest) for digest in others}
    assert all(store.blobs.has(digest) for digest in blobs)


def test_a_ref_keeps_the_blobs_it_names_however_old(store: Store, aged: Aged) -> None:
    digest, tagged = store.blobs.put(b"a"), store.blobs.put(b"b")
    store.refs.move("team/champion", {"dataset": [digest], "model": f"sha256:{tagged}"}, expected=None)
    aged.age_all(100 * GRACE)
    assert gone(collect(aged, grace_seconds=GRACE))["blobs"] == set()


def test_a_release_keeps_what_the_run_that_made_it_recorded(store: Store, aged: Aged) -> None:
    dataset, scratch = store.blobs.put(b"dataset"), store.blobs.put(b"of a run that released nothing")
    removed = store.blobs.put(b"of a release that is there no more")
    store.releases.publish("sorter", "1", {"model.onnx": b"onnx"})
    store.journal.write("made-it", "data", journal_record("dataset", {}, dataset))
    store.journal.write("made-it", "export", journal_record("release", {"name": "sorter", "version": "1"}))
    store.journal.write("other", "data", journal_record("dataset", {}, scratch))
    store.journal.write("gone", "export", journal_record("release", {"name": "sorter", "version": "2"}, removed))
    aged.age_all(GRACE + HOUR)
    assert gone(collect(aged, grace_seconds=GRACE))["blobs"] == {blob_key(scratch), blob_key(removed)}
    assert store.blobs.has(dataset)
    assert len(store.journal.read("other")) == 1
    assert store.releases.read("sorter", "1", "model.onnx") == b"onnx"


def test_a_release_keeps_the_network_and_the_data_that_its_sources_name(store: Store, aged: Aged) -> None:
    """Without any journal: on a cluster nobody writes one."""
    weights, loose = store.blobs.put(b"weights"), store.blobs.put(b"loose")
    sources = {"model": {"kind": "model", "files": [{"path": "w", "bytes": 7, "sha256": weights}]}}
    store.releases.publish("sorter", "1", {"model.onnx": b"onnx", "sources.json": json.dumps(sources).encode()})
    aged.age_all(GRACE + HOUR)
    assert gone(collect(aged, grace_seconds=GRACE))["blobs"] == {blob_key(loose)}
    aged.put("releases/sorter/1/sources.json", b"{ cut off")
    with pytest.raises(Damaged, match=r"sources\.json is damaged"):
        collect(aged, grace_seconds=GRACE)


def put_listed(store: Store, content: bytes) -> tuple[dict[str, Any], list[str]]:
    """A manifest whose one file is named by a listing, and the digests of the file and of the listing."""
    digest = store.blobs.put(content)
    entries = [{"path": "f", "bytes": len(content), "sha256": digest}]
    listing = store.blobs.put(json.dumps({"files": entries}).encode())
    named = [{"sha256": listing, "bytes": store.blobs.size(listing), "num_files": 1, "total_bytes": len(content)}]
    return {"format": 2, "kind": "dataset", "files": [], "listings": named}, [digest, listing]


def test_what_a_listing_names_is_kept_by_whatever_keeps_the_manifest(store: Store, aged: Aged) -> None:
    of_ref, kept = put_listed(store, b"of a ref")
    store.refs.move("latest", {"dataset": of_ref}, expected=None)
    of_release, more = put_listed(store, b"of a release")
    sources = json.dumps({"dataset": of_release}).encode()
    store.releases.publish("sorter", "1", {"model.onnx": b"onnx", "sources.json": sources})
    of_run, others = put_listed(store, b"of a recent run")
    store.journal.write("run", "data", {"output_artifacts": {"out": [{"manifest": of_run}]}})
    of_result, still_others = put_listed(store, b"of a recent result")
    manifest = store.blobs.put(json.dumps(of_result).encode())
    store.results.save("data", "key", {"output_artifacts": {"out": [{"files": {"manifest.json": manifest}}]}})
    elsewhere, given = put_listed(store, b"of somebody else")
    _, loose = put_listed(store, b"of nobody")
    aged.age_all(GRACE + HOUR)
    for key in aged.ages:
        if key.startswith(("journal/", "results/")):
            aged.ages[key] = 0.0
    collected = collect(aged, grace_seconds=GRACE, roots=[elsewhere])
    assert gone(collected)["blobs"] == {blob_key(digest) for digest in loose}
    assert all(store.blobs.has(digest) for digest in [*kept, *more, *others, *still_others, *given, manifest])


def test_a_damaged_listing_of_a_ref_stops_the_collection_and_a_missing_one_does_not(store: Store, aged: Aged) -> None:
    manifest, (digest, listing) = put_listed(store, b"rows")
    store.refs.move("latest", {"dataset": manifest}, expected=None)
    aged.age_all(GRACE + HOUR)
    aged.put(blob_key(listing), b"cut off")
    with pytest.raises(Damaged, match="is damaged"):
        collect(aged, grace_seconds=GRACE)
    assert store.blobs.has(digest)
    aged.delete(blob_key(listing))
    assert gone(collect(aged, grace_seconds=GRACE))["blobs"] == {blob_key(digest)}


def test_what_is_called_a_listing_and_is_none_stops_no_collection(store: Store, aged: Aged) -> None:
    """A component of anybody's may write such a document."""
    digest = store.blobs.put(b"weights")
    store.journal.write("run", "theirs", {"manifest": {"listings": [{"sha256": digest}, 1, {"sha256": "no"}]}})
    aged.age_all(GRACE + HOUR)
    aged.ages = {key: 0.0 for key in aged.ages if key.startswith("journal/")} | {blob_key(digest): GRACE + HOUR}
    assert gone(collect(aged, grace_seconds=GRACE))["blobs"] == set()


def test_a_recent_run_keeps_what_all_its_tasks_recorded(store: Store, aged: Aged) -> None:
    first = store.blobs.put(b"of its first task")
    store.journal.write("run", "data", journal_record("dataset", {}, first))
    store.journal.write("run", "train", journal_record("model", {}))
    aged.age_all(GRACE + HOUR)
    train = next(listed.key for listed in aged.walk("journal") if "train" in listed.key)
    aged.ages[train] = HOUR
    assert gone(collect(aged, grace_seconds=GRACE))["blobs"] == set()


def test_given_roots_are_kept(store: Store, aged: Aged) -> None:
    digest = store.blobs.put(b"named by a file outside of the store")
    aged.age_all(GRACE + HOUR)
    assert gone(collect(aged, grace_seconds=GRACE, roots={digest}))["blobs"] == set()


def test_an_old_checkpoint_goes_and_of_a_recent_one_what_killed_writers_left(
    store: Store, aged: Aged, tmp_path: Any
) -> None:
    store.checkpoints.save("old", {"weights": b"old"})
    store.checkpoints.save("recent", {"weights": b"recent"})
    aged.put("checkpoints/recent/0123abcd/weights", b"of a writer that was killed")
    aged.put("checkpoints/recent/4567abcd/weights", b"of a writer that is at work")
    aged.age_all(GRACE + HOUR)
    aged.ages["checkpoints/recent/index.json"] = aged.ages["checkpoints/recent/4567abcd/weights"] = HOUR
    deleted = gone(collect(aged, grace_seconds=GRACE))["checkpoints"]
    assert len(deleted) == 3
    assert "checkpoints/recent/0123abcd/weights" in deleted
    assert not store.checkpoints.load("old", tmp_path / "old")
    assert store.checkpoints.load("recent", tmp_path / "recent")
    assert (tmp_path / "recent" / "weights").read_bytes() == b"recent"


def test_an_old_blob_that_is_put_again_stays(store: Store, aged: Aged) -> None:
    digest = store.blobs.put(b"same")
    aged.age_all(GRACE + HOUR)
    assert store.blobs.put(b"same") == digest
    assert gone(collect(aged, grace_seconds=GRACE))["blobs"] == set()
    aged.age_all(GRACE + HOUR)
    assert gone(collect(aged, grace_seconds=GRACE))["blobs"] == {blob_key(digest)}
    assert keys_of(aged) == set()  # the mark went, too


def test_an_old_blob_that_is_held_stays_and_holding_one_that_is_gone_says_so(store: Store, aged: Aged) -> None:
    digest = store.blobs.put(b"1234")
    aged.age_all(GRACE + HOUR)
    assert store.blobs.hold([digest]) == [4]
    assert gone(collect(aged, grace_seconds=GRACE))["blobs"] == set()
    with pytest.raises(BlobMissing):
        store.blobs.hold([digest, "0" * 64])


def test_a_result_that_is_used_stays(store: Store, aged: Aged) -> None:
    record, blobs = put_artifact(store, b"weights")
    store.results.save("prune", "key", record)
    aged.age_all(GRACE + HOUR)
    store.results.renew("prune", "key", record)
    collected = collect(aged, grace_seconds=GRACE)
    assert gone(collected) == {"results": set(), "checkpoints": set(), "blobs": set()}
    assert store.results.load("prune", "key") == record
    assert all(store.blobs.has(digest) for digest in blobs)


def test_a_ref_that_cannot_be_read_stops_the_collection_before_it_deletes(store: Store, aged: Aged) -> None:
    digest = store.blobs.put(b"perhaps named by the ref")
    aged.put("refs/champion.json", b"{ not JSON")
    aged.age_all(GRACE + HOUR)
    with pytest.raises(Damaged, match=r"refs/champion\.json is damaged"):
        collect(aged, grace_seconds=GRACE)
    assert store.blobs.has(digest)


def test_a_recent_result_whose_manifest_is_gone_or_no_document_keeps_the_rest(store: Store, aged: Aged) -> None:
    beside, nonsense = store.blobs.put(b"beside"), store.blobs.put(b"{ not JSON")
    files = {"weights": beside, "manifest.json": nonsense}
    store.results.save("prune", "a", {"output_artifacts": {"x": [{"files": files}]}})
    store.results.save("prune", "b", {"output_artifacts": {"x": [{"files": {"manifest.json": "1" * 64}}]}})
    aged.put("results/prune/c.json", b"{ not JSON")
    aged.ages = {blob_key(beside): GRACE + HOUR, blob_key(nonsense): GRACE + HOUR}
    assert gone(collect(aged, grace_seconds=GRACE))["blobs"] == set()


def test_what_is_not_named_as_a_blob_is_left_alone(aged: Aged) -> None:
    wrong_folder = f"blobs/sha256/00/{digest_of(b'x')}"
    for key in ("blobs/sha256/ab/README.txt", wrong_folder, "checks/other"):
        aged.put(key, b"x")
    aged.age_all(GRACE + HOUR)
    assert gone(collect(aged, grace_seconds=GRACE))["blobs"] == set()
    assert wrong_folder in keys_of(aged)


def busy(*, pid: int, at: float) -> Sweep:
    return Sweep(
        collection="other", batch=3, at=at, condemned=frozenset(), done=False, host=host_name(), pid=pid
    )  # fmt: skip


def test_of_two_collections_the_second_is_refused_while_the_first_is_alive(store: Store, aged: Aged) -> None:
    digest = store.blobs.put(b"old")
    aged.age_all(GRACE + HOUR)
    etag = write_sweep(aged, busy(pid=os.getpid(), at=time.time()), if_match=None)
    with pytest.raises(CollectionBusy, match="another garbage collection is at work"):
        collect(aged, grace_seconds=GRACE)
    assert store.blobs.has(digest)
    write_sweep(aged, busy(pid=os.getpid(), at=time.time() - 2 * HOUR), if_match=etag)
    assert gone(collect(aged, grace_seconds=GRACE))["blobs"] == {blob_key(digest)}


def test_a_collection_whose_place_was_taken_stops(store: Store, aged: Aged, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("components.core.store.care.garbage.BATCH", 1)
    store.blobs.put_many([b"1", b"2"])
    aged.age_all(GRACE + HOUR)
    deleted: list[str] = []

    def delete(key: str) -> None:
        Aged.delete(aged, key)
        deleted.append(key)
        write_sweep(aged, busy(pid=os.getpid(), at=time.time()), if_match=aged.etag("gc/sweep.json"))

    monkeypatch.setattr(aged, "delete", delete)
    with pytest.raises(CollectionBusy):
        collect(aged, grace_seconds=GRACE)
    assert len(deleted) == 1


def test_when_it_is_done_it_says_so(store: Store, aged: Aged) -> None:
    store.blobs.put(b"old")
    aged.age_all(GRACE + HOUR)
    collect(aged, grace_seconds=GRACE)
    sweep = read_sweep(aged)
    assert sweep is not None
    assert sweep.done
    assert sweep.condemned == frozenset()


@pytest.mark.parametrize("days", [400, -400])
def test_a_collection_whose_clock_is_wrong_goes_by_the_clock_of_the_store(
    store: Store, aged: Aged, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    old, young = store.blobs.put(b"old"), store.blobs.put(b"what a running task has just written")
    aged.ages[blob_key(old)] = GRACE + HOUR
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + days * DAY)
    collected = collect(aged, grace_seconds=GRACE)
    assert gone(collected)["blobs"] == {blob_key(old)}
    assert store.blobs.get(young) == b"what a running task has just written"
    sweep = read_sweep(aged)
    assert sweep is not None
    assert abs(sweep.at - real()) < HOUR  # what writers and other collections compare with their own clocks


def test_a_clock_that_is_set_during_a_collection_changes_nothing(
    store: Store, aged: Aged, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, young = store.blobs.put(b"old"), store.blobs.put(b"what a running task has just written")
    aged.ages[blob_key(old)] = GRACE + HOUR
    real = time.time

    def tell(phase: str) -> None:
        if phase == "deleting":
            monkeypatch.setattr(time, "time", lambda: real() + 400 * DAY)

    assert gone(collect(aged, grace_seconds=GRACE, tell=tell))["blobs"] == {blob_key(old)}
    assert store.blobs.get(young) == b"what a running task has just written"
    sweep = read_sweep(aged)
    assert sweep is not None
    assert abs(sweep.at - real()) < HOUR  # else no other machine could collect for 400 days


def test_a_writer_whose_clock_is_far_behind_marks_what_it_relies_on(
    store: Store, aged: Aged, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To such a clock nothing is old. S3 refuses it, a folder that several machines share does not."""
    digest = store.blobs.put(b"old")
    aged.age_all(GRACE + HOUR)
    real = time.time
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: real() - 400 * DAY)
        assert store.blobs.hold([digest]) == [3]
    assert gone(collect(aged, grace_seconds=GRACE))["blobs"] == set()
    assert store.blobs.get(digest) == b"old"
