"""Weights of rare classes in the loss."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from components.core.data.batch import Batch
from components.core.tasks import get_task
from components.core.tasks.images.balance import class_weights


def test_class_weights_go_with_the_inverse_root_and_have_mean_one_over_pixels() -> None:
    pixels = np.array([900, 100, 0, 25])
    weights = class_weights(pixels).astype(np.float64)
    assert (pixels * weights).sum() / pixels.sum() == pytest.approx(1)
    assert weights[1] / weights[0] == pytest.approx(3)
    assert weights[3] / weights[0] == pytest.approx(6)
    assert weights[2] == weights[3]


def test_class_weights_refuse_a_data_set_without_pixels() -> None:
    with pytest.raises(ValueError, match="not all zero"):
        class_weights([0, 0])


def test_balanced_classification_weighs_each_image_by_its_class() -> None:
    task = get_task("classification")
    dataset = SimpleNamespace(class_counts={"train": [90, 10], "validation": [1, 9]})
    settings = task.training_settings({"class_weights": "balanced", "label_smoothing": 0.0}, dataset)
    logits, targets = torch.tensor([[2.0, -1.0], [0.5, 0.0], [-1.0, 1.5]]), torch.tensor([0, 1, 1])
    batch = Batch(inputs={}, targets=targets, digests=["a", "b", "c"])
    rare = 3 * 100 / (90 + 3 * 10)  # 1/√10 is three times 1/√90; mean 1 over the images
    by_hand = 0.0
    for row, target in zip(logits.tolist(), targets.tolist(), strict=True):
        total = sum(np.exp(value) for value in row)
        by_hand -= (rare if target else rare / 3) * np.log(np.exp(row[target]) / total)
    assert float(task.loss(logits, batch, settings=settings)) == pytest.approx(by_hand, rel=1e-5)
    assert "class_weight" not in task.training_settings({"class_weights": "none"}, dataset)
