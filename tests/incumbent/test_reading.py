import json
from typing import Any

import pytest
from kfp import dsl

from components.core.artifacts.entries import FileEntry
from components.core.artifacts.listings import write_listings
from components.core.artifacts.manifest import publish, publish_entries, read_manifest
from components.core.bundles.onnx_bundle import load_onnx
from components.core.data.last_prepared import save_last_prepared
from components.core.errors import UserError
from components.core.split_part import SplitPart
from components.core.store import Store, open_store
from components.core.tasks.images.assets import ImageAssets
from components.core.tasks.images.preprocess import Preprocess
from components.incumbent.component import incumbent
from components.incumbent.reading import read_incumbent, save_served

PREPROCESS = Preprocess(image_size=8, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


@pytest.fixture
def store(tmp_path, monkeypatch) -> Store:
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    return open_store(str(tmp_path / "store"))


@pytest.fixture
def champion(store, tmp_path) -> dict[str, str]:
    """A champion; gives the digests of what it was made from."""
    publish(tmp_path / "model", kind="model", files={"bytes": b"model"}, metadata={"of": "model"}, store=store)
    shard = FileEntry(path="train-00000.parquet", bytes=7, sha256=store.blobs.put(b"dataset"))
    listed = write_listings([shard], store)
    publish_entries(tmp_path / "dataset", kind="dataset", entries=[], metadata={"of": "dataset"}, listings=listed)
    sources = {name: read_manifest(tmp_path / name) for name in ("model", "dataset")}
    provenance = {
        "task": "classification", "scheme": "int8", "backbone": "b", "verification": {"parity": 1},
        "artifacts": {"x": "y"},
    }  # fmt: skip
    files = {
        "model.onnx": b"onnx",
        "preprocess.json": json.dumps(PREPROCESS.to_json()).encode(),
        "labels.json": b'["a", "b"]',
        "card.md": b"# m",
        "SHA256SUMS": b"",
        "evaluation.json": b"{}",
        "decision.json": b"{}",
        "provenance.json": json.dumps(provenance).encode(),
        "sources.json": json.dumps({name: manifest.to_json() for name, manifest in sources.items()}).encode(),
    }
    store.releases.publish("m", "1", files)
    store.champions.promote("m", "1", who="ann", why="the first")
    return {name: manifest.digest for name, manifest in sources.items()}


def test_the_champion_comes_with_what_it_was_made_from_and_with_the_state_of_its_ref(store, champion):
    found = read_incumbent(store, "champion")
    assert (found.name, found.version) == ("m", "1")
    assert {"model": found.model.digest, "dataset": found.dataset.digest} == champion
    assert found.state == store.champions.read().state
    assert sorted(found.files) == ["labels.json", "model.onnx", "preprocess.json", "provenance.json"]


def test_the_data_set_is_handed_on_with_its_listings(store, champion, tmp_path, monkeypatch):
    monkeypatch.setenv("TRIMTAB_STORE", store.uri)
    names = ("served", "model", "reference", "latest", "anchor_served", "anchor_reference")
    outputs = {name: dsl.Artifact(uri=str(tmp_path / "out" / name)) for name in names}
    incumbent.python_func(champion="champion", **outputs)
    for name in ("reference", "latest", "anchor_reference"):
        handed_on = read_manifest(outputs[name].path)
        assert handed_on.digest == champion["dataset"]
        assert len(handed_on.listings) == 1


def test_what_is_evaluated_is_the_released_file_itself(store, champion, tmp_path):
    manifest = save_served(tmp_path / "served", read_incumbent(store, "champion"), store)
    bundle = load_onnx(manifest, store)
    assert bundle.graphs["model"].read_bytes() == b"onnx"
    assert bundle.assets == ImageAssets(preprocess=PREPROCESS, labels=["a", "b"])
    assert bundle.provenance == {"task": "classification", "scheme": "int8", "backbone": "b"}


def test_the_data_set_that_was_prepared_last_is_found_and_without_one_it_is_the_champions(store, champion, tmp_path):
    before = read_incumbent(store, "champion")
    assert before.latest == before.dataset
    publish(tmp_path / "newer", kind="dataset", files={"bytes": b"newer"}, metadata={}, store=store)
    save_last_prepared(store, before.prepared, read_manifest(tmp_path / "newer"))
    assert read_incumbent(store, "champion").latest == read_manifest(tmp_path / "newer")


def test_a_data_set_whose_bytes_are_gone_is_not_taken_over(store, champion, tmp_path):
    publish(tmp_path / "newer", kind="dataset", files={"bytes": b"newer"}, metadata={}, store=store)
    newer = read_manifest(tmp_path / "newer")
    save_last_prepared(store, "prepared/champion", newer)
    digest = newer.files[0].sha256
    (tmp_path / "store" / "blobs" / "sha256" / digest[:2] / digest).unlink()
    found = read_incumbent(store, "champion")
    assert found.latest == found.dataset


def test_without_a_champion_it_says_how_to_get_one(store):
    with pytest.raises(UserError, match=r"no champion 'champion'.*trimtab promote"):
        read_incumbent(store, "champion")


def test_a_damaged_champion_is_refused(store, champion, tmp_path):
    (tmp_path / "store" / "releases" / "m" / "1" / "labels.json").write_bytes(b"[]")
    with pytest.raises(UserError, match="m/1 is not a whole release"):
        read_incumbent(store, "champion")


@pytest.mark.parametrize("files", [{"model.onnx": b"x"}, {"model.onnx": b"x", "sources.json": b"{}"}])
def test_a_release_that_does_not_say_what_it_was_made_from_is_refused(store, files):
    store.releases.publish("old", "1", files)
    store.champions.promote("old", "1", who="ann", why="x")
    with pytest.raises(UserError, match="release old/1"):
        read_incumbent(store, "champion")


def promote_next(store, version: str, next_anchor: dict[str, str] | None, *, part: SplitPart | None = None) -> None:
    """A release of a retraining, with the judgement that promoted it."""
    files = {name: store.releases.read("m", "1", name) for name in store.releases.files("m", "1")}
    judged: dict[str, Any] = {"next_anchor": next_anchor}
    if part:
        judged["test_part"] = {"number": part.number, "of": part.of, "uses_before": [0] * part.of}
    store.releases.publish("m", version, {**files, "retraining.json": json.dumps(judged).encode()})
    store.champions.promote("m", version, who="trimtab retrain", why="not worse")


def test_the_first_champion_is_its_own_anchor(store, champion):
    found = read_incumbent(store, "champion")
    assert (found.anchor.release, found.part_uses) == ("m/1", (1,))
    assert found.anchor.dataset == found.dataset


def test_the_anchor_is_the_last_release_that_was_proven_better(store, champion):
    promote_next(store, "2", {"name": "m", "version": "1"})
    found = read_incumbent(store, "champion")
    assert (found.version, found.anchor.release, found.part_uses) == ("2", "m/1", (2,))
    promote_next(store, "3", None)
    assert read_incumbent(store, "champion").anchor.release == "m/3"
    promote_next(store, "4", {"name": "m", "version": "3"})
    assert read_incumbent(store, "champion").anchor.release == "m/3"


def test_a_damaged_anchor_is_refused(store, champion, tmp_path):
    promote_next(store, "2", {"name": "m", "version": "1"})
    (tmp_path / "store" / "releases" / "m" / "1" / "labels.json").write_bytes(b"[]")
    with pytest.raises(UserError, match="m/1 is not a whole release"):
        read_incumbent(store, "champion")


def test_each_retraining_is_given_the_part_that_has_been_used_least(store, champion):
    given = []
    for week in range(2, 9):
        found = read_incumbent(store, "champion", test_parts=3)
        assert found == read_incumbent(store, "champion", test_parts=3)
        given.append((found.part.number, found.part_uses))
        promote_next(store, str(week), None, part=found.part)
    # The first release was measured on the whole split.
    assert given == [
        (1, (1, 1, 1)), (2, (2, 1, 1)), (3, (2, 2, 1)), (1, (2, 2, 2)), (2, (3, 2, 2)), (3, (3, 3, 2)), (1, (3, 3, 3)),
    ]  # fmt: skip


def test_a_use_of_the_whole_and_of_other_parts_counts_for_every_part_that_shares_rows(store, champion):
    promote_next(store, "2", None)
    promote_next(store, "3", None, part=SplitPart(number=1, of=2))
    # [0, ½) shares rows with the first two thirds.
    found = read_incumbent(store, "champion", test_parts=3)
    assert found.part_uses == (3, 3, 2)
    assert found.part == SplitPart(number=3, of=3)
    assert read_incumbent(store, "champion").part_uses == (3,)
