"""Static 8-bit quantization for onnxruntime's CPU kernels: uint8 activations, int8 weights, one scale a channel.

This pairing is what fuses every convolution into an integer kernel; see README.md for what was measured.
"""

import contextlib
import io
import logging
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

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

from components.core.runtime.metadata import strip_metadata
from components.quantize.bias_correction import correct_biases, give_every_layer_a_bias
from components.quantize.float_front import float_front
from components.quantize.observe import Feeds, activation_ranges
from components.quantize.ranges import PERCENTILE

# Named here, so that a newer onnxruntime that knows more of them does not change what a file looks like.
_OPERATORS = [
    "Add", "AveragePool", "Clip", "Concat", "Conv", "ConvTranspose", "Flatten", "Gemm", "GlobalAveragePool",
    "LeakyRelu", "MatMul", "MaxPool", "Mul", "Pad", "Relu", "Reshape", "Resize", "Sigmoid", "Slice", "Split",
    "Squeeze", "Transpose", "Unsqueeze",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Quantized:
    """The int8 graph, how many layers had their bias corrected, and how many convolutions at its front are float."""

    model: onnx.ModelProto
    corrected_layers: int
    float_convolutions: int


def quantize_int8(
    source: Path,
    feeds: Feeds,
    *,
    method: str,
    percentile: float = PERCENTILE,
    threads: int = 1,
    stay_float: Collection[str] = (),
) -> Quantized:
    """Quantize the float32 ONNX file `source`; the same file and feeds give the same bytes.

    Args:
        source: float32 ONNX with a free batch dimension and batch norms folded.
        feeds: calibration batches.
        method: of choosing activation ranges: minmax, percentile or entropy.
        percentile: for that method; percent of the values that the range keeps.
        threads: of onnxruntime during calibration.
        stay_float: kinds of operators that are left as they are; so is the front of a mobile network (`float_front`).
    """
    with tempfile.TemporaryDirectory(prefix="trimtab-quantize-") as folder:
        prepared = Path(folder) / "prepared.onnx"
        with _quiet():
            # Infers shapes and folds constants: the quantizer skips tensors whose type it does not know. onnxruntime's
            # symbolic inference fails on a Resize with scales; onnx's does not, and the files are the same otherwise.
            quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        model = onnx.load(prepared)
    give_every_layer_a_bias(model)
    ranges = activation_ranges(model, feeds, method, percentile=percentile, threads=threads)
    front = float_front(model)
    floating = [*front, *(node.name for node in model.graph.node if node.op_type in stay_float)]
    quantized = _with_integer_weights(model, ranges, floating)
    corrected = correct_biases(quantized, model, feeds, threads=threads)
    _drop_zero_points(quantized)
    _drop_unused_constants(quantized)
    strip_metadata(quantized)
    onnx.checker.check_model(quantized)
    convolutions = {node.name for node in model.graph.node if node.op_type == "Conv"}
    return Quantized(
        model=quantized, corrected_layers=corrected, float_convolutions=len(convolutions.intersection(front))
    )


def _with_integer_weights(
    model: onnx.ModelProto, ranges: dict[str, tuple[float, float]], floating: list[str]
) -> onnx.ModelProto:
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


def _drop_zero_points(model: onnx.ModelProto) -> None:
    """Removes zero points of convolutions' weights and biases, in place: they are 0, the default, and 3 % of a file.

    Activations keep theirs: its type is what makes QuantizeLinear produce uint8. So do matrix products: onnxruntime
    does not fuse one without it.
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    of_convolution = {name for node in model.graph.node if node.op_type == "Conv" for name in node.input[1:]}
    for node in model.graph.node:
        if node.op_type != "DequantizeLinear" or node.output[0] not in of_convolution or len(node.input) < 3:
            continue
        if node.input[0] in constants and not numpy_helper.to_array(constants[node.input[2]]).any():
            del node.input[2:]


def _drop_unused_constants(model: onnx.ModelProto) -> None:
    used = {name for node in model.graph.node for name in node.input} | {value.name for value in model.graph.output}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(sorted(kept, key=lambda tensor: tensor.name))


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
