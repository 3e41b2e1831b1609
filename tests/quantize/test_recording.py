from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from components.core.errors import UserError
from components.quantize.agreement import agreement
from components.quantize.recording import graph_agreement, recorded_feeds


def scaled(*factors: float) -> bytes:
    """A graph with one output per factor: the input times it."""
    outputs = [f"times_{number}" for number in range(len(factors))]
    nodes = [helper.make_node("Mul", ["x", f"factor_{n}"], [name]) for n, name in enumerate(outputs)]
    constants = [numpy_helper.from_array(np.float32(factor), f"factor_{n}") for n, factor in enumerate(factors)]
    shape = ["rows", 3]
    graph = helper.make_graph(
        nodes, "main", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in outputs], constants,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    return model.SerializeToString()


FEEDS = [{"x": np.array([[1, 2, 3]], np.float32)}, {"x": np.array([[-1, 5, 0], [2, 2, 1]], np.float32)}]


def test_each_graph_is_kept_with_what_the_one_before_it_gave(tmp_path) -> None:
    paths = {name: tmp_path / f"{name}.onnx" for name in ("first", "second")}
    for path, factor in zip(paths.values(), (10, 1), strict=True):
        path.write_bytes(scaled(factor))

    def run(sessions, batch, assets):
        (handed,) = sessions["first"].run(["times_0"], {"x": batch})
        for _ in range(2):
            (handed,) = sessions["second"].run(None, {"x": handed + assets})
        assert [one.name for one in sessions["second"].get_inputs()] == ["x"]

    feeds = recorded_feeds(SimpleNamespace(run=run), paths, [feed["x"] for feed in FEEDS], 1, threads=1)
    assert [len(feeds[name]) for name in paths] == [2, 4]
    np.testing.assert_array_equal(feeds["first"][1]["x"], FEEDS[1]["x"])
    np.testing.assert_array_equal(feeds["second"][0]["x"], 10 * FEEDS[0]["x"] + 1)
    np.testing.assert_array_equal(feeds["second"][1]["x"], 10 * FEEDS[0]["x"] + 2)


def test_the_output_that_is_worst_off_counts() -> None:
    """x·0.9 instead of x: noise is a tenth of the signal, 20 dB; 0.99: 40 dB; an equal output counts for nothing."""
    found = graph_agreement(scaled(1, 1, 1), scaled(1, 0.99, 0.9), FEEDS, threads=1)
    assert found.signal_to_noise_db == pytest.approx(20, abs=0.01)
    assert (found.rows, found.argmax) == (2, 1.0)
    assert graph_agreement(scaled(1), scaled(1), FEEDS, threads=1).signal_to_noise_db == 100
    turned = graph_agreement(scaled(1), scaled(-1), FEEDS, threads=1)
    assert turned.argmax == 0, "the largest of each row is another"
    with pytest.raises(ValueError, match="no calls"):
        graph_agreement(scaled(1), scaled(1), [], threads=1)


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_a_graph_that_gives_no_numbers_is_refused_and_does_not_count_as_equal(tmp_path, broken) -> None:
    with pytest.raises(UserError, match=r"NaN or infinity \('output 2 of the int8 graph'\)"):
        graph_agreement(scaled(1, 1), scaled(1, broken), FEEDS, threads=1)
    (tmp_path / "float.onnx").write_bytes(scaled(broken))
    with pytest.raises(UserError, match=r"NaN or infinity \('the float32 network'\)"):
        agreement(tmp_path / "float.onnx", scaled(1), FEEDS, threads=1)
