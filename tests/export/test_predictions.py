"""Predictions of torch, of the float32 files and of a release, held against each other."""

from types import SimpleNamespace

import numpy as np
import pytest

from components.core.data.batch import Batch
from components.core.tasks.metric import Metric
from components.export import predictions
from components.export.predictions import compare_predictions

ROWS = 40


class Doubling:
    """Doubles a number; the released files are off by one in every tenth row of a batch of more than one."""

    timed_units = "numbers"
    metrics = (Metric(name="right", label="right", reduce=lambda sums: sums[..., 0] / sums[..., 1]),)

    def transform(self, assets, *, full_size):
        assert full_size
        return "transform"

    def reference(self, module, batch, assets):
        return [2 * number for number in batch.targets]

    def run(self, sessions, batch, assets):
        return {"kind": sessions["kind"]}

    def predict(self, outputs, batch, assets):
        wrong = outputs["kind"] == "released" and len(batch) > 1
        return [2 * number + (wrong and number % 10 == 0) for number in batch.targets]

    def statistics(self, predictions, batch, num_classes):
        return np.array([[said == 2 * number, 1] for said, number in zip(predictions, batch.targets, strict=True)])


@pytest.fixture
def compared(monkeypatch):
    def read(dataset, split, transform, *, batch_size, limit):
        assert split in dataset.splits
        yield from (
            Batch(inputs={}, targets=list(range(start, min(start + batch_size, ROWS))), digests=[""] * batch_size)
            for start in range(0, ROWS, batch_size)
        )

    monkeypatch.setattr(predictions, "read_batches", read)
    monkeypatch.setattr(predictions, "open_graphs", lambda bundle: {"kind": bundle.kind})

    def run(task, splits=("validation", "train")):
        dataset = SimpleNamespace(splits=splits, classes=[], rows=lambda split: ROWS if split in splits else 0)
        student = SimpleNamespace(module=SimpleNamespace(eval=lambda: None), assets=None)
        plain, released = (SimpleNamespace(kind=kind, assets=1, task=task) for kind in ("plain", "released"))
        return compare_predictions(student, plain, released, dataset)

    return run


def test_shares_of_equal_predictions_are_told_for_each_batch_size(compared):
    found = compared(Doubling())
    assert (found.rows, found.split, found.batch_sizes) == (ROWS, "validation", (1, 16))
    assert found.float32 == (1.0, 1.0)
    assert found.released == found.released_alone == (1.0, 0.9)
    assert found.to_json()["released"] == (1.0, 0.9)
    assert (found.metric, found.scores) == ("right", (1.0, 0.9))


def test_training_rows_stand_in_for_validation_rows(compared):
    assert compared(Doubling(), splits=("train",)).split == "train"


def test_a_task_whose_outputs_say_it_all_reads_no_row(compared):
    task = Doubling()
    task.timed_units = ""
    assert compared(task, splits=()) is None
