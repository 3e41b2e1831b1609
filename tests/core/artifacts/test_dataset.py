"""Datasets: shards, order, counts and fingerprint."""

import hashlib
import random
from pathlib import Path

import pytest

from components.core.artifacts import dataset as dataset_module
from components.core.artifacts.dataset import Dataset, open_dataset, write_dataset
from components.core.errors import UserError
from components.core.store import Store, open_store


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    return open_store(str(tmp_path / "store"))


def rows(count: int, *, start: int = 0) -> list[dict]:
    made = []
    for number in range(start, start + count):
        image = f"image {number}".encode() * 20
        digest = hashlib.sha256(image).hexdigest()
        made.append({"image": image, "label": number % 3, "digest": digest, "source": f"{number}.jpg"})
    return made


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset_module, "SHARD_BYTES", 3000)


def written(tmp_path: Path, store: Store, splits: dict, name: str = "artifact") -> Dataset:
    write_dataset(tmp_path / name, task="classification", classes=["a", "b", "c"], splits=splits, store=store)
    return open_dataset(tmp_path / name, store)


@pytest.mark.usefixtures("small_shards")
def test_rows_come_back_in_stored_order_from_several_shards(tmp_path: Path, store: Store) -> None:
    train = rows(40)
    dataset = written(tmp_path, store, {"train": train, "test": rows(5, start=40)})
    assert len(dataset.shard_rows("train")) > 3
    assert list(dataset.iterate("train")) == train
    assert dataset.counts == {"train": 40, "validation": 0, "test": 5}
    assert dataset.class_counts["train"] == [14, 13, 13]
    assert list(dataset.iterate("validation")) == []


@pytest.mark.usefixtures("small_shards")
def test_no_shard_is_larger_than_the_limit_allows(tmp_path: Path, store: Store) -> None:
    dataset = written(tmp_path, store, {"train": rows(40)})
    sizes = [
        sum(len(image) + 80 for image in dataset.read("train", shard, columns=("image",))["image"].to_pylist())
        for shard in range(len(dataset.shard_rows("train")))
    ]
    assert max(sizes) <= 3000
    assert min(sizes[:-1]) > 2000, "only the last shard may be small"


@pytest.mark.usefixtures("small_shards")
def test_a_seeded_pass_has_every_row_once_and_repeats_itself(tmp_path: Path, store: Store) -> None:
    dataset = written(tmp_path, store, {"train": rows(40)})

    def order(seed: int | None, epoch: int) -> list[str]:
        return [row["source"] for row in dataset.iterate("train", seed=seed, epoch=epoch, columns=("source",))]

    assert order(1, 0) == order(1, 0)
    assert sorted(order(1, 0)) == sorted(order(None, 0))
    assert len({tuple(order(seed, epoch)) for seed in (None, 1, 2) for epoch in (0, 1)}) == 5


@pytest.mark.usefixtures("small_shards")
def test_a_limit_spreads_evenly_and_is_the_same_in_each_epoch(tmp_path: Path, store: Store) -> None:
    dataset = written(tmp_path, store, {"train": rows(40)})

    def taken(limit: int, **order: int) -> list[str]:
        return [row["source"] for row in dataset.iterate("train", limit=limit, columns=("source",), **order)]

    assert taken(4) == ["0.jpg", "10.jpg", "20.jpg", "30.jpg"]
    assert sorted(taken(7, seed=1, epoch=3)) == sorted(taken(7))
    assert len(taken(1000)) == 40
    with pytest.raises(ValueError, match="limit must be at least 1, got 0"):
        taken(0)


def test_fingerprint_is_the_documented_formula_and_ignores_order_and_split(tmp_path: Path, store: Store) -> None:
    all_rows = rows(9)
    keys = sorted(
        hashlib.sha256(bytes.fromhex(row["digest"]) + row["label"].to_bytes(4, "big")).digest() for row in all_rows
    )
    expected = hashlib.sha256(b"a\nb\nc\n\0" + b"".join(keys)).hexdigest()
    assert written(tmp_path, store, {"train": all_rows}).fingerprint == expected
    random.Random(0).shuffle(all_rows)
    other = written(tmp_path, store, {"train": all_rows[:4], "test": all_rows[4:]}, name="other")
    assert other.fingerprint == expected


def test_fingerprint_changes_with_a_label(tmp_path: Path, store: Store) -> None:
    before = rows(9)
    after = [*before[:-1], {**before[-1], "label": 0}]
    one = written(tmp_path, store, {"train": before})
    assert written(tmp_path, store, {"train": after}, name="other").fingerprint != one.fingerprint


def test_the_same_rows_give_the_same_artifact(tmp_path: Path, store: Store) -> None:
    one = written(tmp_path, store, {"train": rows(9)})
    assert written(tmp_path, store, {"train": rows(9)}, name="other").manifest.digest == one.manifest.digest


def test_an_unknown_split_or_task_is_refused_by_name(tmp_path: Path, store: Store) -> None:
    dataset = written(tmp_path, store, {"train": rows(3)})
    with pytest.raises(UserError, match="unknown split 'val'; available: train, validation, test"):
        dataset.rows("val")
    with pytest.raises(ValueError, match="holdout"):
        written(tmp_path, store, {"holdout": rows(3)})
    with pytest.raises(UserError, match="task 'segmentation' is not available in this version"):
        write_dataset(tmp_path / "x", task="segmentation", classes=[], splits={}, store=store)


def test_a_row_that_fails_leaves_no_manifest(tmp_path: Path, store: Store) -> None:
    with pytest.raises(KeyError):
        written(tmp_path, store, {"train": [*rows(2), {"image": b""}]})
    assert not (tmp_path / "artifact").exists()
