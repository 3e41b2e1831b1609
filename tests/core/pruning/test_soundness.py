"""A group is what it says, or it is found out."""

import pytest
import torch
from tiny_networks import NETWORKS, SIZE, register
from torch import nn

from components.core.models.inputs import InputSpec
from components.core.models.zoo import create_module
from components.core.pruning.groups import PruningGraph
from components.core.pruning.member import ChannelGroup, Member
from components.core.pruning.mlp import mlp_groups
from components.core.pruning.soundness import is_sound, sound

INPUTS = (InputSpec(name="images", dtype="float32", shape=("batch", 3, SIZE, SIZE)),)

BLOCKS = [(2, 0), (2, 1), (3, 0), (3, 1), (4, 0)]


class Shuffled(nn.Module):
    """Two convolutions; between them the channels change places, if asked to."""

    def __init__(self, *, shuffle: bool) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 4, 1)
        self.shuffle = shuffle

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        maps = self.first(images)
        if self.shuffle:
            maps = maps.unflatten(1, (2, -1)).transpose(1, 2).flatten(1, 2)
        return self.second(maps).mean(dim=(2, 3))


def group(channels: int, *, reads: tuple[int, ...] = ()) -> ChannelGroup:
    each = tuple((channel,) for channel in range(channels))
    other = tuple((channel,) for channel in reads) or each
    members = (
        Member(module="first", dimension="out", channels=each),
        Member(module="second", dimension="in", channels=other),
    )
    return ChannelGroup(name="first", channels=channels, members=members)


def test_a_plain_chain_is_sound_and_a_shuffle_or_a_wrong_reader_is_not() -> None:
    torch.manual_seed(0)
    assert is_sound(Shuffled(shuffle=False), [group(8)], INPUTS)
    assert not is_sound(Shuffled(shuffle=True), [group(8)], INPUTS)
    assert not is_sound(Shuffled(shuffle=False), [group(8, reads=(1, 0, 2, 3, 4, 5, 6, 7))], INPUTS)


def test_channels_of_both_halves_of_a_concatenation_that_are_made_of_one_are_tied() -> None:
    register()
    torch.manual_seed(0)
    module = create_module(NETWORKS["GhostNet"], 3).eval()
    graph = PruningGraph(module, inputs=INPUTS, output_layers=("classifier",))
    # Behind a strided depthwise convolution both halves of a ghost module stand beside each other.
    assert "blocks.1.0.ghost1.primary_conv.0" in graph.tied
    assert "blocks.0.0.ghost1.primary_conv.0" not in graph.tied


def test_a_channel_that_is_read_with_a_millionth_of_the_weight_is_not_overlooked() -> None:
    torch.manual_seed(0)
    network = Shuffled(shuffle=True)
    with torch.no_grad():
        network.second.weight *= 1e-6
    assert not is_sound(network, [group(8)], INPUTS)


@pytest.mark.parametrize("family", ["ResNet", "DenseNet", "SqueezeNet", "MobileNetV3", "ConvNeXt", "ShuffleNetV2"])
def test_every_group_that_a_graph_offers_is_sound_by_itself(family: str) -> None:
    register()
    torch.manual_seed(0)
    module = create_module(NETWORKS[family], 3).eval()
    last = [name for name, part in module.named_modules() if isinstance(part, nn.Linear)][-1]
    graph = PruningGraph(module, inputs=INPUTS, output_layers=(last,))
    groups = graph.groups()
    assert groups
    assert sound(module, groups, INPUTS) == groups


def test_of_a_network_whose_graph_cannot_be_read_the_channels_inside_its_sequences_may_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Stumbling:
        def build_dependency(self, *_: object, **__: object) -> None:
            raise ZeroDivisionError

    monkeypatch.setattr("torch_pruning.DependencyGraph", Stumbling)
    register()
    torch.manual_seed(0)
    module = create_module(NETWORKS["ShuffleNetV2"], 3).eval()
    graph = PruningGraph(module, inputs=INPUTS, output_layers=("fc",))
    inner = [group for group in graph.groups() if group.name.startswith("stage")]
    assert [group.name for group in inner] == [f"stage{stage}.{block}.branch2.0" for stage, block in BLOCKS]
    assert [member.module.rpartition(".")[2] for member in inner[0].members] == ["0", "1", "3", "4", "5"]
    # The stem makes the channels of an image into those of the network: it stays.
    assert "conv1.0" not in {group.name for group in graph.groups()}


@pytest.mark.parametrize(("family", "count"), [("ViT", 2), ("DeiT", 2), ("Swin", 2), ("ResNet", 0), ("RegNetY", 0)])
def test_the_mlps_of_a_transformer_are_found(family: str, count: int) -> None:
    register()
    module = create_module(NETWORKS[family], 3)
    groups = mlp_groups(module)
    assert len(groups) == count
    for found in groups:
        (makes, reads) = found.members
        assert module.get_submodule(makes.module).out_features == found.channels
        assert module.get_submodule(reads.module).in_features == found.channels
