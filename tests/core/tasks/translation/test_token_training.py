"""Training on batches of so many target pieces: every rank, after a restart, and where a process has no row."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pixel_task import config
from toy_translators import SMALL, network
from trained_vocabulary import pairs, vocabulary_of

from components.core.data.batch import WHOLE, Share
from components.core.data.dataset import Dataset, open_dataset, write_dataset
from components.core.errors import UserError
from components.core.store import Store, open_store
from components.core.tasks import get_task
from components.core.tasks.translation.assets import TranslationAssets
from components.core.training.checkpoint import Checkpointer
from components.core.training.curves import describe_training, result_facts
from components.core.training.data import TrainingData, training_data
from components.core.training.loop import train

LIMIT, TRAIN = 80, 24
TASK = get_task("translation")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    return open_store(str(tmp_path / "store"))


@pytest.fixture
def dataset(store: Store, tmp_path: Path) -> Dataset:
    rows = [
        {"text": text, "translation": translation, "digest": f"{number:064x}", "source": str(number)}
        for number, (text, translation) in enumerate([*pairs(), ("A page.", "Uma página."), ("No.", "Não.")])
    ]  # fmt: skip
    splits = {"train": rows[-TRAIN:], "validation": rows[:8], "test": rows[8:12]}
    write_dataset(tmp_path / "data", rows=TASK.rows, classes=[], splits=splits, store=store)
    return open_dataset(tmp_path / "data", store)


ASSETS = TranslationAssets(vocabulary=vocabulary_of(), source_language="en", target_language="pt-BR")
Read = Callable[..., TrainingData]


def read(dataset: Dataset, share: Share = WHOLE, *, tokens: int = LIMIT, epochs: int = 2) -> TrainingData:
    return training_data(
        TASK, dataset, assets=ASSETS, batch_size=16, seed=3, augment=False, share=share, batch_tokens=tokens,
        epochs=epochs,
    )  # fmt: skip


def toy() -> torch.nn.Module:
    return network(replace(SMALL, source_size=400, target_size=400))


def loss(module: torch.nn.Module, batch: Any) -> torch.Tensor:
    return TASK.loss(module(*batch.inputs.values()), batch, settings={"label_smoothing": 0.1})


def test_a_batch_has_at_most_so_many_target_pieces_and_they_are_all_learnt(dataset: Dataset) -> None:
    data = read(dataset)
    batches = list(data.training(0, 0))
    assert sorted(digest for batch in batches for digest in batch.digests) == sorted(
        row["digest"] for row in dataset.iterate("train")
    )
    assert all(batch.targets.numel() <= LIMIT for batch in batches)
    assert min(batch.targets.numel() for batch in batches) > LIMIT / 4
    assert data.steps_per_epoch <= len(batches)
    places = sum(values.numel() for batch in batches for values in batch.inputs.values())
    rows = [TASK.transform(ASSETS).decode(row) for row in dataset.iterate("train")]
    pieces = sum(len(source) + len(target) for source, target in rows)
    assert data.padding == pytest.approx(1 - pieces / places)
    assert data.padding < 0.25


@pytest.mark.parametrize("limit", [200, 20])
def test_the_gradients_of_all_processes_add_up_to_those_of_one(dataset: Dataset, limit: int) -> None:
    def gradients(share: Share) -> tuple[list[int], list[torch.Tensor]]:
        module = toy()
        rows = []
        for batch in read(dataset, share, tokens=limit).training(1, 2):
            loss(module, batch).backward()
            rows.append(len(batch))
        return rows, [parameter.grad for parameter in module.parameters()]

    whole, alone = gradients(WHOLE)
    parts = [gradients(Share(rank, 3)) for rank in range(3)]
    assert [sum(rows) for rows in zip(*(rows for rows, _ in parts), strict=True)] == whole
    assert (min(min(rows) for rows, _ in parts) == 0) is (limit == 20), "a process without a row"
    for together, one in zip(zip(*(grads for _, grads in parts), strict=True), alone, strict=True):
        torch.testing.assert_close(sum(together), one, rtol=1e-3, atol=1e-3)


def test_a_training_that_was_killed_in_an_epoch_goes_on_with_the_same_batches(dataset: Dataset, store: Store) -> None:
    asked = config(epochs=2, learning_rate=0.05, momentum=0.9, checkpoint_seconds=0)

    def run(key: str, dies_at: int | None = None) -> tuple[dict[str, torch.Tensor], Any, list[list[str]]]:
        module, seen = toy(), []

        def step_loss(model: torch.nn.Module, batch: Any) -> torch.Tensor:
            if len(seen) == dies_at:
                raise KeyboardInterrupt
            seen.append(batch.digests)
            return loss(model, batch)

        try:
            history = train(
                module, data=read(dataset), task=TASK, num_classes=0, step_loss=step_loss, config=asked,
                device=torch.device("cpu"), checkpointer=Checkpointer(store, key, seconds=0) if key else None,
                report=lambda _: None,
            )  # fmt: skip
        except KeyboardInterrupt:
            history = None
        return module.state_dict(), history, seen

    weights, history, whole = run("")
    steps = read(dataset).steps_per_epoch
    assert len(whole) == 2 * steps
    assert whole[:steps] != whole[steps:]
    _, _, before = run("killed", dies_at=steps + 2)
    again, _, after = run("killed")
    assert before + after == whole
    assert all(torch.equal(again[name], value) for name, value in weights.items())
    assert result_facts(history)["padding_fraction"] == read(dataset).padding


def test_a_process_without_a_row_of_a_batch_takes_the_step_in_parts_too(dataset: Dataset) -> None:
    data = read(dataset, Share(0, 3), tokens=20, epochs=1)
    assert not all(len(batch) for batch in data.training(0, 0))
    history = train(
        toy(), data=replace(data, validation=None), task=TASK, num_classes=0, step_loss=loss,
        config=config(epochs=1, accumulation_steps=2), device=torch.device("cpu"), report=lambda _: None,
    )  # fmt: skip
    assert len(history.steps) == data.steps_per_epoch


def test_images_have_no_lengths_to_make_batches_of(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(TASK.transform(ASSETS)), "lengths", None)
    with pytest.raises(
        UserError, match=r"^batch_tokens must be 0 for sentence pairs, which all have the same size; got 80"
    ):
        read(dataset)


def test_the_page_says_what_a_batch_is() -> None:
    assert "batch at most 1,200 elements" in describe_training(config(batch_tokens=1200))["optimizer"]
    assert "batch 6," in describe_training(config())["optimizer"]
