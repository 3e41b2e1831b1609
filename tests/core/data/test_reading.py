"""The reading engine, with a transform of its own: order, shares, skipping, and what stays in memory."""

import hashlib
import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.core.data import dataset as dataset_module
from components.core.data import reading
from components.core.data.batch import WHOLE, Batch, Draws, Example, Share
from components.core.data.dataset import Dataset, open_dataset, write_dataset
from components.core.data.reading import read_batches, token_batches
from components.core.store import open_store
from components.core.tasks import get_task

ROWS, WIDTH = 23, 300
Open = Callable[[], Dataset]


@dataclass(frozen=True, kw_only=True)
class Bytes:
    """A stored "image" is its bytes, scaled; augmentation adds a number to each row."""

    scale: int = 1
    decoded: list[int] = field(default_factory=list)
    """Labels of the rows that were decoded."""

    columns = ("image", "label")

    @property
    def key(self) -> Hashable:
        return "bytes", self.scale

    lengths = None

    def decode(self, row: Mapping[str, Any]) -> Example:
        self.decoded.append(row["label"])
        if row["image"] == b"broken":
            raise OSError("broken")
        return np.frombuffer(row["image"], np.uint8) * np.uint8(self.scale), row["label"]

    def draw(self, rng: np.random.Generator, count: int) -> Draws:
        return {"add": rng.integers(1, 100, size=count)}

    def collate(self, examples: Sequence[Example], digests: list[str], draws: Draws | None) -> Batch:
        values = np.array([value for value, _ in examples], dtype=np.int64).reshape(len(examples), WIDTH)
        if draws is not None:
            values = values + draws["add"][:, None]
        return Batch(inputs={"values": values}, targets=np.array([label for _, label in examples]), digests=digests)


def open_in(folder: Path, images: Sequence[bytes]) -> Open:
    rows = [
        {"image": image, "label": number, "digest": hashlib.sha256(image).hexdigest(), "source": str(number)}
        for number, image in enumerate(images)
    ]
    store = open_store(str(folder / "store"))
    write_dataset(
        folder / "data", rows=get_task("classification").rows, classes=[str(number) for number in range(ROWS)],
        splits={"train": rows}, store=store,
    )  # fmt: skip
    return lambda: open_dataset(folder / "data", store)


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    """Opens a data set of 23 rows in several shards; each call a new object with nothing decoded."""
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(dataset_module, "SHARD_BYTES", 1500)
    rng = np.random.default_rng(0)
    found = open_in(tmp_path, [rng.bytes(WIDTH) for _ in range(ROWS)])
    assert len(found().shard_rows("train")) > 3
    return found


def read(dataset: Dataset, transform: Bytes | None = None, *, batch_size: int = 4, **options: Any) -> list[Batch]:
    return list(read_batches(dataset, "train", transform or Bytes(), batch_size=batch_size, **options))


def flat(dataset: Dataset, **options: Any) -> list[tuple]:
    return [
        (batch.inputs["values"].tobytes(), batch.targets.tolist(), batch.digests) for batch in read(dataset, **options)
    ]


def test_batches_hold_every_row_once_in_stored_order(fresh: Open) -> None:
    dataset = fresh()
    rows = list(dataset.iterate("train"))
    batches = read(dataset)
    assert [len(batch) for batch in batches] == [4, 4, 4, 4, 4, 3]
    values = np.concatenate([batch.inputs["values"] for batch in batches])
    np.testing.assert_array_equal(values, [list(row["image"]) for row in rows])
    assert [target for batch in batches for target in batch.targets] == [row["label"] for row in rows]
    assert [digest for batch in batches for digest in batch.digests] == [row["digest"] for row in rows]


def test_no_rows_per_batch_are_refused_at_once(fresh: Open) -> None:
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        read_batches(fresh(), "train", Bytes(), batch_size=0)


@pytest.mark.parametrize("memory", [0, 5 * WIDTH, reading.MEMORY_BYTES])
@pytest.mark.parametrize("options", [{}, {"seed": 1}, {"seed": 1, "epoch": 2, "augment": True}, {"limit": 9}])
def test_same_seed_and_epoch_give_the_same_bytes_whether_remembered_or_not(
    fresh: Open, monkeypatch: pytest.MonkeyPatch, memory: int, options: dict
) -> None:
    monkeypatch.setattr(reading, "MEMORY_BYTES", memory)
    dataset = fresh()
    first, second = flat(dataset, **options), flat(dataset, **options)
    monkeypatch.setattr(reading, "MEMORY_BYTES", 0)
    assert first == second == flat(fresh(), **options)


@pytest.mark.parametrize("size", [2, 3, 5])
@pytest.mark.parametrize("options", [{}, {"seed": 1, "epoch": 2, "augment": True}, {"limit": 9}])
def test_the_shares_of_a_batch_are_the_batch(fresh: Open, size: int, options: dict) -> None:
    dataset = fresh()
    whole = read(dataset, batch_size=8, **options)
    shares = [read(dataset, batch_size=8, share=Share(rank, size), **options) for rank in range(size)]
    for number, batch in enumerate(whole):
        parts = [share[number] for share in shares]
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
        np.testing.assert_array_equal(np.concatenate([part.inputs["values"] for part in parts]), batch.inputs["values"])
        assert [target for part in parts for target in part.targets] == batch.targets.tolist()
        assert [digest for part in parts for digest in part.digests] == batch.digests
    assert {len(share) for share in shares} == {len(whole)}


def test_a_share_of_a_batch_with_fewer_rows_than_there_are_shares_may_be_empty(fresh: Open) -> None:
    shares = [read(fresh(), batch_size=22, share=Share(rank, 2), seed=0, augment=True) for rank in (0, 1)]
    assert [[len(batch) for batch in share] for share in shares] == [[11, 0], [11, 1]]
    assert shares[0][1].inputs["values"].shape == (0, WIDTH)


@pytest.mark.parametrize("memory", [0, reading.MEMORY_BYTES])
@pytest.mark.parametrize("share", [WHOLE, Share(1, 2), Share(2, 3)])
@pytest.mark.parametrize("options", [{}, {"seed": 1, "epoch": 2, "augment": True}, {"limit": 9, "seed": 1}])
def test_what_follows_the_skipped_batches_is_what_would_have_followed_them(
    fresh: Open, monkeypatch: pytest.MonkeyPatch, memory: int, share: Share, options: dict
) -> None:
    monkeypatch.setattr(reading, "MEMORY_BYTES", memory)
    whole = flat(fresh(), share=share, **options)
    for skip in range(len(whole) + 1):
        assert flat(fresh(), share=share, skip=skip, **options) == whole[skip:]


def test_shards_of_which_all_rows_are_skipped_are_not_fetched(
    fresh: Open, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fetched(skip: int) -> set[str]:
        monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / f"after {skip}"))
        flat(fresh(), seed=1, batch_size=1, skip=skip)
        return {path.name for path in (tmp_path / f"after {skip}").rglob("[!.]*") if path.is_file()}

    dataset = fresh()
    digests = [entry.sha256 for entry in dataset.manifest.files]
    order = [digests[shard] for shard, _ in dataset.order("train", seed=1)]
    first_rows = dataset.shard_rows("train")[digests.index(order[0])]
    assert fetched(first_rows - 1) == set(order)
    assert fetched(first_rows) == set(order[1:])
    assert fetched(22) == set(order[-1:])


def test_seed_epoch_and_augmentation_each_change_the_batches(fresh: Open) -> None:
    dataset = fresh()
    options: list[dict] = [{}, {"seed": 1}, {"seed": 2}, {"seed": 1, "epoch": 1}, {"seed": 1, "augment": True}]
    assert len({str(flat(dataset, **each)) for each in options}) == len(options)


def test_remembered_rows_are_not_decoded_again(fresh: Open) -> None:
    dataset, transform = fresh(), Bytes()
    read(dataset, transform, seed=0)
    assert sorted(transform.decoded) == list(range(ROWS))
    read(dataset, transform, seed=0, epoch=1)
    assert len(transform.decoded) == ROWS
    read(fresh(), transform)
    assert len(transform.decoded) == 2 * ROWS


def test_transforms_with_other_keys_do_not_share_what_they_decode(fresh: Open) -> None:
    dataset = fresh()
    [once], [twice] = (read(dataset, Bytes(scale=scale), batch_size=ROWS) for scale in (1, 2))
    np.testing.assert_array_equal(twice.inputs["values"], 2 * once.inputs["values"] % 256)


def test_all_readers_of_a_data_set_together_keep_what_fits_into_memory_and_go_with_it(
    fresh: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MEMORY_BYTES", 30 * WIDTH + 100)
    dataset, before = fresh(), len(reading._READERS)
    first, other = Bytes(), Bytes(scale=2)
    for epoch in range(3):
        read(dataset, first, seed=0, epoch=epoch)
        read(dataset, other, seed=0, epoch=epoch)
    assert len(first.decoded) == ROWS
    assert len(other.decoded) == ROWS + 2 * (ROWS - 7)  # 30 rows fit: 23 of the first, 7 of the second
    assert len(reading._READERS) == before + 1
    reader = reading.row_reader(dataset, "train", first, limit=None)
    assert reading.row_reader(dataset, "train", first, limit=ROWS) is reader
    assert reading.row_reader(dataset, "train", first, limit=5) is not reader
    del dataset
    assert len(reading._READERS) == before


def test_a_limited_pass_takes_the_evenly_spread_rows(fresh: Open) -> None:
    dataset = fresh()
    rows = [row["digest"] for row in dataset.iterate("train")]
    taken = [digest for batch in read(dataset, limit=5, batch_size=2) for digest in batch.digests]
    assert taken == [rows[number * ROWS // 5] for number in range(5)]


def test_stopping_early_ends_the_background_thread(fresh: Open) -> None:
    with closing(read_batches(fresh(), "train", Bytes(), batch_size=1)) as batches:
        next(batches)
        assert "prefetch" in {thread.name for thread in threading.enumerate()}
    assert "prefetch" not in {thread.name for thread in threading.enumerate()}


def test_a_decoding_error_reaches_the_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    dataset = open_in(tmp_path, [b"a" * WIDTH, b"broken"])()
    with pytest.raises(OSError, match="broken"):
        read(dataset)


class Sized(Bytes):
    """Rows of different lengths: the number in the label, modulo 7; the other side is as long or shorter."""

    key = "sized"

    def lengths(self, example: Example) -> tuple[int, int]:
        return int(example[1]) % 3 % (int(example[1]) % 7 + 1), int(example[1]) % 7


def spread(batches: Sequence[Sequence[int]]) -> int:
    """How far the lengths in the batches lie apart, summed up."""
    return sum(max(label % 7 for label in batch) - min(label % 7 for label in batch) for batch in batches)


@pytest.mark.parametrize("seed", [0, 1])
def test_training_brings_rows_of_similar_length_together(
    fresh: Open, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(reading, "POOL", 3)
    plain = [batch.targets.tolist() for batch in read(fresh(), batch_size=4, seed=seed)]
    found = [batch.targets.tolist() for batch in read(fresh(), Sized(), batch_size=4, seed=seed)]
    assert [len(batch) for batch in found] == [4, 4, 4, 4, 4, 3]
    # A pool has the rows that its batches would have had, and what fills no batch comes last as it would have come.
    for pool in (slice(0, 3), slice(3, 5), slice(5, 6)):
        assert sorted(chain(*found[pool])) == sorted(chain(*plain[pool]))
    assert found[5] == plain[5]
    assert spread(found) < spread(plain)
    lengths = [[label % 7 for label in batch] for batch in found[:3]]
    assert all(batch == sorted(batch) for batch in lengths)
    other = [batch.targets.tolist() for batch in read(fresh(), Sized(), batch_size=4, seed=seed, epoch=1)]
    assert other != found


def test_stored_order_is_left_alone_whatever_the_lengths(fresh: Open) -> None:
    stored = [batch.targets.tolist() for batch in read(fresh())]
    assert [batch.targets.tolist() for batch in read(fresh(), Sized())] == stored


@pytest.mark.parametrize("share", [WHOLE, Share(1, 2), Share(2, 3)])
def test_similar_rows_come_back_after_a_skip_and_in_shares(
    fresh: Open, monkeypatch: pytest.MonkeyPatch, share: Share
) -> None:
    monkeypatch.setattr(reading, "POOL", 2)
    options: dict[str, Any] = {"batch_size": 4, "seed": 1, "epoch": 2, "augment": True}
    whole = [(batch.inputs["values"], batch.digests) for batch in read(fresh(), Sized(), **options)]
    mine = read(fresh(), Sized(), share=share, **options)
    for (values, digests), part in zip(whole, mine, strict=True):
        low, high = share.bounds(len(digests))
        assert part.digests == digests[low:high]
        np.testing.assert_array_equal(part.inputs["values"], values[low:high])
    for skip in range(len(whole) + 1):
        rest = read(fresh(), Sized(), share=share, skip=skip, **options)
        assert [part.digests for part in rest] == [part.digests for part in mine[skip:]]
        assert [part.inputs["values"].tolist() for part in rest] == [
            part.inputs["values"].tolist() for part in mine[skip:]
        ]


LIMIT = 9


def sides(label: int) -> tuple[int, int]:
    return Sized().lengths((b"", label))


def by_tokens(dataset: Dataset, **options: Any) -> list[Batch]:
    batches = token_batches(dataset, "train", Sized(), limit=LIMIT)
    return list(read_batches(dataset, "train", Sized(), batch_size=batches, **options))


def test_batches_of_so_many_elements_hold_every_row_once_and_rows_of_one_length_each(
    fresh: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "POOL", 3)
    found = [[int(label) for label in batch.targets] for batch in by_tokens(fresh(), seed=1)]
    assert sorted(chain(*found)) == list(range(ROWS))
    sizes = [len(batch) * max(label % 7 for label in batch) for batch in found]
    assert max(sizes) <= LIMIT
    assert len(found) < ROWS
    order = chain(*(batch.targets.tolist() for batch in read(fresh(), seed=1)))
    assert spread(found) < spread([list(islice(order, len(batch))) for batch in found]) / 2
    first, other = found, [batch.targets.tolist() for batch in by_tokens(fresh(), seed=1, epoch=1)]
    assert other != first == [batch.targets.tolist() for batch in by_tokens(fresh(), seed=1)]


def test_all_epochs_have_as_many_steps_as_the_shortest_and_the_padding_is_counted(
    fresh: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "POOL", 1)
    dataset = fresh()
    batches = token_batches(dataset, "train", Sized(), limit=LIMIT)
    read = [[[sides(int(label)) for label in batch.targets] for batch in by_tokens(dataset, seed=1, epoch=epoch)]
            for epoch in range(9)]  # fmt: skip
    numbers = [len(epoch) for epoch in read]
    assert len(set(numbers)) > 1
    assert [batches.steps(seed=1, epochs=epochs) for epochs in (0, 1, 9)] == [numbers[0], numbers[0], min(numbers)]
    places = sum(len(batch) * (max(a for a, _ in batch) + max(b for _, b in batch)) for batch in read[0])
    real = sum(a + b for batch in read[0] for a, b in batch)
    assert batches.padding(seed=1) == pytest.approx(1 - real / places)
    assert real < places


@pytest.mark.parametrize("share", [WHOLE, Share(1, 2), Share(2, 3)])
def test_batches_of_so_many_elements_come_back_after_a_skip_and_in_shares(
    fresh: Open, monkeypatch: pytest.MonkeyPatch, share: Share
) -> None:
    monkeypatch.setattr(reading, "POOL", 2)
    options: dict[str, Any] = {"seed": 1, "epoch": 2, "augment": True}
    whole = [(batch.inputs["values"], batch.digests) for batch in by_tokens(fresh(), **options)]
    mine = by_tokens(fresh(), share=share, **options)
    for (values, digests), part in zip(whole, mine, strict=True):
        low, high = share.bounds(len(digests))
        assert part.digests == digests[low:high]
        np.testing.assert_array_equal(part.inputs["values"], values[low:high])
    for skip in range(len(whole) + 1):
        rest = by_tokens(fresh(), share=share, skip=skip, **options)
        assert [(part.digests, part.inputs["values"].tolist()) for part in rest] == [
            (part.digests, part.inputs["values"].tolist()) for part in mine[skip:]
        ]
