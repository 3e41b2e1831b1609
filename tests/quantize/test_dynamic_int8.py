from itertools import pairwise
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from components.core.runtime.fusion import integer_share
from components.core.runtime.sessions import open_session
from components.quantize.dynamic_int8 import products, quantize_columns, quantize_dynamic

PIECES, WIDTH, INNER = 90, 32, 48
RNG = np.random.default_rng(0)
TABLE = RNG.standard_normal((PIECES, WIDTH)).astype(np.float32) * np.linspace(0.2, 3, PIECES, dtype=np.float32)[:, None]
FIRST, SECOND = (RNG.standard_normal(shape).astype(np.float32) for shape in ((WIDTH, INNER), (WIDTH, INNER)))
BIAS = RNG.standard_normal(WIDTH).astype(np.float32)


def graph(*, tied: bool = True, rank: int = 2) -> onnx.ModelProto:
    """Rows of a table → product → relu → product with a bias → logits by the table (tied), or by another matrix."""
    constants = {"table": TABLE, "first": FIRST, "second": SECOND, "bias": BIAS}
    if not tied:
        constants["output"] = TABLE[::-1].T.copy()
    nodes = [
        helper.make_node("Gather", ["table", "numbers"], ["rows"]),
        helper.make_node("MatMul", ["rows", "first"], ["inner"]),
        helper.make_node("Relu", ["inner"], ["positive"]),
        helper.make_node("Reshape", ["positive", "flat"], ["many"]),
        helper.make_node("Gemm", ["many", "second", "bias"], ["states"], transB=1),
        *([helper.make_node("Transpose", ["table"], ["output"], perm=[1, 0])] if tied else []),
        helper.make_node("MatMul", ["states", "output"], ["logits"]),
    ]
    initializers = [numpy_helper.from_array(values, name) for name, values in constants.items()]
    initializers.append(numpy_helper.from_array(np.array([-1, INNER]), "flat"))
    numbers = helper.make_tensor_value_info("numbers", TensorProto.INT64, ["batch", "length"][:rank])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["rows", PIECES])
    made = helper.make_graph(nodes, "main", [numbers], [logits], initializers)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def outputs(model: onnx.ModelProto, numbers: np.ndarray) -> np.ndarray:
    found: np.ndarray = open_session(model.SerializeToString()).run(None, {"numbers": numbers})[0]
    return found


def rounded(weights: np.ndarray, *, integer: bool) -> np.ndarray:
    """int8 per column, written out: no two neighbours of one sign may add up to more than 128 where they are summed."""
    largest = np.abs(weights).max(axis=0)
    for column in range(weights.shape[1]) if integer else ():
        for one, other in pairwise(weights[:, column]):
            if one * other > 0:
                largest[column] = max(largest[column], abs(one + other))
    scale = largest / 127
    return np.rint(weights / scale) * scale


def eight_bits(values: np.ndarray) -> np.ndarray:
    """`DynamicQuantizeLinear` of ONNX and back: one scale for the whole tensor, 0 among its values."""
    low, high = min(values.min(), 0), max(values.max(), 0)
    scale = np.float32((high - low) / 255)
    zero = np.rint(np.clip(-low / scale, 0, 255))
    return (np.clip(np.rint(values / scale) + zero, 0, 255) - zero) * scale


def expected(numbers: np.ndarray, *, tied: bool, integer: bool) -> np.ndarray:
    through = eight_bits if integer else np.asarray
    table = rounded(TABLE.T, integer=integer and tied).T
    inner = np.maximum(through(table[numbers]) @ rounded(FIRST, integer=integer), 0).reshape(-1, INNER)
    states = through(inner) @ rounded(SECOND.T, integer=integer) + BIAS
    result: np.ndarray = through(states) @ (table.T if tied else rounded(TABLE[::-1].T, integer=integer))
    return result


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", ["dynamic", "weights"])
@pytest.mark.parametrize("rank", [1, 2])
def test_products_and_tables_compute_with_rounded_weights(tied: bool, kind: str, rank: int) -> None:
    numbers = np.array([[3, 0, 89], [7, 7, 41]]) if rank == 2 else np.array([3, 0, 89])
    quantized = quantize_dynamic(graph(tied=tied, rank=rank), kind=kind)
    wanted = expected(numbers, tied=tied, integer=kind == "dynamic")
    found = outputs(quantized, numbers)
    # One step of an activation may fall the other way: onnxruntime computes in float32.
    np.testing.assert_allclose(found, wanted, atol=0.01 * np.abs(wanted).max())
    error = np.abs(found - outputs(graph(tied=tied, rank=rank), numbers)).max()
    assert 0 < error < 0.05 * np.abs(wanted).max()


def sizes(model: onnx.ModelProto) -> dict[tuple[int, ...], list[Any]]:
    """Shapes of the matrices in the file, and their types."""
    found: dict[tuple[int, ...], list[Any]] = {}
    for tensor in model.graph.initializer:
        if len(tensor.dims) == 2:
            found.setdefault(tuple(sorted(tensor.dims)), []).append(tensor.data_type)
    return found


def test_a_tied_table_is_stored_once_as_int8() -> None:
    tied, apart = sizes(quantize_dynamic(graph())), sizes(quantize_dynamic(graph(tied=False)))
    assert tied[WIDTH, PIECES] == [TensorProto.INT8]
    assert apart[WIDTH, PIECES] == [TensorProto.INT8, TensorProto.INT8]
    assert tied[WIDTH, INNER] == apart[WIDTH, INNER] == [TensorProto.INT8, TensorProto.INT8]


def test_onnxruntime_runs_all_products_as_integers() -> None:
    share = integer_share(quantize_dynamic(graph()).SerializeToString())
    assert (share.products, share.products_total) == (3, 3)
    assert integer_share(quantize_dynamic(graph(), kind="weights").SerializeToString()).products == 0


def test_what_stays_float_is_left_as_it_is() -> None:
    assert products(graph()) == ["first", "second", "table"]
    quantized = quantize_dynamic(graph(), stay_float=["first", "table"])
    assert sizes(quantized)[WIDTH, PIECES] == [TensorProto.FLOAT]
    assert sorted(sizes(quantized)[WIDTH, INNER]) == [TensorProto.FLOAT, TensorProto.INT8]
    everything = quantize_dynamic(graph(), stay_float=products(graph()))
    numbers = np.array([[5, 6]])
    np.testing.assert_array_equal(outputs(everything, numbers), outputs(graph(), numbers))


def test_the_same_graph_gives_the_same_bytes_and_is_left_alone() -> None:
    model = graph()
    before = model.SerializeToString(deterministic=True)
    first, second = (quantize_dynamic(model).SerializeToString(deterministic=True) for _ in range(2))
    assert first == second
    assert model.SerializeToString(deterministic=True) == before


def test_a_column_of_zeros_stays_zero() -> None:
    columns = quantize_columns(np.array([[0.0, 1.0], [0.0, -2.54]], dtype=np.float32))
    np.testing.assert_array_equal(columns.values, [[0, 50], [0, -127]])
    np.testing.assert_allclose(columns.scales[1], 0.02)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"kind": "int4"}, "unknown kind 'int4' of int8; known: dynamic, weights"),
        ({"stay_float": ["bias"]}, "'bias' is"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        quantize_dynamic(graph(), **asked)
