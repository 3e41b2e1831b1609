"""The graph of an int8 file as onnxruntime's CPU kernels fuse it: uint8 activations, int8 weights scaled per channel.

Which graph it is depends on shapes and on which tensors are given a range, not on the ranges' values: `quantize` gives
measured ones, and who only wants to know how long such a file takes gives any.
"""

import contextlib
import io
import logging
import os
import tempfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import (
    CalibrationMethod,
    QDQQuantizer,
    QuantType,
    TensorData,
    TensorsData,
    quant_pre_process,
)

from components.core.runtime.float_front import float_front

# Named here, so that a newer onnxruntime that knows more of them does not change what a file looks like.
_OPERATORS = [
    "Add", "AveragePool", "Clip", "Concat", "Conv", "ConvTranspose", "Flatten", "Gemm", "GlobalAveragePool",
    "LeakyRelu", "MatMul", "MaxPool", "Mul", "Pad", "Relu", "Reshape", "Resize", "Sigmoid", "Slice", "Split",
    "Squeeze", "Transpose", "Unsqueeze",
]  # fmt: skip


def prepared(source: str | os.PathLike[str]) -> onnx.ModelProto:
    """The float32 file with shapes inferred and constants folded: the quantizer skips tensors whose type it does not
    know."""
    with tempfile.TemporaryDirectory(prefix="trimtab-quantize-") as folder:
        target = Path(folder) / "prepared.onnx"
        with _quiet():
            # onnxruntime's symbolic inference fails on a Resize with scales; onnx's does not, and the files are the
            # same otherwise.
            quant_pre_process(os.fspath(source), str(target), skip_symbolic_shape=True)
        return onnx.load(target)


def left_in_float(model: onnx.ModelProto, stay_float: Collection[str]) -> list[str]:
    """Names of the nodes that are not quantized: the front of a mobile network (`float_front`), and every node whose
    kind of operator is in `stay_float`."""
    return [*float_front(model), *(node.name for node in model.graph.node if node.op_type in stay_float)]


def with_integers(
    model: onnx.ModelProto, ranges: Mapping[str, tuple[float, float]], floating: list[str]
) -> onnx.ModelProto:
    """A quantized copy: QuantizeLinear and DequantizeLinear around what onnxruntime then runs as integers.

    Args:
        model: as `prepared` gives it.
        ranges: tensor → least and largest value.
        floating: nodes that are left as they are.
    """
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    data = TensorsData(
        CalibrationMethod.MinMax,
        {
            name: TensorData(lowest=np.array(low, np.float32), highest=np.array(high, np.float32))
            for name, (low, high) in ranges.items()
        },
    )
    with _quiet():
        quantizer = QDQQuantizer(
            copied,
            per_channel=True,
            # 7-bit weights would avoid saturation on CPUs without VNNI, at a cost in accuracy on all others.
            reduce_range=False,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QUInt8,
            tensors_range=data,
            nodes_to_quantize=[],
            nodes_to_exclude=floating,
            op_types_to_quantize=_OPERATORS,
            extra_options={},
        )
        quantizer.quantize_model()
        quantizer.model.topological_sort()
    return quantizer.model.model


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The quantizer prints and logs its progress; a failure still raises."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)
