"""Batches, loss, metric, assets and graphs of the classification task."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from components.core.data.batch import Batch
from components.core.data.dataset import Dataset
from components.core.data.reading import read_batches
from components.core.errors import UserError
from components.core.models.catalog import load_catalog
from components.core.tasks import TASKS, get_task
from components.core.tasks.images.assets import ImageAssets
from components.core.tasks.images.preprocess import Preprocess

PREPROCESS = Preprocess(image_size=6, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
ASSETS = ImageAssets(preprocess=PREPROCESS, labels=["a", "b"])
Open = Callable[[], Dataset]
task = get_task("classification")


def read(dataset: Dataset, **options: Any) -> list[Batch]:
    return list(read_batches(dataset, "train", task.transform(ASSETS), batch_size=4, **options))


def labelled(targets: list[int]) -> Batch:
    return Batch(inputs={}, targets=torch.tensor(targets), digests=[""] * len(targets))


def test_batches_hold_preprocessed_images_and_labels(image_dataset: Open) -> None:
    dataset = image_dataset()
    rows, batches = list(dataset.iterate("train")), read(dataset)
    assert [len(batch) for batch in batches] == [4, 4, 4, 4, 4, 3]
    first = batches[0]
    assert list(first.inputs) == [spec.name for spec in task.inputs(ASSETS)] == ["images"]
    assert (first.inputs["images"].dtype, first.inputs["images"].shape) == (np.float32, (4, 3, 6, 6))
    assert (first.targets.dtype, first.weight, first.count) == (np.int64, None, 4)
    images = np.concatenate([batch.inputs["images"] for batch in batches])
    np.testing.assert_array_equal(images, np.stack([PREPROCESS(row["image"]) for row in rows]))
    assert [label for batch in batches for label in batch.targets] == [row["label"] for row in rows]
    assert [digest for batch in batches for digest in batch.digests] == [row["digest"] for row in rows]


def test_augmentation_changes_images_and_keeps_targets_and_digests(image_dataset: Open) -> None:
    dataset = image_dataset()
    plain, augmented = read(dataset, seed=3), read(dataset, seed=3, augment=True)
    assert [batch.digests for batch in plain] == [batch.digests for batch in augmented]
    for one, other in zip(plain, augmented, strict=True):
        np.testing.assert_array_equal(one.targets, other.targets)
    assert any((a.inputs["images"] != b.inputs["images"]).any() for a, b in zip(plain, augmented, strict=True))


def test_no_rows_make_an_empty_batch_of_the_right_shape() -> None:
    batch = task.transform(ASSETS).collate([], [], None)
    assert batch.inputs["images"].shape == (0, 3, 6, 6)
    assert batch.targets.shape == (0,)


def test_decoded_rows_are_shared_by_transforms_that_decode_alike_only(image_dataset: Open) -> None:
    def key(**changes: Any) -> object:
        return task.transform(replace(ASSETS, preprocess=replace(PREPROCESS, **changes))).key

    assert key() == key(std=(1.0, 1.0, 1.0)) == key(mean=(0.1, 0.1, 0.1))
    # What the square is filled with is the mean.
    assert len({key(), key(image_size=7), key(resize="fit"), key(resize="fit", mean=(0.1, 0.1, 0.1))}) == 4
    assert key(resize="fit") == key(resize="fit", std=(1.0, 1.0, 1.0))


def test_loss_is_cross_entropy_with_smoothed_targets_as_a_sum() -> None:
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.5, 3.0]])
    batch = labelled([0, 1])
    logp = logits.double().log_softmax(dim=1)
    smooth = 0.9 * torch.eye(3, dtype=torch.float64)[batch.targets] + 0.1 / 3
    assert task.loss(logits, batch).item() == pytest.approx(-(logp[0, 0] + logp[1, 1]).item())
    expected = -(smooth * logp).sum().item()
    assert task.loss(logits, batch, settings={"label_smoothing": 0.1, "epochs": 3}).item() == pytest.approx(expected)
    assert not math.isclose(expected, task.loss(logits, batch).item())


def test_top1_is_the_share_of_images_whose_largest_logit_is_the_label() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0], [3.0, 1.0]])
    batch = labelled([0, 1, 1])
    statistics = task.statistics(task.guess(logits, batch), batch, 2)
    assert statistics.tolist() == [[1.0, 1.0], [1.0, 1.0], [0.0, 1.0]]
    [top1] = task.metrics
    assert (top1.name, top1.label, top1.value(statistics)) == ("top1", "top-1", pytest.approx(2 / 3))
    assert task.comparable(logits, batch) is logits
    assert task.num_outputs(ASSETS) == 2


def test_what_is_served_names_the_class_that_training_would(image_dataset: Open) -> None:
    logits = np.array([[2.0, 0.0], [0.0, 1.0], [1.0, 1.0]], np.float32)

    class Session:
        def run(self, names: list[str], feed: dict[str, np.ndarray]) -> list[np.ndarray]:
            assert (names, list(feed)) == (["logits"], ["images"])
            return [logits]

    batch = Batch(inputs={"images": np.zeros((3, 3, 6, 6), np.float32)}, targets=np.zeros(3), digests=[""] * 3)
    outputs = task.run({"model": Session()}, batch, ASSETS)
    assert task.predict(outputs, batch, ASSETS).tolist() == task.guess(torch.from_numpy(logits), batch).tolist()


def test_its_one_graph_takes_images_and_gives_a_logit_per_class() -> None:
    module = torch.nn.Identity()
    [(name, graph)] = task.graphs(module, ASSETS).items()
    assert (name, graph.module, graph.inputs) == ("model", module, ASSETS.inputs)
    assert [(output.name, output.shape) for output in graph.outputs] == [("logits", ("batch", 2))]


def test_fresh_assets_have_the_backbones_normalisation_and_the_data_sets_classes(image_dataset: Open) -> None:
    backbone, dataset = load_catalog()["efficientnet_lite0"], image_dataset()
    own, asked = (task.assets(backbone, dataset, size) for size in (0, 48))
    assert (own.preprocess.image_size, asked.preprocess.image_size) == (backbone.image_size, 48)
    assert (own.preprocess.mean, own.preprocess.std) == (backbone.mean, backbone.std)
    assert own.labels == asked.labels == ["a", "b"]


def test_a_model_of_other_classes_or_another_order_is_refused(image_dataset: Open) -> None:
    dataset = image_dataset()
    task.check_classes(dataset, ASSETS)
    with pytest.raises(UserError, match=r"the champion predicts 2 classes \(b, a\), the data set has 2 \(a, b\)"):
        task.check_classes(dataset, replace(ASSETS, labels=["b", "a"]), model="champion")


@pytest.mark.parametrize("name", TASKS)
def test_every_task_has_its_name_and_the_columns_that_every_dataset_needs(name: str) -> None:
    found = get_task(name)
    assert found.name == name
    assert {"digest", "source"} <= set(found.rows.schema.names)


def test_an_unknown_task_is_refused_with_what_is_available() -> None:
    with pytest.raises(UserError, match="task 'pose' is not available in this version; available: classification"):
        get_task("pose")
