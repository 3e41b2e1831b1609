"""Weights whose sums fit into 16 bits: against an instruction that is written out, and on the CPU of the tests."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession

from components.core.runtime.integer_graph import with_integers
from components.core.runtime.saturation import products_of_convolution, unsaturated_limits
from components.core.runtime.sessions import session_options
from components.quantize.dynamic_int8 import quantize_dynamic

RNG = np.random.default_rng(3)


def summed_in_16_bits(inputs: np.ndarray, weights: np.ndarray, first: int) -> int:
    """Products of uint8 and int8, added two by two with a result that is clipped to 16 bits; `first`: the first pair
    begins here, which is up to the kernel."""
    products = inputs.astype(np.int64) * weights
    pairs = [products[:first].sum(), *(products[at : at + 2].sum() for at in range(first, len(products), 2))]
    return int(sum(min(max(pair, -32768), 32767) for pair in pairs))


def rounded(weights: np.ndarray) -> np.ndarray:
    limits = unsaturated_limits(weights)
    scales = np.where(limits > 0, limits, 1)[:, None] / 127
    return np.rint(weights / scales).astype(np.int64)


@given(
    weights=st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=9),
    bits=st.lists(st.sampled_from([0, 1, 128, 254, 255]), min_size=9, max_size=9),
    first=st.integers(0, 1),
)
def test_no_pair_saturates_whatever_the_inputs_are(weights: list[float], bits: list[int], first: int) -> None:
    integers, inputs = rounded(np.array([weights]))[0], np.array(bits[: len(weights)])
    assert np.abs(integers).max() <= 127
    assert summed_in_16_bits(inputs, integers, first) == inputs @ integers


def test_scales_by_the_largest_weight_alone_would_saturate() -> None:
    weights = np.array([[0.9, 1.0, -0.2]])
    inputs = np.array([255, 255, 255])
    plain = np.rint(weights[0] * 127).astype(np.int64)
    assert summed_in_16_bits(inputs, plain, 0) != inputs @ plain
    assert summed_in_16_bits(inputs, rounded(weights)[0], 0) == inputs @ rounded(weights)[0]


@pytest.mark.parametrize(
    ("weights", "limit"),
    [
        ([1.0, -1.0, 1.0], 1.0),  # neighbours of other signs cancel
        ([1.0, 0.0, 1.0], 1.0),  # no neighbours
        ([0.5, 0.75, -0.25], 1.25),
        ([0.5, -0.75, -0.25], 1.0),
        ([-2.0], 2.0),
        ([0.0, 0.0], 0.0),
    ],
)
def test_127_stands_for_the_largest_weight_or_pair(weights: list[float], limit: float) -> None:
    np.testing.assert_array_equal(unsaturated_limits(np.array([weights, [0.0] * len(weights)])), [limit, 0.0])


def test_the_products_of_a_convolution_come_position_by_position_with_their_channels_side_by_side() -> None:
    weights = np.arange(2 * 3 * 2 * 2, dtype=np.float32).reshape(2, 3, 2, 2)
    by_hand = [[weights[out, channel, y, x] for y in (0, 1) for x in (0, 1) for channel in range(3)] for out in (0, 1)]
    np.testing.assert_array_equal(products_of_convolution(weights, 1), by_hand)


def test_of_a_depthwise_convolution_the_largest_weight_counts() -> None:
    weights = np.array([[[[0.5, -0.75]]], [[[0.25, 0.25]]]])
    np.testing.assert_array_equal(products_of_convolution(weights, 2), [[0.75], [0.25]])
    # One input channel, and two outputs of it: a matrix product after all.
    np.testing.assert_array_equal(products_of_convolution(weights, 1), [[0.5, -0.75], [0.25, 0.25]])


def answers(model: onnx.ModelProto, feed: np.ndarray, *, exact: bool) -> np.ndarray:
    """`exact`: products are summed in 32 bits on CPUs without VNNI too, which takes longer."""
    options = session_options(threads=1)
    if exact:
        options.add_session_config_entry("session.x64quantprecision", "1")
    session = InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found: np.ndarray = session.run(None, {"x": feed})[0]
    return found


def layer(kind: str) -> tuple[onnx.ModelProto, np.ndarray]:
    """One layer with weights near the limit, all of one sign in half of its channels, and bright inputs."""
    spread = {
        "dense": (24, 16, 3, 3), "odd": (24, 5, 3, 3), "pointwise": (24, 48, 1, 1), "groups": (24, 4, 3, 3),
        "depthwise": (16, 1, 3, 3), "gemm": (24, 64), "matmul": (64, 24),
    }[kind]  # fmt: skip
    weights = RNG.uniform(0.7, 1, spread).astype(np.float32)
    weights[: spread[0] // 2] *= RNG.choice([-1, 1], weights[: spread[0] // 2].shape)
    if kind in ("gemm", "matmul"):
        feed = RNG.uniform(0.5, 1, (6, 64)).astype(np.float32)
        node = helper.make_node("Gemm", ["x", "w"], ["y"], transB=1) if kind == "gemm" else None
        node = node or helper.make_node("MatMul", ["x", "w"], ["y"])
    else:
        groups = {"groups": 4, "depthwise": 16}.get(kind, 1)
        feed = RNG.uniform(0.5, 1, (2, spread[1] * groups, 12, 12)).astype(np.float32)
        node = helper.make_node("Conv", ["x", "w"], ["y"], group=groups, pads=[spread[2] // 2] * 4)
    node.name = "layer"
    shapes = [
        ["n", *shape[1:]]
        for shape in (feed.shape, feed.shape if kind in ("gemm", "matmul") else (0, *spread[:1], 12, 12))
    ]
    if kind in ("gemm", "matmul"):
        shapes[1] = ["n", 24]
    made = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shapes[0])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shapes[1])],
        [numpy_helper.from_array(weights, "w")],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), feed


@pytest.mark.parametrize("kind", ["dense", "odd", "pointwise", "groups", "depthwise", "gemm", "matmul"])
def test_this_cpu_computes_the_same_with_sums_of_16_and_of_32_bits(kind: str, tmp_path: Path) -> None:
    model, feed = layer(kind)
    plain = answers(model, feed, exact=True)
    ranges = {"x": (0.0, float(feed.max())), "y": (float(plain.min()), float(plain.max()))}
    integers = with_integers(model, ranges, floating=[])
    np.testing.assert_array_equal(answers(integers, feed, exact=False), answers(integers, feed, exact=True))
    assert np.abs(answers(integers, feed, exact=False) - plain).max() < 0.02 * np.abs(plain).max()


@pytest.mark.parametrize("kind", ["gemm", "matmul"])
def test_so_it_does_where_activations_are_rounded_as_they_come(kind: str) -> None:
    model, feed = layer(kind)
    integers = quantize_dynamic(model)
    np.testing.assert_array_equal(answers(integers, feed, exact=False), answers(integers, feed, exact=True))
    assert np.abs(answers(integers, feed, exact=False) - answers(model, feed, exact=True)).max() < 0.5
