"""Datasets: shards, order, counts and fingerprint."""

import hashlib
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from components.core.artifacts import listings
from components.core.artifacts.entries import FileEntry
from components.core.artifacts.manifest import publish_entries
from components.core.data import dataset as dataset_module
from components.core.data.dataset import Dataset, open_dataset, write_dataset
from components.core.errors import UserError
from components.core.store import Store, open_store
from components.core.tasks import get_task


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
    write_dataset(
        tmp_path / name, rows=get_task("classification").rows, classes=["a", "b", "c"], splits=splits, store=store
    )
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


def test_a_shard_holds_each_content_once(tmp_path: Path, store: Store) -> None:
    train = rows(3)
    dataset = written(tmp_path, store, {"train": train})
    (shard,) = (store.blobs.get(entry.sha256) for entry in dataset.manifest.files)
    assert [shard.count(row["image"]) for row in train] == [1, 1, 1]


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


def test_an_unknown_split_is_refused_by_name(tmp_path: Path, store: Store) -> None:
    dataset = written(tmp_path, store, {"train": rows(3)})
    with pytest.raises(UserError, match="unknown split 'val'; available: train, validation, test"):
        dataset.rows("val")
    with pytest.raises(ValueError, match="holdout"):
        written(tmp_path, store, {"holdout": rows(3)})


def test_a_row_that_fails_leaves_no_manifest(tmp_path: Path, store: Store) -> None:
    with pytest.raises(KeyError):
        written(tmp_path, store, {"train": [*rows(2), {"image": b""}]})
    assert not (tmp_path / "artifact").exists()


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("limit", [None, 1, 4, 7, 39, 40, 41])
@pytest.mark.parametrize("seed", [None, 3])
def test_the_order_is_the_documented_formula(tmp_path: Path, store: Store, seed: int | None, limit: int | None) -> None:
    dataset = written(tmp_path, store, {"train": rows(40)})
    found = [(shard, taken.tolist()) for shard, taken in dataset.order("train", seed=seed, epoch=2, limit=limit)]
    # The whole split at once: the wanted rows, then shards, then the rows of each, permuted by one generator.
    wanted = range(40) if limit is None or limit >= 40 else [k * 40 // limit for k in range(limit)]
    lengths, rng = dataset.shard_rows("train"), np.random.default_rng([seed or 0, 2])
    expected = []
    for shard in range(len(lengths)) if seed is None else rng.permutation(len(lengths)).tolist():
        first = sum(lengths[:shard])
        here = [row - first for row in wanted if first <= row < first + lengths[shard]]
        if here:
            expected.append((shard, here if seed is None else rng.permutation(here).tolist()))
    assert found == expected


@pytest.mark.usefixtures("small_shards")
def test_the_manifest_states_the_rows_of_each_shard(tmp_path: Path, store: Store) -> None:
    dataset = written(tmp_path, store, {"train": rows(40), "test": rows(5, start=40)})
    stated = dataset.manifest.metadata["shard_rows"]
    assert stated == {split: [shard_rows(dataset, split, n) for n in range(len(stated[split]))] for split in stated}
    assert stated["validation"] == []


def shard_rows(dataset: Dataset, split: str, number: int) -> int:
    return dataset.read(split, number, columns=("digest",)).num_rows


@pytest.mark.usefixtures("small_shards")
def test_a_manifest_without_the_rows_of_each_shard_gives_the_same_passes(tmp_path: Path, store: Store) -> None:
    dataset = written(tmp_path, store, {"train": rows(40)})
    old = with_shard_rows(tmp_path, dataset, None, store)
    assert "shard_rows" not in old.manifest.metadata
    assert old.shard_rows("train") == dataset.shard_rows("train")
    assert list(old.iterate("train", seed=1, limit=9)) == list(dataset.iterate("train", seed=1, limit=9))


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("stated", [[1], {"train": 40}, {"train": [40], "validation": [], "test": []}, {}])
def test_rows_of_shards_that_cannot_be_true_are_one_clear_line(tmp_path: Path, store: Store, stated: object) -> None:
    dataset = written(tmp_path, store, {"train": rows(40)})
    with pytest.raises(UserError, match=r"contradicts itself: its shard_rows do not fit .* rows of train"):
        with_shard_rows(tmp_path, dataset, stated, store)


def with_shard_rows(tmp_path: Path, dataset: Dataset, stated: object, store: Store) -> Dataset:
    """The same data set with another statement, or None for none, as before it was made."""
    facts = {name: value for name, value in dataset.manifest.metadata.items() if name != "shard_rows"}
    facts |= {} if stated is None else {"shard_rows": stated}
    publish_entries(tmp_path / "changed", kind="dataset", entries=dataset.manifest.files, metadata=facts)
    return open_dataset(tmp_path / "changed", store)


def test_the_hundred_thousandth_shard_comes_after_the_twenty_thousandth(tmp_path: Path, store: Store) -> None:
    dataset = written(tmp_path, store, {"train": rows(6), "test": rows(3, start=6)})
    train, test = (dataset.manifest.entry(f"{split}-00000.parquet") for split in ("train", "test"))
    entries = [replace(train, path="train-100000.parquet"), replace(test, path="train-20000.parquet")]
    facts = dataset.manifest.metadata | {"counts": {"train": 9, "validation": 0, "test": 0}}
    facts |= {"shard_rows": {"train": [3, 6], "validation": [], "test": []}}
    publish_entries(tmp_path / "large", kind="dataset", entries=entries, metadata=facts)
    large = open_dataset(tmp_path / "large", store)
    assert [row["source"] for row in large.iterate("train")] == [f"{number}.jpg" for number in (6, 7, 8, *range(6))]


@pytest.mark.usefixtures("small_shards")
def test_a_data_set_of_many_shards_is_listed_and_reads_as_one_of_few(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    splits = {"train": rows(60), "validation": rows(20, start=60), "test": rows(20, start=80)}
    flat = written(tmp_path, store, splits, "flat")
    num_shards = sum(len(flat.shard_rows(split)) for split in splits)
    monkeypatch.setattr(listings, "LISTED_FILES", num_shards)
    fits = written(tmp_path, store, splits, "fits")
    assert fits.manifest == flat.manifest
    monkeypatch.setattr(listings, "LISTED_FILES", 4)
    tree = written(tmp_path, store, splits, "tree")
    assert len(tree.manifest.listings) == -(-num_shards // 4)
    assert [entry.path for entry in tree.manifest.files] == ["shard_rows.json"]
    assert tree.manifest.total_bytes - tree.manifest.files[0].bytes == flat.manifest.total_bytes
    assert (tree.fingerprint, tree.counts, tree.class_counts) == (flat.fingerprint, flat.counts, flat.class_counts)
    for split in splits:
        assert tree.shard_rows(split) == flat.shard_rows(split)
        assert list(tree.iterate(split, seed=3)) == list(flat.iterate(split, seed=3))
    again = written(tmp_path, store, splits, "again")
    assert again.manifest == tree.manifest


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("content", [b"{", b"[]", b'{"train": [1], "validation": [], "test": []}'])
def test_rows_of_listed_shards_that_do_not_fit_are_refused_when_they_are_needed(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setattr(listings, "LISTED_FILES", 2)
    manifest = written(tmp_path, store, {"train": rows(40)}).manifest
    stated = FileEntry(path="shard_rows.json", bytes=len(content), sha256=store.blobs.put(content))
    dataset = Dataset(replace(manifest, files=(stated,)), store)
    with pytest.raises(UserError, match=r"shard_rows.*prepare the data again"):
        list(dataset.iterate("train"))
