"""Eight bits for networks of matrix products: int8 weights, activations quantized as they come, nothing to calibrate.

A product with constant weights becomes `DynamicQuantizeLinear` and `MatMulInteger`, with one scale per column of the
weights; onnxruntime fuses them into one kernel. A table that rows are gathered from becomes int8 as well. A table that
is also the weights of a product (a tied embedding) is stored once: rows of the table are columns of the product's
weights, and are gathered from there.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from components.core.runtime.metadata import strip_metadata
from components.core.runtime.saturation import unsaturated_limits

DYNAMIC, WEIGHTS = "dynamic", "weights"
KINDS = (DYNAMIC, WEIGHTS)
_LEVELS = 127
_LEAST_SIZE = 1024
"""Elements below which a table or a matrix stays float: scales and operators would outweigh it."""


@dataclass(frozen=True, kw_only=True)
class Columns:
    """int8 `(K, N)` and float32 scales `(N,)`: `values · scales` is what they stand for."""

    values: np.ndarray
    scales: np.ndarray


def quantize_columns(weights: np.ndarray, *, integer: bool = False) -> Columns:
    """Symmetric int8 per column of float `(K, N)`.

    The largest |w| becomes ±127, or for products that are summed as integers the limit with which no sum saturates
    (`saturation`).
    """
    largest = unsaturated_limits(weights.T) if integer else np.abs(weights).max(axis=0)
    scales = (np.where(largest > 0, largest, 1.0) / _LEVELS).astype(np.float32)
    return Columns(values=np.rint(weights / scales).clip(-_LEVELS, _LEVELS).astype(np.int8), scales=scales)


def products(model: onnx.ModelProto) -> list[str]:
    """Names of the constant weights of the graph's products, in the order of the nodes: what can be int8."""
    draft = _Draft(model)
    return list(dict.fromkeys(product.weight for node in model.graph.node if (product := draft.product(node))))


def quantize_dynamic(
    model: onnx.ModelProto, *, kind: str = DYNAMIC, stay_float: Collection[str] = ()
) -> onnx.ModelProto:
    """The graph with int8 weights; the one given is left alone.

    Args:
        model: float32 graph.
        kind: "dynamic": products compute with integers; "weights": weights are stored as int8 and products are float.
        stay_float: names of weights, as in `products`, that are left as they are.

    Raises:
        ValueError: an unknown kind, or a name that is no product's weights.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown kind {kind!r} of int8; known: {', '.join(KINDS)}")
    if unknown := sorted(set(stay_float) - set(products(model))):
        raise ValueError(f"{unknown[0]!r} is not the weights of a product")
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    draft = _Draft(copied)
    gathers = []
    for node in copied.graph.node:
        product = draft.product(node)
        if product is not None and product.weight not in stay_float:
            draft.replace_product(node, product, integer=kind == DYNAMIC)
        elif draft.is_table(node):
            gathers.append(len(draft.nodes))
            draft.nodes.append(node)
        else:
            draft.nodes.append(node)
    # After all products, so that a table finds the product that shares it.
    for place in reversed(gathers):
        node = draft.nodes[place]
        if node.input[0] not in stay_float:
            draft.nodes[place : place + 1] = draft.gathered(node)
    del copied.graph.node[:]
    copied.graph.node.extend(draft.nodes)
    copied.graph.initializer.extend(draft.added)
    _drop_unused(copied.graph)
    strip_metadata(copied)
    onnx.checker.check_model(copied)
    return copied


@dataclass(frozen=True, kw_only=True)
class _Product:
    """`x · W (+ bias)`; `weight` names the constant, stored `(N, K)` if `flipped`."""

    weight: str
    flipped: bool
    bias: str = ""


@dataclass
class _Draft:
    """The new nodes and constants of one graph, in the making."""

    model: onnx.ModelProto
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    added: list[onnx.TensorProto] = field(default_factory=list)

    def __post_init__(self) -> None:
        graph = self.model.graph
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self.transposed = {
            node.output[0]: node.input[0]
            for node in graph.node
            if node.op_type == "Transpose"
            and node.input[0] in self.constants
            and _attribute(node, "perm") in ([1, 0], [])
        }
        self.stored: dict[tuple[str, bool], tuple[str, str]] = {}
        self.rows: dict[str, tuple[str, str]] = {}
        self.quantized: dict[str, tuple[str, str, str]] = {}
        inferred = onnx.shape_inference.infer_shapes(self.model).graph
        self.ranks = {
            value.name: len(value.type.tensor_type.shape.dim)
            for value in (*inferred.input, *inferred.value_info, *inferred.output)
            if value.type.tensor_type.HasField("shape")
        }

    def product(self, node: onnx.NodeProto) -> _Product | None:
        """The kind of product that the node is; None for another node, or a product of two activations."""
        if node.op_type == "MatMul":
            name, bias, flipped = node.input[1], "", False
        elif node.op_type == "Gemm" and _attribute(node, "transA") != [1]:
            if _attribute(node, "alpha") not in ([], [1.0]) or _attribute(node, "beta") not in ([], [1.0]):
                return None
            name, flipped = node.input[1], _attribute(node, "transB") == [1]
            bias = node.input[2] if len(node.input) > 2 else ""
        else:
            return None
        if name in self.transposed:
            name, flipped = self.transposed[name], not flipped
        tensor = self.constants.get(name)
        if tensor is None or not _large_matrix(tensor):
            return None
        return _Product(weight=name, flipped=flipped, bias=bias)

    def is_table(self, node: onnx.NodeProto) -> bool:
        """Whether rows of a constant float matrix are gathered, by numbers whose rank is known."""
        tensor = self.constants.get(node.input[0]) if node.op_type == "Gather" else None
        if tensor is None or not _large_matrix(tensor) or node.input[1] not in self.ranks:
            return False
        return _attribute(node, "axis") in ([], [0])

    def replace_product(self, node: onnx.NodeProto, product: _Product, *, integer: bool) -> None:
        values, scales = self._stored(product.weight, flipped=product.flipped, integer=integer)
        output = node.output[0]
        plain = f"{output}_product" if product.bias else output
        if integer:
            whole, scale, zero = self._integers(node.input[0])
            self._add("MatMulInteger", [whole, values, zero], f"{output}_integer")
            self._add("Cast", [f"{output}_integer"], f"{output}_sum", to=TensorProto.FLOAT)
            self._add("Mul", [scale, scales], f"{output}_scale")
            self._add("Mul", [f"{output}_sum", f"{output}_scale"], plain)
        else:
            self._add("DequantizeLinear", [values, scales], f"{output}_weights", axis=1)
            self._add("MatMul", [node.input[0], f"{output}_weights"], plain)
        if product.bias:
            self._add("Add", [plain, product.bias], output)

    def gathered(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        """Nodes for rows of an int8 table, which are columns of a product's weights where one shares the table."""
        name, numbers, output = node.input[0], node.input[1], node.output[0]
        rank = self.ranks[numbers]
        gathered, scale = f"{output}_int8", f"{output}_scale"
        start = len(self.nodes)
        if (name, True) in self.stored:
            values, scales = self.stored[name, True]
            self._add("Gather", [values, numbers], f"{output}_columns", axis=1)
            self._add("Transpose", [f"{output}_columns"], gathered, perm=[*range(1, rank + 1), 0])
        else:
            values, scales = self._stored_rows(name)
            self._add("Gather", [values, numbers], gathered, axis=0)
        self._add("Gather", [scales, numbers], f"{scale}_flat", axis=0)
        self._add("Unsqueeze", [f"{scale}_flat", self._constant(f"{scale}_axis", np.array([rank]))], scale)
        self._add("Cast", [gathered], f"{output}_float", to=TensorProto.FLOAT)
        self._add("Mul", [f"{output}_float", scale], output)
        nodes = self.nodes[start:]
        del self.nodes[start:]
        return nodes

    def _stored(self, name: str, *, flipped: bool, integer: bool) -> tuple[str, str]:
        """Names of int8 columns and of their scales, made once for a constant; `flipped`: it holds the transpose."""
        key = (name, flipped)
        if key not in self.stored:
            weights = numpy_helper.to_array(self.constants[name])
            columns = quantize_columns(weights.T if flipped else weights, integer=integer)
            self.stored[key] = (
                self._constant(f"{name}_int8{'_flipped' * flipped}", columns.values),
                self._constant(f"{name}_scales{'_flipped' * flipped}", columns.scales),
            )
        return self.stored[key]

    def _stored_rows(self, name: str) -> tuple[str, str]:
        if name not in self.rows:
            columns = quantize_columns(numpy_helper.to_array(self.constants[name]).T)
            self.rows[name] = (
                self._constant(f"{name}_rows", columns.values.T),
                self._constant(f"{name}_row_scales", columns.scales),
            )
        return self.rows[name]

    def _constant(self, name: str, values: np.ndarray) -> str:
        self.added.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def _add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> None:
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))

    def _integers(self, name: str) -> tuple[str, str, str]:
        """uint8, scale and zero point of an activation, made once for all products that read it."""
        if name not in self.quantized:
            names = (f"{name}_uint8", f"{name}_uint8_scale", f"{name}_uint8_zero")
            self.nodes.append(helper.make_node("DynamicQuantizeLinear", [name], list(names)))
            self.quantized[name] = names
        return self.quantized[name]


def _large_matrix(tensor: onnx.TensorProto) -> bool:
    size = int(np.prod(tensor.dims)) if len(tensor.dims) == 2 else 0
    return tensor.data_type == TensorProto.FLOAT and size >= _LEAST_SIZE


def _attribute(node: onnx.NodeProto, name: str) -> list[object]:
    """Values of an attribute as a list, empty where it is not given."""
    for attribute in node.attribute:
        if attribute.name == name:
            value = helper.get_attribute_value(attribute)
            return list(value) if isinstance(value, list | tuple) else [value]
    return []


def _drop_unused(graph: onnx.GraphProto) -> None:
    """Removes nodes and constants that nothing reads, in place."""
    wanted = {value.name for value in graph.output}
    kept = []
    for node in reversed(graph.node):
        if wanted & set(node.output):
            kept.append(node)
            wanted.update(node.input)
    constants = sorted((tensor for tensor in graph.initializer if tensor.name in wanted), key=lambda one: one.name)
    del graph.node[:], graph.initializer[:]
    graph.node.extend(reversed(kept))
    graph.initializer.extend(constants)
