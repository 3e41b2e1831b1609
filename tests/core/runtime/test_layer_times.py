"""Which operators of a graph count for which layer, and what a profile says of them."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from components.core.runtime.layer_times import DROPPED, TIMED, by_layer, layer_times, mark_layers


def network() -> onnx.ModelProto:
    """1×1 convolution, ReLU, convolution, mean, product with transposed weights, sum with itself."""
    weights = {"a": (8, 3, 1, 1), "b": (4, 8, 1, 1), "c": (4, 2)}
    nodes = [
        helper.make_node("Conv", ["images", "a"], ["t0"], name="first"),
        helper.make_node("Relu", ["t0"], ["t1"], name="act"),
        helper.make_node("Conv", ["t1", "b"], ["t2"], name="second"),
        helper.make_node("ReduceMean", ["t2", "axes"], ["t3"], keepdims=0),
        helper.make_node("MatMul", ["t3", "c"], ["t4"], name="head"),
        helper.make_node("Add", ["t4", "t4"], ["logits"]),
    ]
    constants = [numpy_helper.from_array(np.ones(shape, np.float32), name) for name, shape in weights.items()]
    constants.append(numpy_helper.from_array(np.array([2, 3]), "axes"))
    graph = helper.make_graph(
        nodes, "main",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 4, 4])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 2])],
        constants,
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def test_each_node_is_named_after_the_layer_that_runs_last_before_it() -> None:
    model = network()
    images = {"images": np.random.default_rng(0).standard_normal((1, 3, 4, 4), dtype=np.float32)}
    before = ort.InferenceSession(model.SerializeToString()).run(None, images)
    assert mark_layers(model, [(8, 3, 1, 1), (4, 8, 1, 1), (2, 4)]) == 3
    assert [node.name.partition("__")[0] for node in model.graph.node] == [
        "layer0", "layer0", "layer1", "layer1", "layer2", "layer2",
    ]  # fmt: skip
    after = ort.InferenceSession(model.SerializeToString()).run(None, images)
    np.testing.assert_array_equal(after[0], before[0])


def test_a_layer_that_is_not_in_the_graph_ends_the_search() -> None:
    assert mark_layers(network(), [(8, 3, 1, 1), (5, 8, 1, 1), (2, 4)]) == 1


def test_a_profile_is_added_up_by_layers() -> None:
    # In each call: a conversion before the first layer, two layers, and a nameless operator behind the first of them.
    names = ["Transpose", "layer0__0_nchwc", "ReorderOutput", "layer1__3_token_7"]
    rng = np.random.default_rng(0)
    durations = rng.integers(1, 50, (2, DROPPED + TIMED, len(names)))
    profile = [{"cat": "Session", "name": "model_loading", "dur": 900}]
    for call in durations.reshape(-1, len(names)):
        profile += [
            {"cat": "Node", "name": f"{name}_kernel_time", "dur": int(dur)}
            for name, dur in zip(names, call, strict=True)
        ]
        profile.append({"cat": "Session", "name": "model_run", "dur": 400})
    warm = np.sort(durations[:, DROPPED:].reshape(2 * TIMED, len(names)), axis=0)
    middle = warm[TIMED // 2 : -(TIMED // 2)].mean(axis=0) + 0.5
    assert by_layer(profile, 2, 2) == pytest.approx([middle[1] + middle[2], middle[3]])


def test_a_file_that_runs_has_a_time_for_each_of_its_layers() -> None:
    model = network()
    layers = mark_layers(model, [(8, 3, 1, 1), (4, 8, 1, 1), (2, 4)])
    feed = {"images": np.zeros((1, 3, 4, 4), np.float32)}
    times = layer_times({"one": model.SerializeToString()}, {"one": feed}, layers=layers, threads=1, seconds=0)
    assert len(times["one"]) == 3
    assert min(times["one"]) > 0
