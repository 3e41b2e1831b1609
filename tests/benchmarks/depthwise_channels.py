"""How long an int8 convolution of onnxruntime takes by its number of channels: why pruning keeps multiples of 16.

    nice python tests/benchmarks/depthwise_channels.py

Method: one QLinearConv (uint8 activations, int8 weights) per graph, batch 8, one thread; onnxruntime's own profile of
that node, without what converts the layout around it; median of 30 calls. Random values: time only. Read the ratio of
neighbouring columns, which are measured within a second of each other.
"""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from components.core.runtime.host import describe_host

BATCH = 8
CALLS = 30
CHANNELS = tuple(range(96, 168, 8))
DEPTHWISE = ((3, 1, 24), (3, 2, 48), (5, 1, 12), (5, 1, 6))
"""Kernel, stride and input size, as they occur in EfficientNet-Lite0 at 96 pixels."""
POINTWISE = ((24, 24), (12, 40))
"""Input size and output channels."""


def convolution(weights: np.ndarray, *, size: int, stride: int, groups: int) -> bytes:
    """The ONNX file of one int8 convolution: images `(N, groups · C_in, size, size)` in uint8; same padding."""
    channels, kernel = weights.shape[1] * groups, weights.shape[2]
    values = {
        "x_scale": np.float32(0.02), "x_zero": np.uint8(0), "w": weights,
        "w_scale": np.full(len(weights), 0.01, np.float32), "w_zero": np.zeros(len(weights), np.int8),
        "y_scale": np.float32(0.05), "y_zero": np.uint8(0), "bias": np.zeros(len(weights), np.int32),
    }  # fmt: skip
    node = helper.make_node(
        "QLinearConv", ["x", *values], ["y"],
        kernel_shape=[kernel, kernel], strides=[stride, stride], pads=[kernel // 2] * 4, group=groups,
    )  # fmt: skip
    graph = helper.make_graph(
        [node],
        "convolution",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, ["N", channels, size, size])],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, ["N", len(weights), None, None])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def microseconds(file: bytes, shape: Sequence[int], folder: Path) -> float:
    """Median time of the convolution's kernel, as onnxruntime profiles it."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.enable_profiling = True
    options.profile_file_prefix = str(folder / "profile")
    session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    feed = {"x": np.random.default_rng(0).integers(0, 200, tuple(shape)).astype(np.uint8)}
    for _ in range(CALLS):
        session.run(None, feed)
    events = json.loads(Path(session.end_profiling()).read_text())
    times = [
        event["dur"]
        for event in events
        if event.get("cat") == "Node"
        and event["name"].endswith("_kernel_time")
        and event["args"]["op_name"] == "QLinearConv"
    ]
    return median(times)


def main() -> None:
    rng = np.random.default_rng(0)
    host = describe_host()
    print(f"{host['processor']}, onnxruntime {ort.__version__}, one thread, batch {BATCH}, µs per call")
    print(f"{'channels':28}" + "".join(f"{channels:>6}" for channels in CHANNELS))
    with tempfile.TemporaryDirectory(prefix="trimtab-depthwise-") as folder:
        for kernel, stride, size in DEPTHWISE:
            row = []
            for channels in CHANNELS:
                weights = rng.integers(-100, 100, (channels, 1, kernel, kernel)).astype(np.int8)
                file = convolution(weights, size=size, stride=stride, groups=channels)
                row.append(microseconds(file, (BATCH, channels, size, size), Path(folder)))
            show(f"depthwise {kernel}x{kernel}/{stride}, {size} px", row)
        for size, out in POINTWISE:
            row = []
            for channels in CHANNELS:
                weights = rng.integers(-100, 100, (out, channels, 1, 1)).astype(np.int8)
                file = convolution(weights, size=size, stride=1, groups=1)
                row.append(microseconds(file, (BATCH, channels, size, size), Path(folder)))
            show(f"1x1 to {out} channels, {size} px", row)


def show(name: str, row: Sequence[float]) -> None:
    print(f"{name:28}" + "".join(f"{value:>6.0f}" for value in row), flush=True)


if __name__ == "__main__":
    main()
