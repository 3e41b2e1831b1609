"""Speed and size of segmentation networks in onnxruntime: heads, widths, input sizes, pruned and int8.

    nice python tests/benchmarks/segmentation_speed.py --rounds 60

Weights are random and so is the calibration: speed and size only, no accuracy. Method: one thread; all sessions of one
input size are open together and run in turn, forwards and backwards; the figure is the 20th percentile of the
process's CPU time per call, which a busy machine disturbs least. Ratios are against the float32 export of the
unpruned network of the same head and width at the baseline's input size, in the same run.
"""

import argparse
import platform
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
from torch import nn

from components.core.models.complexity import count_macs
from components.core.models.inputs import BATCH, Graph, InputSpec, OutputSpec
from components.core.pruning.costs import layer_costs
from components.core.pruning.groups import PruningGraph
from components.core.pruning.plan import macs_per_channel, plan_removal, total_macs
from components.core.runtime import integer_graph
from components.core.runtime.fusion import integer_share
from components.core.runtime.onnx_export import export_onnx
from components.core.runtime.sessions import open_session
from components.core.tasks.segmentation.networks import SegmentationNetwork, build
from components.prune.importance import per_cost
from components.prune.pruning import MAX_RATIO, magnitude_importance
from components.quantize.int8 import calibrate

BACKBONE = "timm:tf_efficientnet_lite0"
CLASSES = 11
BATCHES = (1, 8)


@dataclass(frozen=True, kw_only=True)
class Variant:
    """head, width and input size of an int8 network, and the fraction of the MACs that pruning leaves."""

    head: str
    width: int
    size: int
    macs: float

    @property
    def name(self) -> str:
        return f"{self.head} {self.width}, {self.size} px, {self.macs:.0%} of the MACs"


def variants(size: int) -> list[Variant]:
    """The variants measured against float32 at `size`."""
    smaller, smallest = {96: (80, 64), 128: (96, 80)}[size]
    made = [Variant(head="fcn", width=64, size=size, macs=macs) for macs in (1.0, 0.55)]
    made += [Variant(head="lraspp", width=width, size=size, macs=macs) for width in (96, 128) for macs in (1.0, 0.55)]
    made += [Variant(head="lraspp", width=64, size=size, macs=macs) for macs in (1.0, 0.7, 0.55, 0.45)]
    made += [Variant(head="lraspp", width=64, size=smaller, macs=macs) for macs in (0.7, 0.55)]
    made += [Variant(head="lraspp", width=64, size=smallest, macs=macs) for macs in (1.0, 0.7, 0.55)]
    return made


def network(head: str, width: int) -> SegmentationNetwork:
    return build(BACKBONE, CLASSES, head=head, seed=0, width=width).eval()


def graph_of(module: nn.Module, size: int) -> Graph:
    images = InputSpec(name="images", dtype="float32", shape=(BATCH, 3, size, size))
    logits = OutputSpec(name="logits", shape=(BATCH, CLASSES, size, size))
    return Graph(module=module, inputs=(images,), outputs=(logits,))


def pruned(module: SegmentationNetwork, fraction: float, size: int) -> nn.Module:
    """The network with so much of its MACs, by magnitude over √MACs, as the stage prunes without data."""
    if fraction == 1:
        return module
    inputs = graph_of(module, size).inputs
    graph = PruningGraph(module, inputs=inputs, output_layers=module.output_layers)
    groups = graph.groups()
    layers = layer_costs(module, groups, inputs=inputs)
    scores = magnitude_importance(module, groups)
    ranked = {name: per_cost(score, macs_per_channel(layers, name)) for name, score in scores.items()}
    target = fraction * count_macs(module, inputs)
    graph.remove(plan_removal(ranked, partial(total_macs, layers), target=target, round_to=8, max_ratio=MAX_RATIO))
    return module.eval()


def quantized(source: Path, size: int) -> bytes:
    """The int8 file; the matrix products of the last upsampling stay in float, where they take half of the time."""
    quantizer = integer_graph.QDQQuantizer

    def in_float(model, **options):
        options["nodes_to_exclude"] = [node.name for node in model.graph.node if node.op_type == "MatMul"]
        return quantizer(model, **options)

    def images() -> Iterator[dict[str, np.ndarray]]:
        yield {"images": np.random.default_rng(0).standard_normal((8, 3, size, size), dtype=np.float32)}

    integer_graph.QDQQuantizer = in_float
    try:
        return calibrate(source, images, method="minmax").integers().model.SerializeToString(deterministic=True)
    finally:
        integer_graph.QDQQuantizer = quantizer


def cpu_milliseconds(sessions: dict[str, ort.InferenceSession], batch: int, rounds: int) -> dict[str, float]:
    """20th percentile of the CPU time per call of each session, in turn."""
    rng = np.random.default_rng(0)
    feeds = {}
    for name, session in sessions.items():
        shape = [batch, *session.get_inputs()[0].shape[1:]]
        feeds[name] = {"images": rng.standard_normal(shape, dtype=np.float32)}
    times: dict[str, list[float]] = {name: [] for name in sessions}
    for number in range(rounds + 3):
        for name in list(sessions)[:: 1 if number % 2 else -1]:
            start = time.process_time_ns()
            sessions[name].run(None, feeds[name])
            if number >= 3:
                times[name].append((time.process_time_ns() - start) / 1e6)
    return {name: float(np.percentile(values, 20)) for name, values in times.items()}


def measure(size: int, rounds: int, folder: Path) -> None:
    sessions: dict[str, ort.InferenceSession] = {}
    bytes_of: dict[str, int] = {}
    listed = variants(size)
    for head, width in sorted({(variant.head, variant.width) for variant in listed}):
        name = f"{head} {width}"
        export_onnx(graph_of(network(head, width), size), folder / "float.onnx")
        data = (folder / "float.onnx").read_bytes()
        sessions[name], bytes_of[name] = open_session(data), len(data)
    for variant in listed:
        module = pruned(network(variant.head, variant.width), variant.macs, size)
        export_onnx(graph_of(module, variant.size), folder / "v.onnx")
        data = quantized(folder / "v.onnx", variant.size)
        sessions[variant.name], bytes_of[variant.name] = open_session(data), len(data)
        if variant.macs == 1 and variant.size == size:
            share = integer_share(data)
            left = ", ".join(f"{count} {kind}" for kind, count in share.floating_operators)
            print(f"  {variant.name}: {share.operators} of {share.operators_total} operators integer, not: {left}")
    figures = {batch: cpu_milliseconds(sessions, batch, rounds) for batch in BATCHES}
    print(f"\n{size} px baseline | float32 -> int8 ms, ratio: batch {BATCHES[0]} | batch {BATCHES[1]} | smaller")
    for variant in listed:
        base = f"{variant.head} {variant.width}"
        columns = []
        for batch in BATCHES:
            before, after = figures[batch][base], figures[batch][variant.name]
            columns.append(f"{before:.2f} -> {after:.2f}, {before / after:.2f}x")
        smaller = bytes_of[base] / bytes_of[variant.name]
        print(
            f"{variant.name} | {' | '.join(columns)} | {smaller:.1f}x ({bytes_of[variant.name] / 1e6:.2f} MB)",
            flush=True,
        )


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    known = [flag for flag in ("avx2", "avx512f", "avx512_vnni", "amx_int8") if flag in flags]
    return f"{names[0] if names else platform.processor()} ({', '.join(known)})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--sizes", type=int, nargs="+", default=[96, 128], choices=[96, 128])
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{processor()}, onnxruntime {ort.__version__}, one thread, 20th percentile of CPU time, interleaved")
    with tempfile.TemporaryDirectory(prefix="trimtab-speed-") as folder:
        for size in options.sizes:
            measure(size, options.rounds, Path(folder))


if __name__ == "__main__":
    main()
