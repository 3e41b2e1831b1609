"""Which convolutions really run as integers: read from the graph that onnxruntime executes, not from the file.

A quantized file that onnxruntime cannot fuse computes in float with quantize/dequantize steps around it: smaller on
disk and slower than float32. Nothing warns about it, so it is counted here.
"""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnxruntime as ort

from components.core.runtime.sessions import session_options

INTEGER_CONVOLUTIONS = {"QLinearConv", "ConvInteger", "ConvTransposeInteger"}
FLOAT_CONVOLUTIONS = {"Conv", "FusedConv", "ConvTranspose", "NhwcFusedConv"}
INTEGER_PRODUCTS = {"QGemm", "QLinearMatMul", "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul"}
FLOAT_PRODUCTS = {"Gemm", "FusedGemm", "MatMul", "FusedMatMul"}


@dataclass(frozen=True, kw_only=True)
class IntegerShare:
    """Convolutions and matrix products of the executed graph, integer of total; names of those left in float."""

    convolutions: int
    convolutions_total: int
    products: int
    products_total: int
    floating: tuple[str, ...]


def integer_share(model: str | os.PathLike[str] | bytes) -> IntegerShare:
    """Count integer convolutions and matrix products in onnxruntime's optimized graph on this machine."""
    convolutions = products = floating_convolutions = floating_products = 0
    floating: list[str] = []
    for node in _optimized_nodes(model):
        if node.op_type in INTEGER_CONVOLUTIONS:
            convolutions += 1
        elif node.op_type in INTEGER_PRODUCTS:
            products += 1
        elif node.op_type in FLOAT_CONVOLUTIONS:
            floating_convolutions += 1
            floating.append(node.name)
        elif node.op_type in FLOAT_PRODUCTS:
            floating_products += 1
            floating.append(node.name)
    return IntegerShare(
        convolutions=convolutions,
        convolutions_total=convolutions + floating_convolutions,
        products=products,
        products_total=products + floating_products,
        floating=tuple(floating),
    )


def fused_convolution_share(model: str | os.PathLike[str] | bytes) -> tuple[int, int]:
    """(integer convolutions, all convolutions) in onnxruntime's optimized graph."""
    share = integer_share(model)
    return share.convolutions, share.convolutions_total


def _optimized_nodes(model: str | os.PathLike[str] | bytes) -> list[onnx.NodeProto]:
    with tempfile.TemporaryDirectory(prefix="trimtab-graph-") as folder:
        options = session_options(threads=1)
        options.optimized_model_filepath = str(Path(folder) / "optimized.onnx")
        source = model if isinstance(model, bytes) else os.fspath(model)
        ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        return list(onnx.load(options.optimized_model_filepath).graph.node)
