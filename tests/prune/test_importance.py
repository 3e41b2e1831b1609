"""Channel scores against numpy and against the change of a loss."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from components.core.models.inputs import InputSpec
from components.core.pruning.groups import PruningGraph
from components.prune.importance import magnitude_scores, per_cost, root_mean_square, taylor_terms
from components.prune.pruning import first_order_changes


def tensors(shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator), torch.randn(shape, generator=generator)


@pytest.mark.parametrize("dim", [0, 1])
def test_magnitude_is_the_length_of_each_channels_filter(dim):
    weight, _ = tensors((4, 5, 3, 3))
    moved = np.moveaxis(weight.numpy(), dim, 0)
    expected = np.sqrt((moved.reshape(moved.shape[0], -1) ** 2).sum(1))
    np.testing.assert_allclose(magnitude_scores(weight, dim=dim), expected, rtol=1e-5)


@pytest.mark.parametrize("dim", [0, 1])
def test_taylor_terms_are_the_sum_of_weight_times_gradient_of_each_channel(dim):
    weight, gradient = tensors((4, 5, 3, 3))
    moved = np.moveaxis((weight * gradient).numpy(), dim, 0)
    expected = moved.reshape(moved.shape[0], -1).sum(1)
    np.testing.assert_allclose(taylor_terms(weight, gradient, dim=dim), expected, rtol=1e-4, atol=1e-5)


def test_taylor_is_the_exact_change_of_a_loss_that_is_linear_in_the_weights():
    weight, _ = tensors((6, 4, 3, 3))
    weight.requires_grad_(True)
    images, direction = torch.randn(2, 4, 8, 8), torch.randn(2, 6, 6, 6)

    def loss(filters):
        return (F.conv2d(images, filters) * direction).sum()

    loss(weight).backward()
    terms = taylor_terms(weight.detach(), weight.grad, dim=1)
    for channel in range(4):
        without = weight.detach().clone()
        without[:, channel] = 0
        change = float(loss(without) - loss(weight.detach()))
        assert float(terms[channel]) == pytest.approx(-change, rel=1e-3, abs=1e-3)


class Flattened(nn.Module):
    """Channels that one layer reads at 16 positions each."""

    def __init__(self, channels=12):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.conv = nn.Conv2d(4, channels, 3, padding=1)
        self.hidden = nn.Linear(channels * 16, 8)
        self.head = nn.Linear(8, 2)

    def forward(self, images):
        return self.head(self.hidden(F.relu(self.conv(self.stem(images))).flatten(1)))


class Branched(nn.Module):
    """Channels that two layers read."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.conv = nn.Conv2d(4, 12, 3, padding=1)
        self.one, self.other = nn.Conv2d(12, 4, 1), nn.Conv2d(12, 4, 3, padding=1)
        self.head = nn.Linear(8, 2)

    def forward(self, images):
        features = F.relu(self.conv(self.stem(images)))
        return self.head(torch.cat([self.one(features), self.other(features)], dim=1).mean((2, 3)))


@pytest.mark.parametrize("network", [Flattened, Branched])
def test_a_channels_score_is_how_much_the_loss_changes_when_it_is_removed(network):
    torch.manual_seed(0)
    module, images, direction = network().eval(), torch.randn(6, 3, 4, 4), torch.randn(6, 2)
    inputs = (InputSpec(name="images", dtype="float32", shape=("batch", 3, 4, 4)),)
    (group,) = [
        group for group in PruningGraph(module, inputs=inputs, output_layers=["head"]).groups() if group.name == "conv"
    ]

    def loss():
        # Linear in what the readers give, so that the first order is all there is.
        return (module(images) * direction).sum()

    loss().backward()
    scores = first_order_changes(module, [group])["conv"]
    with torch.no_grad():
        whole = float(loss())
        for channel in range(12):
            weight, bias = module.conv.weight[channel].clone(), module.conv.bias[channel].clone()
            module.conv.weight[channel], module.conv.bias[channel] = 0, 0
            change = abs(float(loss()) - whole)
            module.conv.weight[channel], module.conv.bias[channel] = weight, bias
            assert float(scores[channel]) == pytest.approx(change, rel=1e-3, abs=1e-4)


def rank_correlation(one, other):
    """Spearman's, of values without ties."""
    return float(torch.corrcoef(torch.stack([values.argsort().argsort().double() for values in (one, other)]))[0, 1])


@pytest.mark.parametrize("steps", [0, 5])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_sum_with_its_sign_ranks_channels_as_removing_them_does_and_the_sum_of_magnitudes_does_not(seed, steps):
    torch.manual_seed(seed)
    images, module = torch.randn(256, 3, 4, 4), Flattened(channels=96)
    labels = (images[:, 0, :, :2].sum((1, 2)) > images[:, 1, :, 2:].sum((1, 2))).long()
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3)
    for step in range(steps + 1):
        optimizer.zero_grad()
        F.cross_entropy(module(images), labels).backward()
        if step < steps:
            optimizer.step()
    inputs = (InputSpec(name="images", dtype="float32", shape=("batch", 3, 4, 4)),)
    (group,) = [
        group for group in PruningGraph(module, inputs=inputs, output_layers=["head"]).groups() if group.name == "conv"
    ]
    scores = first_order_changes(module, [group])["conv"]
    per_position = (module.hidden.weight * module.hidden.weight.grad).detach().sum(0).reshape(96, 16)

    changes = torch.zeros(96)
    with torch.no_grad():
        whole = F.cross_entropy(module(images), labels)
        for channel in range(96):
            removed = copy.deepcopy(module)
            removed.conv.weight[channel], removed.conv.bias[channel] = 0, 0
            changes[channel] = (F.cross_entropy(removed(images), labels) - whole).abs()
    assert rank_correlation(scores, changes) > 0.98
    assert rank_correlation(per_position.abs().sum(1), changes) < 0.95


def test_batches_are_combined_by_their_root_mean_square():
    scores = torch.tensor([[3.0, 0.0], [4.0, 2.0]])
    np.testing.assert_allclose(root_mean_square(scores), [np.sqrt(12.5), np.sqrt(2.0)], rtol=1e-6)


def test_scores_are_divided_by_the_root_of_what_a_channel_costs():
    np.testing.assert_allclose(per_cost(torch.tensor([1.0, 2.0]), 100.0), [0.1, 0.2], rtol=1e-6)
