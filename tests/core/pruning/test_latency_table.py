"""Predicted latency: interpolation, sums, and that each layer of a real network is found and measured."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from components.core.errors import UserError
from components.core.models.architecture import apply_surgery
from components.core.models.inputs import BATCH, Graph, InputSpec, OutputSpec
from components.core.pruning import latency_table
from components.core.pruning.costs import layer_costs
from components.core.pruning.latency_table import LatencyTable, LayerTimes, file_for_timing, measure_table
from components.core.pruning.member import ChannelGroup, Member, cuts_of
from components.core.pruning.plan import LayerCost
from components.core.runtime.fusion import integer_share

INPUTS = (InputSpec(name="images", dtype="float32", shape=(BATCH, 3, 16, 16)),)
GROUP = ChannelGroup(
    name="expand",
    channels=32,
    members=tuple(
        Member(module=name, dimension=dimension, channels=tuple((channel,) for channel in range(32)))
        for name, dimension in (("expand", "out"), ("depthwise", "out"), ("project", "in"))
    ),
)


class Block(nn.Module):
    """A stem, an inverted residual and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.expand = nn.Conv2d(8, 32, 1)
        self.depthwise = nn.Conv2d(32, 32, 3, padding=1, groups=32)
        self.project = nn.Conv2d(32, 8, 1)
        self.head = nn.Linear(8, 5)

    def forward(self, images):
        stem = torch.relu(self.stem(images))
        inner = torch.relu(self.depthwise(torch.relu(self.expand(stem))))
        return self.head((stem + self.project(inner)).mean((2, 3)))


def graph_of(module):
    return Graph(module=module, inputs=INPUTS, outputs=(OutputSpec(name="logits", shape=(BATCH, 5)),))


def table_of(*layers, rest=0.0):
    return LatencyTable(layers=layers, rest_us=rest, scheme="int8", threads=1, batch=1, host={"processor": "x"})


def test_a_time_between_two_widths_lies_on_the_line_between_them():
    layer = LayerTimes(
        name="a", pairs=10, depthwise=False, points=((8, 64, 90.0), (8, 16, 30.0), (8, 32, 40.0), (8, 32, 42.0))
    )
    assert layer.microseconds(10 * 8 * 64) == 90
    assert layer.microseconds(10 * 8 * 32) == 41  # measured twice
    assert layer.microseconds(10 * 8 * 48) == pytest.approx(41 + (90 - 41) / 2)
    assert layer.microseconds(10 * 8 * 24) == pytest.approx(30 + (41 - 30) / 2)
    assert layer.microseconds(10 * 8 * 8) == 30


def test_a_network_takes_the_sum_of_its_layers_and_the_rest():
    costs = [
        LayerCost(
            name="a", pairs=10, in_channels=3, out_channels=16, depthwise=False, in_groups={}, out_groups={"g": 1}
        ),
        LayerCost(name="b", pairs=9, in_channels=1, out_channels=16, depthwise=True, in_groups={}, out_groups={"g": 1}),
    ]
    table = table_of(
        LayerTimes(name="a", pairs=10, depthwise=False, points=((3, 16, 50.0), (3, 8, 20.0))),
        LayerTimes(name="b", pairs=9, depthwise=True, points=((1, 16, 70.0), (1, 8, 30.0))),
        rest=11.0,
    )
    assert table.total_us(costs, {}) == 131
    assert table.total_us(costs, {"g": 8}) == 61
    assert table.total_us(costs, {"g": 4}) == pytest.approx(11 + 35 + 50)
    with pytest.raises(ValueError, match="another network"):
        table.total_us(costs[:1], {})


def test_a_table_survives_json():
    table = table_of(LayerTimes(name="a", pairs=10, depthwise=False, points=((3, 16, 50.25), (3, 8, 20.5))), rest=-1.5)
    assert LatencyTable.from_json(json.loads(json.dumps(table.to_json()))) == table


@pytest.mark.parametrize("document", [None, {}, {"format": 2}, {"format": 1, "layers": [{"name": "a"}]}])
def test_what_is_no_table_is_refused(document):
    with pytest.raises(ValueError, match="latency table"):
        LatencyTable.from_json(document)


@pytest.mark.parametrize("scheme", ["int8", "float32"])
def test_a_file_is_made_as_it_will_be_served(scheme):
    module = Block().eval()
    apply_surgery(module, cuts_of(module, [GROUP], {"expand": range(16)}))
    layers = layer_costs(Block(), [GROUP], inputs=INPUTS)
    share = integer_share(file_for_timing(graph_of(module), module, layers, scheme=scheme, stay_float=()))
    # No depthwise convolution follows the stem, so that no front stays float.
    assert (share.convolutions, share.convolutions_total) == ((4, 4) if scheme == "int8" else (0, 4))


def test_every_layer_is_measured_at_every_width(monkeypatch):
    monkeypatch.setattr(latency_table, "WIDTHS", (1.0, 0.0, 0.5, 0.49))  # two of them are the same 16 channels
    module = Block().eval()
    layers = layer_costs(module, [GROUP], inputs=INPUTS)
    table = measure_table(
        module, [GROUP], layers, graph_of=graph_of, scheme="int8", stay_float=(), round_to=8, threads=1
    )
    channels = {layer.name: [point[:2] for point in layer.points] for layer in table.layers}
    assert channels == {
        "stem": [(3, 8)] * 3,
        "expand": [(8, 32), (8, 8), (8, 16)],
        "depthwise": [(1, 32), (1, 8), (1, 16)],
        "project": [(32, 8), (8, 8), (16, 8)],
        "head": [(8, 5)] * 3,
    }
    assert all(us > 0 for layer in table.layers for *_, us in layer.points)
    expected = table.rest_us + sum(np.mean([us for *_, us in layer.points[:1]]) for layer in table.layers[1:4])
    expected += sum(np.mean([us for *_, us in layer.points]) for layer in (table.layers[0], table.layers[4]))
    assert table.total_us(layers, {}) == pytest.approx(expected)
    assert module.expand.out_channels == 32


def test_a_layer_that_is_no_layer_of_the_graph_is_named():
    class Folded(Block):
        def forward(self, images):
            # Its weights are an input of the convolution that another operator makes: no constant of the graph.
            stem = torch.relu(self.stem(images))
            self.expand(stem)
            return self.head(nn.functional.conv2d(stem, self.project.weight[:, :8] * stem.mean()).mean((2, 3)))

    module = Folded().eval()
    layers = layer_costs(module, [], inputs=INPUTS)
    with pytest.raises(UserError, match="'expand' is not a single layer of its graph; use prune_price=macs"):
        file_for_timing(graph_of(module), module, layers, scheme="int8", stay_float=())
