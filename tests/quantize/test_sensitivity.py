import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from components.quantize.dynamic_int8 import quantize_dynamic
from components.quantize.recording import graph_agreement
from components.quantize.sensitivity import products_to_keep

WIDTH = 40
RNG = np.random.default_rng(3)


def graph() -> onnx.ModelProto:
    """Three products one after the other; the first has rows of very different size, which int8 rounds away."""
    weights = {name: RNG.standard_normal((WIDTH, WIDTH)).astype(np.float32) for name in ("first", "second", "third")}
    weights["first"][0] *= 300
    names = ["x", "a", "b", "y"]
    nodes = [
        helper.make_node("MatMul", [before, weight], [after])
        for before, weight, after in zip(names, weights, names[1:], strict=False)
    ]
    shape = ["rows", WIDTH]
    made = helper.make_graph(
        nodes, "main", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )  # fmt: skip
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    return graph()


@pytest.fixture(scope="module")
def feeds(model: onnx.ModelProto) -> list[dict[str, np.ndarray]]:
    """Feeds that pass by the large row: only the rounding of the others is seen."""
    values = RNG.standard_normal((6, WIDTH)).astype(np.float32)
    values[:, 0] = 0
    return [{"x": values}]


def db(model: onnx.ModelProto, feeds: list[dict[str, np.ndarray]], stay_float: list[str]) -> float:
    quantized = quantize_dynamic(model, stay_float=stay_float).SerializeToString()
    return graph_agreement(model.SerializeToString(), quantized, feeds, threads=1).signal_to_noise_db


def test_the_product_that_does_most_harm_stays_float_first(model, feeds) -> None:
    assert db(model, feeds, []) < 10 < db(model, feeds, ["first"])
    kept = products_to_keep(model, feeds, kind="dynamic", least_db=10, threads=1)
    assert kept == ["first"]


def test_as_few_stay_float_as_the_ratio_needs(model, feeds) -> None:
    assert products_to_keep(model, feeds, kind="dynamic", least_db=0, threads=1) == []
    assert products_to_keep(model, feeds, kind="dynamic", least_db=0.1, threads=1) == []
    wanted = db(model, feeds, ["first"]) + 1
    kept = products_to_keep(model, feeds, kind="dynamic", least_db=wanted, threads=1)
    assert 1 < len(kept) <= 3
    assert db(model, feeds, kept) >= wanted > db(model, feeds, kept[:-1])
    everything = products_to_keep(model, feeds, kind="dynamic", least_db=1000, threads=1)
    assert sorted(everything) == ["first", "second", "third"], "no ratio is that high: all stay"
