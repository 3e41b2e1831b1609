"""The moving average against its recurrence."""

import numpy as np
import torch
from torch import nn

from components.core.training.ema import Ema, decay_at


def test_weights_and_batch_norm_statistics_follow_the_recurrence(tiny):
    net = tiny.net()
    ema = Ema(net, decay=0.5)
    generator = torch.Generator().manual_seed(1)
    expected = {name: value.double().numpy().copy() for name, value in net.state_dict().items()}
    for update in range(12):
        for value in net.state_dict().values():
            if value.is_floating_point():
                value.copy_(torch.randn(value.shape, generator=generator))
            else:
                value.add_(1)
        ema.update(net)
        decay = min(0.5, (1 + update) / (10 + update))
        for name, value in net.state_dict().items():
            current = value.double().numpy()
            if name.endswith("num_batches_tracked"):
                expected[name] = current
            else:
                expected[name] = decay * expected[name] + (1 - decay) * current
    assert ema.updates == 12
    for name, value in ema.module.state_dict().items():
        np.testing.assert_allclose(value.double().numpy(), expected[name], rtol=1e-5, atol=1e-6, err_msg=name)


def test_the_decay_of_the_first_updates_is_small_and_never_above_the_one_asked_for():
    assert decay_at(0, 0.99) == 0.1
    assert decay_at(10_000, 0.99) == 0.99


def test_the_average_neither_trains_nor_shares_memory_with_the_network():
    net = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
    ema = Ema(net, decay=0.9)
    with torch.no_grad():
        net[0].weight.fill_(7.0)
    assert not (ema.module[0].weight == 7.0).any()
    assert not ema.module.training
    assert not any(parameter.requires_grad for parameter in ema.module.parameters())
