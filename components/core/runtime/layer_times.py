"""How long each layer takes inside its network, from onnxruntime's own profile.

Inside, because alone it is another layer: a graph of one convolution keeps its weights in the nearest cache and has
its layout converted around it, and a network of sixty fits into no such cache. What is no layer of its own (additions,
activations, pooling, conversions) counts for the layer that ran before it, whose output it reads as a rule.
"""

import json
import re
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from components.core.runtime.latency import Feed
from components.core.runtime.sessions import session_options

_WEIGHTED = ("Conv", "Gemm", "MatMul")
_MARK = re.compile(r"layer(\d+)__")

_ROUNDS = 8
_FEWEST_ROUNDS = 2
DROPPED, TIMED = 4, 8
"""Calls of each file in a round; the dropped ones refill the caches (`latency`)."""


def mark_layers(model: onnx.ModelProto, weights: Sequence[tuple[int, ...]]) -> int:
    """Names nodes and tensors, in place, after the layer that runs last before them; returns how many layers it found.

    Optimizers and quantizers keep such names, or make new ones of them, so that an operator of the graph that runs
    tells its layer.

    Args:
        model: as an exporter writes it: nodes in the order in which the network ran.
        weights: shape of each layer's weights in that order: (out, in per group, *kernel), or (out, in) of a linear
            layer. A layer is the next node with constant weights of its shape.
    """
    constants = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    fixed = {value.name for value in [*model.graph.input, *model.graph.output]} | set(constants) | {""}
    renamed: dict[str, str] = {}
    found = 0
    for number, node in enumerate(model.graph.node):
        if found < len(weights) and node.op_type in _WEIGHTED:
            shapes = {constants.get(name) for name in node.input[:2]}
            # A linear layer becomes a product with the transposed weights, or a Gemm that transposes them.
            found += not shapes.isdisjoint(
                {weights[found], weights[found][::-1]} if len(weights[found]) == 2 else {weights[found]}
            )
        node.input[:] = [renamed.get(name, name) for name in node.input]
        if not found:
            continue
        node.name = f"layer{found - 1}__{number}"
        for place, name in enumerate(node.output):
            if name not in fixed:
                renamed[name] = f"layer{found - 1}__{number}_{place}"
        node.output[:] = [renamed.get(name, name) for name in node.output]
    # Shapes that the exporter noted have the old names; onnxruntime infers them again.
    del model.graph.value_info[:]
    return found


def layer_times(
    files: Mapping[str, bytes], feeds: Mapping[str, Feed], *, layers: int, threads: int, seconds: float
) -> dict[str, list[float]]:
    """Microseconds of each layer of each file, warm: the interquartile mean of calls in alternating blocks.

    Args:
        files: ONNX files with marks (`mark_layers`), by name.
        feeds: what each is called with.
        layers: how many are marked in each.
        threads: of onnxruntime.
        seconds: no round begins later than this, beyond the first `_FEWEST_ROUNDS`.
    """
    with tempfile.TemporaryDirectory(prefix="trimtab-profile-") as folder:
        sessions = {}
        for number, (name, file) in enumerate(files.items()):
            options = session_options(threads=threads)
            options.enable_profiling = True
            options.profile_file_prefix = str(Path(folder) / str(number))
            sessions[name] = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        began, rounds = time.monotonic(), 0
        while rounds < _FEWEST_ROUNDS or (rounds < _ROUNDS and time.monotonic() - began < seconds):
            for name, session in sessions.items():
                for _ in range(DROPPED + TIMED):
                    session.run(None, feeds[name])
            rounds += 1
        profiles = {name: json.loads(Path(session.end_profiling()).read_bytes()) for name, session in sessions.items()}
    return {name: by_layer(profile, rounds, layers) for name, profile in profiles.items()}


def by_layer(profile: Sequence[Mapping[str, Any]], rounds: int, layers: int) -> list[float]:
    """Microseconds of each layer from the events of so many rounds; what runs before the first counts for none."""
    nodes = [one for one in profile if one.get("cat") == "Node" and one["name"].endswith("_kernel_time")]
    calls = rounds * (DROPPED + TIMED)
    per_call, left = divmod(len(nodes), calls)
    assert not left, f"{len(nodes)} operators in {calls} calls"
    durations = np.array([one["dur"] for one in nodes], np.float64).reshape(rounds, DROPPED + TIMED, per_call)
    timed = np.sort(durations[:, DROPPED:].reshape(-1, per_call), axis=0)
    quarter = len(timed) // 4
    # The profile cuts off what is below one microsecond: half of one on average.
    typical = timed[quarter : len(timed) - quarter].mean(axis=0) + 0.5
    times, layer = [0.0] * layers, -1
    for node, duration in zip(nodes[:per_call], typical, strict=True):
        if mark := _MARK.search(node["name"]):
            layer = int(mark[1])
        if layer >= 0:
            times[layer] += float(duration)
    return times
