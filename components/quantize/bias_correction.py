"""Undo the shift that rounding the weights gives to every channel's mean.

A rounded convolution computes Ŵx = Wx − ΔWx. Activations behind a ReLU have large means, so E[ΔWx] is not zero: every
channel of the layer is shifted, and the shifts add up through the network. Adding E[ΔWx], measured on the calibration
images, to the bias removes them at no cost at run time (Nagel et al. 2019, "Data-free quantization through weight
equalization and bias correction", section 4.2, arXiv:1906.04721; here with measured means).

On EfficientNet-Lite0 fine-tuned at 64 px this alone took the logits' signal-to-noise ratio from 12 to 20 dB.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from components.core.runtime.sessions import open_session
from components.quantize.observe import Feeds, num_rows

WEIGHTED = {"Conv", "Gemm"}


def give_every_layer_a_bias(model: onnx.ModelProto) -> None:
    """Adds a bias of zeros to each convolution and product that has none, in place: the correction needs a place."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type not in WEIGHTED or node.input[1] not in constants:
            continue
        if len(node.input) > 2 and node.input[2]:
            continue
        shape = constants[node.input[1]].dims
        channels = shape[0] if node.op_type == "Conv" or _attribute(node, "transB", 0) else shape[1]
        name = f"{node.input[1]}_bias"
        model.graph.initializer.append(numpy_helper.from_array(np.zeros(channels, np.float32), name))
        del node.input[2:]
        node.input.append(name)


def correct_biases(quantized: onnx.ModelProto, model: onnx.ModelProto, feeds: Feeds, *, threads: int) -> int:
    """Adds E[(W − Ŵ)x] to the int32 biases of `quantized`, in place.

    Args:
        quantized: the Q/DQ graph that onnxruntime's quantizer made of `model`; its weights and biases keep their names.
        model: the float graph.
        feeds: calibration batches; x are the float graph's activations.
        threads: of onnxruntime.

    Returns:
        how many layers were corrected.
    """
    rounded, biases = _rounded_weights(quantized), _biases(quantized)
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    layers = [
        node
        for node in model.graph.node
        if node.op_type in WEIGHTED and node.input[1] in rounded and len(node.input) > 2 and node.input[2] in biases
    ]
    if not layers:
        return 0
    errors = {node.input[1]: weights[node.input[1]] - rounded[node.input[1]] for node in layers}
    for node, shift in zip(layers, _mean_outputs(model, layers, errors, feeds, threads), strict=True):
        tensor, scale = biases[node.input[2]]
        corrected = numpy_helper.to_array(tensor).astype(np.int64) + np.rint(shift / scale).astype(np.int64)
        limit = np.iinfo(np.int32)
        tensor.CopyFrom(numpy_helper.from_array(corrected.clip(limit.min, limit.max).astype(np.int32), tensor.name))
    return len(layers)


def _mean_outputs(
    model: onnx.ModelProto, layers: list[onnx.NodeProto], errors: dict[str, np.ndarray], feeds: Feeds, threads: int
) -> list[np.ndarray]:
    """E[ΔWx] of each layer, `(channels,)`: a twin of the layer with the weights ΔW, averaged inside the graph."""
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    for number, node in enumerate(layers):
        # No exporter gives such names; "mean_1" is one of torch's.
        weight, output, mean, along = (
            f"bias_correction/{name}_{number}" for name in ("error", "shift", "mean", "axes")
        )
        probe.graph.initializer.append(numpy_helper.from_array(errors[node.input[1]].astype(np.float32), weight))
        axes = [0, 2, 3] if node.op_type == "Conv" else [0]
        if (rank := errors[node.input[1]].ndim) != 4 and node.op_type == "Conv":
            axes = [0, *range(2, rank)]
        probe.graph.initializer.append(numpy_helper.from_array(np.array(axes, np.int64), along))
        twin = onnx.NodeProto()
        twin.CopyFrom(node)
        twin.name, twin.input[:], twin.output[:] = f"error_of_{number}", [node.input[0], weight], [output]
        probe.graph.node.append(twin)
        probe.graph.node.append(helper.make_node("ReduceMean", [output, along], [mean], keepdims=0))
        probe.graph.output.append(helper.make_tensor_value_info(mean, TensorProto.FLOAT, None))
    session = open_session(probe.SerializeToString(), threads=threads)
    totals: list[np.ndarray] = []
    rows = 0
    for feed in feeds():
        means = [value.astype(np.float64) * num_rows(feed) for value in session.run(None, feed)]
        totals = [total + mean for total, mean in zip(totals, means, strict=True)] if totals else means
        rows += num_rows(feed)
    return [total / rows for total in totals]


def _rounded_weights(quantized: onnx.ModelProto) -> dict[str, np.ndarray]:
    """The dequantized weights, by the name that each had in the float graph."""
    found = {}
    for name, (tensor, scale, axis) in _dequantized(quantized).items():
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.int8:
            shape = [1] * values.ndim
            if scale.ndim:
                shape[axis] = -1
            found[name] = values.astype(np.float32) * scale.reshape(shape)
    return found


def _biases(quantized: onnx.ModelProto) -> dict[str, tuple[onnx.TensorProto, np.ndarray]]:
    """int32 tensor and scale of each bias, by the name it had in the float graph."""
    return {
        name: (tensor, scale)
        for name, (tensor, scale, _) in _dequantized(quantized).items()
        if tensor.data_type == TensorProto.INT32
    }


def _dequantized(quantized: onnx.ModelProto) -> dict[str, tuple[onnx.TensorProto, np.ndarray, int]]:
    constants = {tensor.name: tensor for tensor in quantized.graph.initializer}
    found = {}
    for node in quantized.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in constants and node.input[1] in constants:
            # onnxruntime's quantizer names them "<original>_quantized".
            original = node.input[0].removesuffix("_quantized")
            scale = numpy_helper.to_array(constants[node.input[1]])
            found[original] = (constants[node.input[0]], scale, _attribute(node, "axis", 1))
    return found


def _attribute(node: onnx.NodeProto, name: str, default: int) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == name), default)
