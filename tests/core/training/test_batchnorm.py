"""Recalibrated statistics against the mean of the batches' statistics."""

import numpy as np
import torch
from torch import nn

from components.core.training.batchnorm import recalibrate_batchnorm

CPU = torch.device("cpu")


def test_statistics_are_the_plain_mean_over_batches_and_nothing_of_the_old_ones_is_left():
    norm = nn.BatchNorm2d(3, momentum=0.01)
    norm.running_mean.fill_(1e6)
    net = nn.Sequential(norm, nn.Dropout(0.5))
    batches = [torch.randn(8, 3, 4, 4, generator=torch.Generator().manual_seed(n)) * (n + 1) + n for n in range(3)]
    seen = recalibrate_batchnorm(net, batches, CPU)
    flat = [batch.numpy().transpose(1, 0, 2, 3).reshape(3, -1) for batch in batches]
    np.testing.assert_allclose(norm.running_mean, np.mean([f.mean(1) for f in flat], axis=0), rtol=1e-5)
    np.testing.assert_allclose(norm.running_var, np.mean([f.var(1, ddof=1) for f in flat], axis=0), rtol=1e-5)
    assert seen == 24


def test_weights_and_momentum_stay_and_the_network_comes_back_in_eval_mode(tiny):
    net = tiny.net().train()
    before = {name: value.clone() for name, value in net.named_parameters()}
    recalibrate_batchnorm(net, [torch.randn(4, 3, 8, 8)], CPU)
    assert all(torch.equal(value, before[name]) for name, value in net.named_parameters())
    assert net.stem[1].momentum == 0.1
    assert not any(part.training for part in net.modules())


def test_no_images_change_nothing(tiny):
    net = tiny.net()
    net.stem[1].running_mean.fill_(5.0)
    assert recalibrate_batchnorm(net, [], CPU) == 0
    assert (net.stem[1].running_mean == 5.0).all()
