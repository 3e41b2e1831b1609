"""Which convolutions really run as integers: read from the graph that onnxruntime executes, not from the file.

A quantized file that onnxruntime cannot fuse computes in float with quantize/dequantize steps around it: smaller on
disk and slower than float32. Nothing warns about it, so it is counted here.
"""

import os
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import onnx
import onnxruntime as ort

from components.core.runtime.sessions import session_options

INTEGER_CONVOLUTIONS = {"QLinearConv", "ConvInteger", "ConvTransposeInteger"}
FLOAT_CONVOLUTIONS = {"Conv", "FusedConv", "ConvTranspose", "NhwcFusedConv"}
INTEGER_PRODUCTS = {"QGemm", "QLinearMatMul", "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul"}
FLOAT_PRODUCTS = {"Gemm", "FusedGemm", "MatMul", "FusedMatMul"}
FLOAT = FLOAT_CONVOLUTIONS | FLOAT_PRODUCTS


INTEGER_OPERATORS = {
    "QLinearAdd", "QLinearMul", "QLinearConcat", "QLinearAveragePool", "QLinearGlobalAveragePool", "QLinearSigmoid",
    "QLinearLeakyRelu", "QLinearSoftmax", "QLinearWhere",
}  # fmt: skip
INTEGER = INTEGER_CONVOLUTIONS | INTEGER_PRODUCTS | INTEGER_OPERATORS
MOVES = {
    "Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Shape", "Slice", "Gather", "Cast", "Identity",
    "QuantizeLinear", "DequantizeLinear", "Constant", "ReorderInput", "ReorderOutput",
}  # fmt: skip
"""Operators that compute nothing: they move or convert what others have computed."""


@dataclass(frozen=True, kw_only=True)
class IntegerShare:
    """Convolutions, matrix products and all computing operators of the executed graph, integer of total.

    `floating` names the convolutions and products that are left in float, `floating_operators` the kinds of all
    operators that are, with their number. An operator that works on any type (Resize, MaxPool) is integer where it
    stands between integers.
    """

    convolutions: int
    convolutions_total: int
    products: int
    products_total: int
    operators: int
    operators_total: int
    floating: tuple[str, ...]
    floating_operators: tuple[tuple[str, int], ...]

    def to_json(self) -> dict[str, Any]:
        """JSON-able, with the fields' names."""
        return {
            **asdict(self),
            "floating": list(self.floating),
            "floating_operators": dict(self.floating_operators),
        }


def added(shares: Sequence[IntegerShare]) -> IntegerShare:
    """The counts of several graphs together."""
    kinds: Counter[str] = Counter()
    for share in shares:
        kinds.update(dict(share.floating_operators))
    return IntegerShare(
        convolutions=sum(share.convolutions for share in shares),
        convolutions_total=sum(share.convolutions_total for share in shares),
        products=sum(share.products for share in shares),
        products_total=sum(share.products_total for share in shares),
        operators=sum(share.operators for share in shares),
        operators_total=sum(share.operators_total for share in shares),
        floating=tuple(name for share in shares for name in share.floating),
        floating_operators=tuple(sorted(kinds.items())),
    )


def integer_share(model: str | os.PathLike[str] | bytes) -> IntegerShare:
    """Count what runs as integers in onnxruntime's optimized graph on this machine."""
    graph = _optimized(model).graph
    integers, shapes = _integer_tensors(graph), _shape_tensors(graph)
    counts: Counter[str] = Counter()
    floating: list[str] = []
    kinds: Counter[str] = Counter()
    for node in graph.node:
        if node.op_type in MOVES or set(node.output) <= shapes:
            continue
        is_integer = node.op_type in INTEGER or (node.op_type not in FLOAT and node.input[0] in integers)
        counts["operators_total"] += 1
        counts["operators"] += is_integer
        if not is_integer:
            kinds[node.op_type] += 1
        for kind, whole, half in (
            ("convolutions", INTEGER_CONVOLUTIONS, FLOAT_CONVOLUTIONS),
            ("products", INTEGER_PRODUCTS, FLOAT_PRODUCTS),
        ):
            if node.op_type in whole | half:
                counts[f"{kind}_total"] += 1
                counts[kind] += node.op_type in whole
                floating += [node.name] if node.op_type in half else []
    return IntegerShare(
        convolutions=counts["convolutions"],
        convolutions_total=counts["convolutions_total"],
        products=counts["products"],
        products_total=counts["products_total"],
        operators=counts["operators"],
        operators_total=counts["operators_total"],
        floating=tuple(floating),
        floating_operators=tuple(sorted(kinds.items())),
    )


def _integer_tensors(graph: onnx.GraphProto) -> set[str]:
    """Names of the tensors of 8 bits, as far as operators of any type pass them on."""
    found: set[str] = set()
    for node in graph.node:
        passes_on = node.op_type not in FLOAT and node.op_type != "DequantizeLinear" and node.input
        if node.op_type == "QuantizeLinear" or node.op_type in INTEGER or (passes_on and node.input[0] in found):
            found.update(node.output)
    return found


def _shape_tensors(graph: onnx.GraphProto) -> set[str]:
    """Names of shapes, and of what is computed of shapes and constants alone: no work of the network."""
    found = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        given = {name for name in node.input if name}
        if node.op_type == "Shape" or (given and given <= found):
            found.update(node.output)
    return found


def fused_convolution_share(model: str | os.PathLike[str] | bytes) -> tuple[int, int]:
    """(integer convolutions, all convolutions) in onnxruntime's optimized graph."""
    share = integer_share(model)
    return share.convolutions, share.convolutions_total


def _optimized(model: str | os.PathLike[str] | bytes) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory(prefix="trimtab-graph-") as folder:
        options = session_options(threads=1)
        options.optimized_model_filepath = str(Path(folder) / "optimized.onnx")
        source = model if isinstance(model, bytes) else os.fspath(model)
        ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        return onnx.load(options.optimized_model_filepath)
