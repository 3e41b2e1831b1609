"""Recalibrated statistics against the mean of the batches' statistics."""

import numpy as np
import torch
from torch import nn

from components.core.data.batch import Batch
from components.core.training.batchnorm import absorb_statistics, recalibrate_batchnorm, set_training_mode

CPU = torch.device("cpu")


def batches_of(*images):
    return [Batch(inputs={"images": one}, targets=torch.zeros(len(one)), digests=[""] * len(one)) for one in images]


def test_statistics_are_the_plain_mean_over_batches_and_nothing_of_the_old_ones_is_left():
    norm = nn.BatchNorm2d(3, momentum=0.01)
    norm.running_mean.fill_(1e6)
    net = nn.Sequential(norm, nn.Dropout(0.5))
    batches = [torch.randn(8, 3, 4, 4, generator=torch.Generator().manual_seed(n)) * (n + 1) + n for n in range(3)]
    seen = recalibrate_batchnorm(net, batches_of(*batches), CPU)
    flat = [batch.numpy().transpose(1, 0, 2, 3).reshape(3, -1) for batch in batches]
    np.testing.assert_allclose(norm.running_mean, np.mean([f.mean(1) for f in flat], axis=0), rtol=1e-5)
    np.testing.assert_allclose(norm.running_var, np.mean([f.var(1, ddof=1) for f in flat], axis=0), rtol=1e-5)
    assert seen == 24


def test_weights_and_momentum_stay_and_the_network_comes_back_in_eval_mode(tiny):
    net = tiny.net().train()
    before = {name: value.clone() for name, value in net.named_parameters()}
    recalibrate_batchnorm(net, batches_of(torch.randn(4, 3, 8, 8)), CPU)
    assert all(torch.equal(value, before[name]) for name, value in net.named_parameters())
    assert net.stem[1].momentum == 0.1
    assert not any(part.training for part in net.modules())


def test_no_images_change_nothing(tiny):
    net = tiny.net()
    net.stem[1].running_mean.fill_(5.0)
    assert recalibrate_batchnorm(net, [], CPU) == 0
    assert (net.stem[1].running_mean == 5.0).all()


def foreign_net(tiny):
    """A network whose stored statistics are far from those of its data."""
    net = tiny.net().eval()
    with torch.no_grad():
        net.stem[1].running_mean.copy_(torch.linspace(-2, 2, 8))
        net.stem[1].running_var.copy_(torch.linspace(0.1, 9, 8))
        net.stem[1].weight.copy_(torch.linspace(0.5, 2, 8))
        net.stem[1].bias.copy_(torch.linspace(1, -1, 8))
    return net


def test_absorbing_statistics_changes_no_output(tiny):
    net = foreign_net(tiny)
    batches = tiny.batches(64, 16, seed=0)
    images = batches[0].inputs["images"] * 3
    before = net(images)
    assert absorb_statistics(net, batches, CPU) == 64
    torch.testing.assert_close(net(images), before, rtol=1e-4, atol=1e-5)


def test_absorbed_statistics_are_those_that_recalibration_would_measure(tiny):
    net = foreign_net(tiny)
    batches = tiny.batches(64, 16, seed=0)
    absorb_statistics(net, batches, CPU)
    mean, variance = net.stem[1].running_mean.clone(), net.stem[1].running_var.clone()
    recalibrate_batchnorm(net, batches, CPU)
    torch.testing.assert_close(net.stem[1].running_mean, mean)
    torch.testing.assert_close(net.stem[1].running_var, variance)


def test_frozen_statistics_stay_while_scales_and_dropout_train(tiny):
    net = foreign_net(tiny)
    set_training_mode(net, batch_norm="frozen")
    before = net.stem[1].running_mean.clone()
    net(torch.randn(8, 3, 8, 8)).sum().backward()
    assert torch.equal(net.stem[1].running_mean, before)
    assert net.stem[1].weight.grad is not None
    assert net.dropout.training


def test_train_moves_the_statistics(tiny):
    net = foreign_net(tiny)
    set_training_mode(net, batch_norm="train")
    before = net.stem[1].running_mean.clone()
    net(torch.randn(8, 3, 8, 8))
    assert not torch.equal(net.stem[1].running_mean, before)
