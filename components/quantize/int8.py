"""Static 8-bit quantization for onnxruntime's CPU kernels: uint8 activations, int8 weights, one scale per channel.

This pairing is what fuses every convolution into an integer kernel; see README.md for what was measured.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import numpy_helper

from components.core.runtime.float_front import float_front
from components.core.runtime.integer_graph import left_in_float, prepared, with_integers
from components.core.runtime.metadata import strip_metadata
from components.quantize.bias_correction import correct_biases, give_every_layer_a_bias
from components.quantize.observe import Feeds, activation_ranges
from components.quantize.ranges import PERCENTILE


@dataclass(frozen=True, kw_only=True)
class Quantized:
    """The int8 graph, how many layers had their bias corrected, and how many convolutions are float on purpose: at its
    front, or put back for the sake of accuracy."""

    model: onnx.ModelProto
    corrected_layers: int
    float_convolutions: int


@dataclass(frozen=True, kw_only=True)
class Calibrated:
    """A float graph, prepared, with the range of each activation: what all its int8 versions are made from.

    `floating`: nodes that stay float in each of them. `feeds`, `threads`: as `calibrate` was given them.
    """

    model: onnx.ModelProto
    ranges: Mapping[str, tuple[float, float]]
    floating: tuple[str, ...]
    feeds: Feeds
    threads: int

    def integers(self, reverted: Collection[str] = ()) -> Quantized:
        """The int8 graph, with further nodes in float; the same names give the same bytes."""
        quantized = with_integers(self.model, self.ranges, [*self.floating, *reverted])
        corrected = correct_biases(quantized, self.model, self.feeds, threads=self.threads)
        _drop_zero_points(quantized)
        _drop_unused_constants(quantized)
        strip_metadata(quantized)
        onnx.checker.check_model(quantized)
        convolutions = {node.name for node in self.model.graph.node if node.op_type == "Conv"}
        return Quantized(
            model=quantized,
            corrected_layers=corrected,
            float_convolutions=len(convolutions & {*float_front(self.model), *reverted}),
        )


def calibrate(
    source: Path,
    feeds: Feeds,
    *,
    method: str,
    percentile: float = PERCENTILE,
    threads: int = 1,
    stay_float: Collection[str] = (),
) -> Calibrated:
    """Observes the float32 ONNX file `source`; the same file and feeds give the same ranges.

    Args:
        source: float32 ONNX with a free batch dimension and batch norms folded.
        feeds: calibration batches.
        method: of choosing activation ranges: minmax, percentile or entropy.
        percentile: for that method; percent of the values that the range keeps.
        threads: of onnxruntime during calibration.
        stay_float: kinds of operators that are left as they are; so is the front of a mobile network (`float_front`).
    """
    model = prepared(source)
    give_every_layer_a_bias(model)
    return Calibrated(
        model=model,
        ranges=activation_ranges(model, feeds, method, percentile=percentile, threads=threads),
        floating=tuple(left_in_float(model, stay_float)),
        feeds=feeds,
        threads=threads,
    )


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
