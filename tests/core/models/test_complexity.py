import torch
from torch import nn

from components.core.models.complexity import count_macs, count_parameters
from components.core.models.inputs import InputSpec


def images(side: int) -> tuple[InputSpec, ...]:
    return (InputSpec(name="images", dtype="float32", shape=("batch", 3, side, side)),)


def test_macs_are_the_sum_over_convolutions_and_linear_layers() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 5),
    )
    # 16 px → 8 × 8 outputs: plain 8·64·(3·9), depthwise 8·64·(1·9), linear 5·8.
    assert count_macs(network, images(16)) == 8 * 64 * 27 + 8 * 64 * 9 + 40
    assert count_parameters(network) == (3 * 8 * 9 + 8) + 16 + 72 + 45


def test_counting_leaves_the_network_as_it_was() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))
    network.train()
    network[1].eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    count_macs(network, images(8))
    assert [part.training for part in network.modules()] == [True, True, False, True]
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert not any(part._forward_hooks for part in network.modules())


class Doubled(nn.Module):
    """Multiplies by a matrix that belongs to another layer."""

    macs_per_output = 6

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values.flatten(1)[:, :4]


def test_a_layer_of_ones_own_says_what_an_output_costs() -> None:
    assert count_macs(nn.Sequential(nn.Conv2d(3, 2, 1), Doubled()), images(4)) == 2 * 16 * 3 + 4 * 6
