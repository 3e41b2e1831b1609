"""Run calibration images through the float graph and keep statistics of its activations, never the activations.

Memory is flat in the number of images: two passes, the first for the smallest and largest value of each tensor, the
second for its histogram; batches shrink with the size of the network's activations.
"""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper

from components.core.runtime.sessions import open_session
from components.quantize.ranges import Histogram, choose_range, count_values

Feed = dict[str, np.ndarray]
"""The inputs of a graph by name, each `(N, …)`."""

Feeds = Callable[[], Iterable[Feed]]
"""Gives the calibration batches each time it is called."""

MEMORY_BYTES = 128 * 1024 * 1024
"""Activations that one run may return."""

_BOUNDED = {"Relu", "Clip"}


def activation_ranges(
    model: onnx.ModelProto, feeds: Feeds, method: str, *, percentile: float, threads: int
) -> dict[str, tuple[float, float]]:
    """The range of every float activation of `model`, by tensor name.

    Args:
        model: float32, shapes inferred (`quant_pre_process`).
        feeds: calibration batches.
        method: see `choose_range`; an input's range is always what was seen, since images hold 8 bits anyway.
        percentile: for that method.
        threads: of onnxruntime.
    """
    names, absorbed = _observed(model)
    limits = _limits(model, names, feeds, threads)
    ranges = {name: (min(low, 0.0), max(high, 0.0)) for name, (low, high) in limits.items()}
    if method != "minmax":
        given = {value.name for value in model.graph.input}
        inner = [name for name in names if name not in given]
        for name, histogram in _histograms(model, inner, limits, feeds, threads).items():
            ranges[name] = choose_range(histogram, method, percentile=percentile)
    # Backwards, because the tensor behind an activation function may itself stand before another one.
    for name, bounded in reversed(absorbed.items()):
        ranges[name] = ranges[bounded]
    return ranges


def _observed(model: onnx.ModelProto) -> tuple[list[str], dict[str, str]]:
    """Names to observe, and names whose only reader is an activation function: they take the range behind it.

    In the order of the graph. An output of the graph is read by the caller as well.

    onnxruntime folds such a function into the convolution's output range, where clipping does its work for nothing.
    """
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    floats = {value.name for value in model.graph.value_info if value.type.tensor_type.elem_type == TensorProto.FLOAT}
    outputs = {value.name for value in model.graph.output}
    floats |= outputs
    names, absorbed = [value.name for value in model.graph.input if _is_float(value)], {}
    for node in model.graph.node:
        for name in node.output:
            following = readers.get(name, [])
            if name not in floats:
                continue
            bounded = len(following) == 1 and following[0].op_type in _BOUNDED and following[0].input[0] == name
            if bounded and name not in outputs:
                absorbed[name] = following[0].output[0]
            else:
                names.append(name)
    return names, absorbed


def _limits(model: onnx.ModelProto, names: list[str], feeds: Feeds, threads: int) -> dict[str, tuple[float, float]]:
    """(smallest, largest) value of each tensor; computed inside the graph, so that only scalars come out."""
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    outputs = []
    for number, name in enumerate(names):
        for kind in ("ReduceMin", "ReduceMax"):
            output = f"{kind}_{number}"
            probe.graph.node.append(helper.make_node(kind, [name], [output], keepdims=0))
            outputs.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, []))
    del probe.graph.output[:]
    probe.graph.output.extend(outputs)
    session = open_session(probe.SerializeToString(), threads=threads)
    low, high = np.full(len(names), np.inf), np.full(len(names), -np.inf)
    for feed in feeds():
        found = np.array(session.run(None, feed), dtype=np.float64).reshape(len(names), 2)
        low, high = np.minimum(low, found[:, 0]), np.maximum(high, found[:, 1])
    return {name: (float(low[i]), float(high[i])) for i, name in enumerate(names)}


def _histograms(
    model: onnx.ModelProto,
    names: list[str],
    limits: dict[str, tuple[float, float]],
    feeds: Feeds,
    threads: int,
) -> dict[str, Histogram]:
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    probe.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
    session = open_session(probe.SerializeToString(), threads=threads)
    size = max(
        1, MEMORY_BYTES // max(1, _bytes_per_row(model, names) or _measured_bytes_per_row(session, names, feeds))
    )
    counts: dict[str, np.ndarray] = {}
    for feed in _smaller(feeds(), size):
        for name, values in zip(names, session.run(names, feed), strict=True):
            found = count_values(values, *limits[name])
            counts[name] = counts[name] + found if name in counts else found
    return {name: Histogram(*limits[name], counts[name]) for name in names}


def _bytes_per_row(model: onnx.ModelProto, names: list[str]) -> int | None:
    """Of the tensors `names`, from their shapes; None where the inputs have other free dimensions than the batch."""
    if any(not dim.dim_value for value in model.graph.input for dim in value.type.tensor_type.shape.dim[1:]):
        return None
    wanted, total = set(names), 0
    for value in (*model.graph.value_info, *model.graph.output):
        if value.name in wanted:
            sizes = [dim.dim_value or 1 for dim in value.type.tensor_type.shape.dim[1:]]
            total += 4 * int(np.prod(sizes))
    return total


def _measured_bytes_per_row(session: ort.InferenceSession, names: list[str], feeds: Feeds) -> int:
    """The same from the first row of the feeds."""
    first = next(iter(_smaller(feeds(), 1)))
    return sum(values.nbytes for values in session.run(names, first))


def _smaller(feeds: Iterable[Feed], size: int) -> Iterator[Feed]:
    for feed in feeds:
        for start in range(0, num_rows(feed), size):
            yield {name: values[start : start + size] for name, values in feed.items()}


def num_rows(feed: Feed) -> int:
    """How many rows a feed has."""
    return len(next(iter(feed.values())))


def _is_float(value: onnx.ValueInfoProto) -> bool:
    return bool(value.type.tensor_type.elem_type == TensorProto.FLOAT)
