"""Channel scores against numpy and against the change of a loss."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from components.prune.importance import magnitude_scores, per_cost, root_mean_square, taylor_scores


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
def test_taylor_is_the_absolute_sum_of_weight_times_gradient_of_each_channel(dim):
    weight, gradient = tensors((4, 5, 3, 3))
    moved = np.moveaxis((weight * gradient).numpy(), dim, 0)
    expected = np.abs(moved.reshape(moved.shape[0], -1).sum(1))
    np.testing.assert_allclose(taylor_scores(weight, gradient, dim=dim), expected, rtol=1e-4)


def test_taylor_is_the_exact_change_of_a_loss_that_is_linear_in_the_weights():
    weight, _ = tensors((6, 4, 3, 3))
    weight.requires_grad_(True)
    images, direction = torch.randn(2, 4, 8, 8), torch.randn(2, 6, 6, 6)

    def loss(filters):
        return (F.conv2d(images, filters) * direction).sum()

    loss(weight).backward()
    scores = taylor_scores(weight.detach(), weight.grad, dim=1)
    for channel in range(4):
        without = weight.detach().clone()
        without[:, channel] = 0
        change = abs(float(loss(without) - loss(weight.detach())))
        assert float(scores[channel]) == pytest.approx(change, rel=1e-3, abs=1e-3)


def test_batches_are_combined_by_their_root_mean_square():
    scores = torch.tensor([[3.0, 0.0], [4.0, 2.0]])
    np.testing.assert_allclose(root_mean_square(scores), [np.sqrt(12.5), np.sqrt(2.0)], rtol=1e-6)


def test_scores_are_divided_by_the_root_of_what_a_channel_costs():
    np.testing.assert_allclose(per_cost(torch.tensor([1.0, 2.0]), 100.0), [0.1, 0.2], rtol=1e-6)
