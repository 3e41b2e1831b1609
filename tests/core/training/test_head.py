"""The head on frozen features, against logistic regression and against the whole network."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from components.core.data.batch import Batch
from components.core.models.inputs import InputSpec
from components.core.tasks import get_task
from components.core.training import head as head_module
from components.core.training.head import Features, frozen_features, max_feature_rows, train_head

TASK = get_task("classification")
CPU = torch.device("cpu")


def separable(rows=400, width=16, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(classes, width))
    targets = rng.integers(0, classes, rows)
    return (centres[targets] + 0.7 * rng.normal(size=(rows, width))).astype(np.float32), targets


def test_the_head_ends_where_logistic_regression_ends():
    features, targets = separable()
    head = nn.Linear(16, 4)
    given = Features(values=(torch.tensor(features),), targets=torch.tensor(targets), weight=None)
    losses = train_head(head, given, task=TASK, epochs=100, seed=0, settings={})
    reference = LogisticRegression(C=1.0, max_iter=1000).fit(features, targets)
    predicted = head(torch.tensor(features)).argmax(1).numpy()
    assert losses[-1] < losses[0]
    assert (predicted == targets).mean() >= reference.score(features, targets) - 0.01


def test_cached_features_are_those_of_the_network_in_the_order_of_the_batches(tiny):
    net = tiny.net().eval()
    compute, head = TASK.split(net)
    batches = tiny.batches(20, 8, seed=3)
    features = frozen_features(compute, batches, device=CPU, precision="float32")
    images = torch.cat([batch.inputs["images"] for batch in batches])
    torch.testing.assert_close(head(*features.values), net(images))
    assert torch.equal(features.targets, torch.cat([batch.targets for batch in batches]))
    assert features.weight is None


def test_what_does_not_count_neither_trains_the_head_nor_enters_its_loss():
    class PixelTask:
        @staticmethod
        def loss(outputs, batch, *, settings=None):
            return ((outputs - batch.targets).square() * batch.weight).sum()

    values = torch.tensor([[1.0, 2.0], [3.0, 100.0]])
    given = Features(
        values=(values[..., None],),
        targets=2 * values[..., None],
        weight=torch.tensor([[[1.0], [1.0]], [[1.0], [0.0]]]),
    )
    heads = [nn.Linear(1, 1, bias=False) for _ in range(2)]
    for head in heads:
        nn.init.constant_(head.weight, 1.0)
    losses = [train_head(heads[0], given, task=PixelTask(), epochs=2, seed=0, settings={})]
    # (1 − 2)², (2 − 4)² and (3 − 6)² count; the fourth does not.
    assert losses[0][0] == pytest.approx((1 + 4 + 9) / 3)
    given.targets[1, 1] = 1e6
    losses.append(train_head(heads[1], given, task=PixelTask(), epochs=2, seed=0, settings={}))
    assert losses[0] == losses[1]
    assert torch.equal(heads[0].weight, heads[1].weight)


def test_features_are_bounded_by_their_bytes(tiny, monkeypatch):
    compute, _ = TASK.split(tiny.net().eval())
    inputs = (InputSpec(name="images", dtype="float32", shape=("batch", 3, 8, 8)),)
    monkeypatch.setattr(head_module, "MAX_FEATURE_BYTES", 10 * 8 * 4 + 31)  # eight features of four bytes per row
    assert max_feature_rows(compute, inputs, CPU) == 10
    monkeypatch.setattr(head_module, "MAX_FEATURE_BYTES", 1)
    assert max_feature_rows(compute, inputs, CPU) == 1


def test_parts_of_features_keep_targets_and_weight_together():
    features = Features(
        values=(torch.zeros(3, 2),), targets=torch.tensor([5, 6, 7]), weight=torch.tensor([True, False, True])
    )
    batch = features.batch(torch.tensor([2, 1]))
    assert isinstance(batch, Batch)
    assert (batch.targets.tolist(), batch.weight.tolist(), batch.count, len(batch)) == ([7, 6], [True, False], 1, 2)


def test_training_the_head_leaves_the_rest_and_the_global_generator_alone(tiny):
    net = tiny.net().eval()
    compute, head = TASK.split(net)
    features = frozen_features(compute, tiny.batches(32, 8, seed=0), device=CPU, precision="float32")
    before = {name: value.clone() for name, value in net.state_dict().items()}
    generator = torch.get_rng_state()
    train_head(head, features, task=TASK, epochs=2, seed=0, settings={})
    changed = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"head.weight", "head.bias"}
    assert torch.equal(torch.get_rng_state(), generator)
