"""Batches, loss and metric of the classification task."""

import math
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from components.core.data import reading as pixels
from components.core.data.dataset import Dataset
from components.core.errors import UserError
from components.core.tasks import TASKS, Preprocess, get_task
from components.core.tasks.base import Share

PREPROCESS = Preprocess(image_size=6, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
Open = Callable[[], Dataset]
task = get_task("classification")


def flat(dataset: Dataset, *, batch_size: int = 4, **options: object) -> list[tuple]:
    batches = task.batches(dataset, "train", PREPROCESS, batch_size=batch_size, **options)  # type: ignore[arg-type]
    return [(images.numpy().tobytes(), targets.tolist(), digests) for images, targets, digests in batches]


def test_batches_hold_every_row_once_in_stored_order(image_dataset: Open) -> None:
    dataset = image_dataset()
    rows = list(dataset.iterate("train"))
    batches = list(task.batches(dataset, "train", PREPROCESS, batch_size=4))
    assert [len(targets) for _, targets, _ in batches] == [4, 4, 4, 4, 4, 3]
    assert batches[0][0].shape == (4, 3, 6, 6)
    assert batches[0][0].dtype == torch.float32
    assert batches[0][1].dtype == torch.int64
    images = torch.cat([images for images, _, _ in batches]).numpy()
    np.testing.assert_array_equal(images, np.stack([PREPROCESS(row["image"]) for row in rows]))
    assert torch.cat([targets for _, targets, _ in batches]).tolist() == [row["label"] for row in rows]
    assert [digest for _, _, digests in batches for digest in digests] == [row["digest"] for row in rows]


@pytest.mark.parametrize("memory", [0, pixels.MEMORY_BYTES])
@pytest.mark.parametrize("options", [{}, {"seed": 1}, {"seed": 1, "epoch": 2, "augment": True}, {"limit": 9}])
def test_same_seed_and_epoch_give_the_same_bytes_whether_remembered_or_not(
    image_dataset: Open, monkeypatch: pytest.MonkeyPatch, memory: int, options: dict
) -> None:
    monkeypatch.setattr(pixels, "MEMORY_BYTES", memory)
    dataset = image_dataset()
    first, second = flat(dataset, **options), flat(dataset, **options)
    monkeypatch.setattr(pixels, "MEMORY_BYTES", 0)
    assert first == second == flat(image_dataset(), **options)


@pytest.mark.parametrize("size", [2, 3, 5])
@pytest.mark.parametrize("options", [{}, {"seed": 1, "epoch": 2, "augment": True}, {"limit": 9}])
def test_the_shares_of_a_batch_are_the_batch(image_dataset: Open, size: int, options: dict) -> None:
    dataset = image_dataset()
    whole = list(task.batches(dataset, "train", PREPROCESS, batch_size=8, **options))
    shares = [
        list(task.batches(dataset, "train", PREPROCESS, batch_size=8, share=Share(rank, size), **options))
        for rank in range(size)
    ]
    for number, (images, targets, digests) in enumerate(whole):
        parts = [share[number] for share in shares]
        assert max(len(part[1]) for part in parts) - min(len(part[1]) for part in parts) <= 1
        assert torch.equal(torch.cat([part[0] for part in parts]), images)
        assert torch.equal(torch.cat([part[1] for part in parts]), targets)
        assert [digest for part in parts for digest in part[2]] == digests
    assert {len(share) for share in shares} == {len(whole)}


@pytest.mark.parametrize("memory", [0, pixels.MEMORY_BYTES])
@pytest.mark.parametrize("share", [Share(), Share(1, 2), Share(2, 3)])
@pytest.mark.parametrize("options", [{}, {"seed": 1, "epoch": 2, "augment": True}, {"limit": 9, "seed": 1}])
def test_what_follows_the_skipped_batches_is_what_would_have_followed_them(
    image_dataset: Open, monkeypatch: pytest.MonkeyPatch, memory: int, share: Share, options: dict
) -> None:
    monkeypatch.setattr(pixels, "MEMORY_BYTES", memory)
    whole = flat(image_dataset(), share=share, **options)
    for skip in range(len(whole) + 1):
        assert flat(image_dataset(), share=share, skip=skip, **options) == whole[skip:]


def test_shards_of_which_all_rows_are_skipped_are_not_fetched(
    image_dataset: Open, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fetched(skip: int) -> set[str]:
        monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / f"after {skip}"))
        flat(image_dataset(), seed=1, batch_size=1, skip=skip)
        return {path.name for path in (tmp_path / f"after {skip}").rglob("[!.]*") if path.is_file()}

    dataset = image_dataset()
    digests = [entry.sha256 for entry in dataset.manifest.files]
    order = [digests[shard] for shard, _ in dataset.order("train", seed=1)]
    first_rows = dataset.shard_rows("train")[digests.index(order[0])]
    assert fetched(first_rows - 1) == set(order)
    assert fetched(first_rows) == set(order[1:])
    assert fetched(22) == set(order[-1:])


def test_seed_epoch_and_augmentation_each_change_the_batches(image_dataset: Open) -> None:
    dataset = image_dataset()
    options: list[dict] = [{}, {"seed": 1}, {"seed": 2}, {"seed": 1, "epoch": 1}, {"seed": 1, "augment": True}]
    assert len({str(flat(dataset, **each)) for each in options}) == len(options)


def test_augmentation_keeps_targets_and_digests(image_dataset: Open) -> None:
    dataset = image_dataset()
    plain, augmented = flat(dataset, seed=3), flat(dataset, seed=3, augment=True)
    assert [batch[1:] for batch in plain] == [batch[1:] for batch in augmented]


def test_remembered_images_are_not_decoded_again(image_dataset: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = image_dataset()
    flat(dataset, seed=0)

    def fail(self: Preprocess, image: bytes) -> np.ndarray:
        raise AssertionError("decoded again")

    monkeypatch.setattr(Preprocess, "pixels", fail)
    flat(dataset, seed=0, epoch=1)
    with pytest.raises(AssertionError, match="decoded again"):
        flat(image_dataset())


def test_readers_stay_within_the_memory_limit_and_go_with_their_dataset(
    image_dataset: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pixels, "MEMORY_BYTES", 23 * 6 * 6 * 3 + 100)
    dataset = image_dataset()
    before = len(pixels._READERS)
    first = pixels.pixel_reader(dataset, "train", PREPROCESS, limit=None)
    assert first.nbytes == 23 * 6 * 6 * 3
    other = Preprocess(image_size=7, mean=PREPROCESS.mean, std=PREPROCESS.std)
    assert pixels.pixel_reader(dataset, "train", other, limit=None).nbytes == 0
    assert pixels.pixel_reader(dataset, "train", PREPROCESS, limit=23) is first
    del dataset
    assert len(pixels._READERS) == before


def test_a_limited_pass_takes_the_evenly_spread_rows(image_dataset: Open) -> None:
    dataset = image_dataset()
    rows = [row["digest"] for row in dataset.iterate("train")]
    taken = [digest for _, _, digests in flat(dataset, limit=5, batch_size=2) for digest in digests]
    assert taken == [rows[number * 23 // 5] for number in range(5)]


def test_stopping_early_ends_the_background_thread(image_dataset: Open) -> None:
    batches = task.batches(image_dataset(), "train", PREPROCESS, batch_size=1)
    next(batches)
    assert "prefetch" in {thread.name for thread in threading.enumerate()}
    batches.close()  # type: ignore[attr-defined]
    assert "prefetch" not in {thread.name for thread in threading.enumerate()}


def test_a_decoding_error_reaches_the_caller(image_dataset: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Preprocess, image: bytes) -> np.ndarray:
        raise OSError("broken")

    monkeypatch.setattr(Preprocess, "pixels", fail)
    with pytest.raises(OSError, match="broken"):
        flat(image_dataset())


def test_augmentation_flips_and_shifts_with_repeated_edges() -> None:
    from components.core.tasks.images.augment import augmented

    image = np.arange(32 * 32 * 3, dtype=np.int64).reshape(1, 32, 32, 3) % 251
    batch = np.repeat(image.astype(np.uint8), 64, axis=0)
    before = batch.copy()
    padded = np.pad(batch[0], ((2, 2), (2, 2), (0, 0)), mode="edge")  # 32 / 16 = 2 pixels at most
    possible = {}
    for y in range(5):
        for x in range(5):
            crop = padded[y : y + 32, x : x + 32]
            possible[crop.tobytes()] = possible[crop[:, ::-1].tobytes()] = (y, x)
    result = augmented(batch, np.random.default_rng(0))
    assert len({possible[one.tobytes()] for one in result}) > 10
    np.testing.assert_array_equal(batch, before)


def test_loss_is_cross_entropy_with_smoothed_targets() -> None:
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.5, 3.0]])
    targets = torch.tensor([0, 1])
    logp = logits.double().log_softmax(dim=1)
    smooth = 0.9 * torch.eye(3, dtype=torch.float64)[targets] + 0.1 / 3
    assert task.loss(logits, targets).item() == pytest.approx(-(logp[0, 0] + logp[1, 1]).item() / 2)
    expected = -(smooth * logp).sum(dim=1).mean().item()
    assert task.loss(logits, targets, label_smoothing=0.1).item() == pytest.approx(expected)
    assert not math.isclose(expected, task.loss(logits, targets).item())


def test_correct_is_one_where_the_largest_logit_is_the_label() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0], [3.0, 1.0]])
    assert task.correct(logits, torch.tensor([0, 1, 1])).tolist() == [1.0, 1.0, 0.0]
    assert task.num_outputs(["a", "b"]) == 2
    assert task.flatten_logits(logits, torch.tensor([0, 1, 1])) is logits


@pytest.mark.parametrize("name", TASKS)
def test_every_task_has_its_name_and_the_columns_that_every_dataset_needs(name: str) -> None:
    found = get_task(name)
    assert found.name == name
    assert {"digest", "source"} <= set(found.schema.names)


def test_an_unknown_task_is_refused_with_what_is_available() -> None:
    with pytest.raises(UserError, match="task 'pose' is not available in this version; available: classification"):
        get_task("pose")
