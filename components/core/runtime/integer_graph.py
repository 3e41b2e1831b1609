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
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from onnxruntime.quantization import (
    CalibrationMethod,
    QDQQuantizer,
    QuantType,
    TensorData,
    TensorsData,
    quant_pre_process,
)

from components.core.runtime.float_front import float_front
from components.core.runtime.saturation import products_of_convolution, unsaturated_limits

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
    weights = _weight_ranges(copied, floating)
    data = TensorsData(
        CalibrationMethod.MinMax,
        {
            name: TensorData(lowest=np.array(low, np.float32), highest=np.array(high, np.float32))
            for name, (low, high) in ranges.items()
            if name not in weights
        },
    )
    with _quiet():
        quantizer = QDQQuantizer(
            copied,
            per_channel=True,
            reduce_range=False,  # `saturation` does better
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QUInt8,
            tensors_range=data,
            nodes_to_quantize=[],
            nodes_to_exclude=floating,
            op_types_to_quantize=_OPERATORS,
            extra_options={"TensorQuantOverrides": weights},
        )
        quantizer.quantize_model()
        quantizer.model.topological_sort()
    return quantizer.model.model


def _weight_ranges(model: onnx.ModelProto, floating: Collection[str]) -> dict[str, list[dict[str, Any]]]:
    """The range of each weight of an integer layer, per channel, as onnxruntime's quantizer is given it."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    found = {}
    for node in model.graph.node:
        if node.op_type not in ("Conv", "Gemm", "MatMul") or node.name in floating or node.input[1] not in constants:
            continue
        weights = numpy_helper.to_array(constants[node.input[1]])
        attributes = {one.name: one.i for one in node.attribute}
        if node.op_type == "Conv":
            axis, products = 0, products_of_convolution(weights, attributes.get("group", 1))
        elif weights.ndim != 2:
            continue  # of such a product each matrix is multiplied by another one: no scale per channel
        else:
            axis = 0 if attributes.get("transB") else 1
            products = weights if axis == 0 else weights.T
        limits = unsaturated_limits(products)
        found[node.input[1]] = [{"axis": axis, "rmin": -limit, "rmax": limit} for limit in limits]
    return found


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
