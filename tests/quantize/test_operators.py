"""Integer operators besides convolutions: additions, concatenations, resizing."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn import functional as F

from components.core.models.catalog import load_catalog
from components.core.models.inputs import Graph, InputSpec, OutputSpec, examples
from components.core.runtime.fusion import integer_share
from components.core.runtime.onnx_export import export_onnx
from components.core.runtime.sessions import open_session
from components.core.tasks import get_task
from components.core.tasks.segmentation.networks import build
from components.core.tasks.segmentation.parameters import PARAMETERS
from components.quantize.agreement import agreement
from components.quantize.int8 import calibrate


class Decoder(nn.Module):
    """A residual addition, a branch at half the size, its concatenation, and an enlarged map of classes."""

    def __init__(self, *, last: nn.Module) -> None:
        super().__init__()
        self.stem, self.inner = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.coarse = nn.Conv2d(8, 4, 3, stride=2, padding=1)
        self.classes, self.last = nn.Conv2d(12, 3, 1), last

    def forward(self, images):
        """Enlarged by a factor and to a size that is read off, which are written differently in the file."""
        fine = F.relu(self.stem(images))
        fine = F.relu(fine + self.inner(fine))
        coarse = F.interpolate(F.relu(self.coarse(fine)), scale_factor=2)
        classes = self.classes(torch.cat([fine, coarse], dim=1))
        return self.last(F.interpolate(classes, size=[2 * side for side in images.shape[-2:]], mode="bilinear"))


def quantized(tmp_path, last: nn.Module):
    """(float32 path, int8 bytes, feeds of 24 images)."""
    torch.manual_seed(0)
    graph = Graph(
        module=Decoder(last=last),
        inputs=(InputSpec(name="images", dtype="float32", shape=("batch", 3, 16, 16)),),
        outputs=(OutputSpec(name="logits", shape=("batch", 3, 32, 32)),),
    )
    export_onnx(graph, tmp_path / "float.onnx")

    def feeds():
        return (examples(graph.inputs, {"batch": 8}, seed=seed) for seed in range(3))

    model = calibrate(tmp_path / "float.onnx", feeds, method="minmax").integers().model
    return tmp_path / "float.onnx", model.SerializeToString(deterministic=True), feeds


def test_addition_resizing_and_concatenation_run_as_integers(tmp_path):
    source, data, feeds = quantized(tmp_path, nn.Identity())
    assert {"Add", "Resize", "Concat"} <= {node.op_type for node in onnx.load_from_string(data).graph.node}
    share = integer_share(data)
    assert (share.convolutions, share.convolutions_total) == (4, 4)
    # Four convolutions, an addition, a concatenation and two resizings, of which onnxruntime does the bilinear one in
    # float. The concatenation of sizes is no work of the network, and a ReLU is part of what stands before it.
    assert (share.operators, share.operators_total, share.floating_operators) == (7, 8, (("Resize", 1),))
    close = agreement(source, data, feeds(), threads=1)
    assert close.rows == 24
    assert close.signal_to_noise_db > 20


def test_of_the_default_segmentation_network_nine_tenths_of_the_operators_run_as_integers(tmp_path):
    task, default = get_task("segmentation"), {one.name: one.default for one in PARAMETERS}
    source, side = load_catalog()[default["backbones"][0]].architecture, default["image_size"]
    graph = Graph(
        module=build(source, 11, head=default["heads"][0], seed=0).eval(),
        inputs=(InputSpec(name="images", dtype="float32", shape=("batch", 3, side, side)),),
        outputs=(OutputSpec(name="logits", shape=("batch", 11, side, side)),),
    )
    export_onnx(graph, tmp_path / "float.onnx")
    feeds = [examples(graph.inputs, {"batch": 8}, seed=0)]
    made = calibrate(tmp_path / "float.onnx", lambda: iter(feeds), method="percentile", stay_float=task.stay_float)
    share = integer_share(made.integers().model.SerializeToString())
    assert share.operators / share.operators_total > 0.9
    # The first three convolutions, the resizing that onnxruntime does in float, and the enlarging by two products.
    assert dict(share.floating_operators) == {"Conv": 3, "MatMul": 2, "Resize": 1}


def test_agreement_is_counted_per_pixel_and_in_decibels(tmp_path):
    source, data, feeds = quantized(tmp_path, nn.Identity())
    float_, int8 = (
        np.concatenate([open_session(model).run(None, feed)[0].astype(np.float64) for feed in feeds()])
        for model in (source, data)
    )
    close = agreement(source, data, feeds(), threads=1)
    assert close.argmax == pytest.approx((float_.argmax(1) == int8.argmax(1)).mean())
    ratio = 10 * np.log10((float_**2).sum() / ((float_ - int8) ** 2).sum())
    assert close.signal_to_noise_db == pytest.approx(ratio, abs=0.006)


def test_what_stays_in_float_is_named_by_kind(tmp_path):
    _, data, _ = quantized(tmp_path, nn.GELU())
    share = integer_share(data)
    assert (share.convolutions, share.convolutions_total) == (4, 4)
    assert share.operators < share.operators_total
    assert share.operators_total - share.operators == sum(number for _, number in share.floating_operators)
    assert {kind for kind, _ in share.floating_operators} & {"Erf", "Gelu", "BiasGelu"}
    assert share.floating == ()


@pytest.mark.parametrize("name", ["error", "shift", "mean", "axes"])
def test_a_tensor_may_have_any_name_that_torch_gives(tmp_path, name):
    """Biases are corrected by a graph that measures beside the network's own tensors."""
    rng = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(rng.standard_normal((3, 3, 1, 1)).astype(np.float32), f"w{place}") for place in (0, 1)
    ]
    nodes = [
        helper.make_node("Conv", ["images", "w0"], [f"{name}_1"]),
        helper.make_node("Conv", [f"{name}_1", "w1"], ["logits"]),
    ]
    values = [helper.make_tensor_value_info(one, TensorProto.FLOAT, ["batch", 3, 4, 4]) for one in ("images", "logits")]
    graph = helper.make_graph(nodes, "main", values[:1], values[1:], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), tmp_path / "m.onnx")
    images = rng.standard_normal((4, 3, 4, 4), dtype=np.float32)
    made = calibrate(tmp_path / "m.onnx", lambda: iter([{"images": images}]), method="minmax").integers()
    assert made.corrected_layers == 2
    expected = open_session(tmp_path / "m.onnx").run(None, {"images": images})[0]
    found = open_session(made.model.SerializeToString()).run(None, {"images": images})[0]
    assert np.abs(found - expected).max() < 0.1 * np.abs(expected).max()
