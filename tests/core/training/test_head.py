"""The head on frozen features, against logistic regression and against the whole network."""

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from components.core.models.zoo import split_features
from components.core.tasks import get_task
from components.core.training.head import pooled_features, train_head

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
    losses = train_head(head, torch.tensor(features), torch.tensor(targets), task=TASK, epochs=100, seed=0)
    reference = LogisticRegression(C=1.0, max_iter=1000).fit(features, targets)
    predicted = head(torch.tensor(features)).argmax(1).numpy()
    assert losses[-1] < losses[0]
    assert (predicted == targets).mean() >= reference.score(features, targets) - 0.01


def test_cached_features_are_those_of_the_network_in_the_order_of_the_batches(tiny):
    net = tiny.net().eval()
    compute, head = split_features(net)
    batches = tiny.batches(20, 8, seed=3)
    features, targets = pooled_features(compute, batches, device=CPU)
    images = torch.cat([images for images, _, _ in batches])
    torch.testing.assert_close(head(features), net(images))
    assert torch.equal(targets, torch.cat([labels for _, labels, _ in batches]))


def test_training_the_head_leaves_the_rest_and_the_global_generator_alone(tiny):
    net = tiny.net().eval()
    compute, head = split_features(net)
    features, targets = pooled_features(compute, tiny.batches(32, 8, seed=0), device=CPU)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    generator = torch.get_rng_state()
    train_head(head, features, targets, task=TASK, epochs=2, seed=0)
    changed = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"head.weight", "head.bias"}
    assert torch.equal(torch.get_rng_state(), generator)
