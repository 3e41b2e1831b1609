"""A data set that was prepared before, and what the next preparation writes."""

import io
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from components.core.artifacts import listings
from components.core.artifacts.listings import listed_files
from components.core.data import dataset
from components.core.data.dataset import SPLITS, Dataset, open_dataset
from components.core.data.last_prepared import load_last_prepared, save_last_prepared
from components.core.store import Store, open_store
from components.core.tasks.classification.rows import ClassificationRows
from components.data_prep import reuse
from components.data_prep.prepare import prepare
from components.data_prep.settings import Settings

IMAGES = ClassificationRows()


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    return open_store(str(tmp_path / "store"))


def add(folder: Path, first: int, count: int) -> None:
    """`count` images of two classes, each of its own content."""
    for number in range(first, first + count):
        buffer = io.BytesIO()
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(buffer, "PNG")
        path = folder / ("ab"[number % 2]) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(buffer.getvalue())


def prepared(data: Path, store: Store, name: str, previous: Dataset | None = None) -> Dataset:
    artifact = data.parent / name
    prepare(Settings(rows=IMAGES, dataset=str(data)), artifact, store, previous=previous)
    return open_dataset(artifact, store)


def content(dataset: Dataset) -> dict[str, list]:
    return {split: sorted(tuple(row.items()) for row in dataset.iterate(split)) for split in SPLITS}


def shards(dataset: Dataset) -> set[str]:
    return {entry.sha256 for entry in dataset.manifest.files if entry.path.endswith(".parquet")}


def test_only_what_is_new_is_written_and_the_data_set_is_the_same(tmp_path, store):
    data = tmp_path / "data"
    add(data, 0, 60)
    first = prepared(data, store, "first")
    add(data, 60, 20)
    alone = prepared(data, store, "alone")
    second = prepared(data, store, "second", previous=first)
    assert shards(first) < shards(second)
    assert content(second) == content(alone)
    assert second.fingerprint == alone.fingerprint
    assert (second.counts, second.class_counts) == (alone.counts, alone.class_counts)
    new = [row["digest"] for entry in SPLITS for row in second.iterate(entry)]
    assert len(new) == len(set(new)) == 80


def test_nothing_new_writes_nothing_and_gives_the_same_artifact(tmp_path, store):
    add(tmp_path / "data", 0, 40)
    first = prepared(tmp_path / "data", store, "first")
    assert prepared(tmp_path / "data", store, "second", previous=first).manifest.digest == first.manifest.digest


@pytest.mark.parametrize("change", ["removed", "moved to the other class", "renamed"])
def test_a_shard_with_a_row_that_is_not_wanted_any_more_is_written_anew(tmp_path, store, change):
    data = tmp_path / "data"
    add(data, 0, 60)
    first = prepared(data, store, "first")
    image = next(path for path in sorted((data / "a").iterdir()) if _split(first, path) == "train")
    if change == "removed":
        image.unlink()
    else:
        image.rename(data / "b" / image.name if change.startswith("moved") else image.with_name("x.png"))
    second = prepared(data, store, "second", previous=first)
    assert content(second) == content(prepared(data, store, "alone"))
    assert len(shards(second) & shards(first)) == 2


def test_shards_that_the_store_has_collected_are_written_anew(tmp_path, store):
    add(tmp_path / "data", 0, 60)
    first = prepared(tmp_path / "data", store, "first")
    content(first)  # brings it into the local cache
    for path in (tmp_path / "store" / "blobs").rglob("*"):
        if path.is_file():
            path.unlink()
    add(tmp_path / "data", 60, 20)
    second = prepared(tmp_path / "data", store, "second", previous=first)
    assert all(store.blobs.has(entry.sha256) for entry in second.manifest.files)
    assert sum(second.counts.values()) == 80


def test_shards_that_are_listed_are_kept_and_remembered_too(tmp_path, store, monkeypatch):
    monkeypatch.setattr(dataset, "SHARD_BYTES", 1500)
    data = tmp_path / "data"
    add(data, 0, 60)
    flat = prepared(data, store, "flat")
    monkeypatch.setattr(listings, "LISTED_FILES", 4)
    first = prepared(data, store, "first")
    assert len(first.manifest.listings) > 2
    assert (first.fingerprint, content(first)) == (flat.fingerprint, content(flat))
    save_last_prepared(store, "latest", first.manifest)
    assert load_last_prepared(store, "latest") == first.manifest
    add(data, 60, 20)
    second = prepared(data, store, "second", previous=first)
    kept = {entry.sha256 for entry in listed_files(first.manifest, store) if entry.path.endswith(".parquet")}
    assert kept < {entry.sha256 for entry in listed_files(second.manifest, store)}
    assert content(second) == content(prepared(data, store, "alone"))
    digest = first.manifest.listings[0].sha256
    (tmp_path / "store" / "blobs" / "sha256" / digest[:2] / digest).unlink()
    assert load_last_prepared(store, "latest") is None


def test_another_order_of_classes_keeps_no_shard(tmp_path, store):
    data = tmp_path / "data"
    add(data, 0, 60)
    first = prepared(data, store, "first")
    for number in range(5):
        path = data / "0first" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), (number, 0, 0)).save(path)
    second = prepared(data, store, "second", previous=first)
    assert second.classes == ["0first", "a", "b"]
    assert content(second) == content(prepared(data, store, "alone"))


def test_many_small_shards_become_few(tmp_path, store, monkeypatch):
    monkeypatch.setattr(reuse, "MAX_SMALL_SHARDS", 2)
    data, latest = tmp_path / "data", None
    numbers = []
    for week in range(5):
        add(data, 40 * week, 40)
        latest = prepared(data, store, f"week-{week}", previous=latest)
        numbers.append(len(latest.shard_rows("train")))
    assert numbers == [1, 2, 3, 1, 2]
    assert content(latest) == content(prepared(data, store, "alone"))


def _split(dataset: Dataset, path: Path) -> str:
    digest = sha256(path.read_bytes()).hexdigest()
    return next(split for split in SPLITS if digest in {row["digest"] for row in dataset.iterate(split)})
