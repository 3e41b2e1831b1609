"""Small networks for the runtime's tests: one convolutional toy, and EfficientNet-Lite0 with random weights."""

import pytest
import torch
from torch import nn

from components.core.models.inputs import Graph, InputSpec, OutputSpec


def make_toy(num_outputs: int = 5, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU6(inplace=True),
        nn.Conv2d(8, 16, 3, padding=1, groups=8, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU6(inplace=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, num_outputs),
    ).eval()


def graph_of(module: nn.Module, *, side: int = 32, num_outputs: int = 5) -> Graph:
    """`images` (batch, 3, side, side) → `logits` (batch, num_outputs)."""
    images = InputSpec(name="images", dtype="float32", shape=("batch", 3, side, side))
    return Graph(module=module, inputs=(images,), outputs=(OutputSpec(name="logits", shape=("batch", num_outputs)),))


@pytest.fixture(scope="session")
def toy() -> nn.Module:
    return make_toy()


@pytest.fixture(scope="session")
def toy_graph(toy) -> Graph:
    return graph_of(toy)


@pytest.fixture(scope="session")
def toy_onnx(toy_graph, tmp_path_factory):
    from components.core.runtime.onnx_export import export_onnx

    path = tmp_path_factory.mktemp("toy") / "model.onnx"
    export_onnx(toy_graph, path)
    return path
