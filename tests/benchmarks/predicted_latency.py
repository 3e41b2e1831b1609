"""Predicted against measured latency: networks of random widths, as int8 files with their float front.

    nice python tests/benchmarks/predicted_latency.py --networks 20

The table is measured as the prune stage measures it; then each random network, in which every prunable group keeps a
random multiple of 16, is made into a file the same way, and timed warm in alternating blocks (`runtime.latency`) beside
the whole network. Random weights: time only. Predicted and measured are of one process, some seconds apart, in which a
shared machine changes its speed: microseconds show that, parts of the whole network's time do not.
"""

import argparse
import copy
import random
import time
from statistics import median

import onnxruntime as ort
import timm
import torch

from components.core.models.architecture import apply_surgery
from components.core.models.inputs import BATCH, Graph, InputSpec, OutputSpec, examples
from components.core.pruning.costs import layer_costs
from components.core.pruning.groups import PruningGraph
from components.core.pruning.latency_table import file_for_timing, measure_table
from components.core.pruning.member import cuts_of
from components.core.pruning.plan import MAX_RATIO, block_sizes, total_macs
from components.core.runtime.host import describe_host
from components.core.runtime.latency import measure
from components.core.runtime.sessions import open_session

ROUND_TO = 16
CLASSES = 10
HEADS = ("classifier", "fc", "head", "head.fc")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="tf_efficientnet_lite0", help="of timm")
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--networks", type=int, default=20)
    parser.add_argument("--scheme", default="int8", choices=("int8", "float32"))
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    draw = random.Random(0)

    torch.manual_seed(0)
    module = timm.create_model(asked.network, num_classes=CLASSES).eval()
    for part in module.modules():
        # Equal biases would be one tensor of the file, and two layers that share one may not both run as integers.
        if isinstance(part, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(part.bias, std=0.2)
    inputs = (InputSpec(name="images", dtype="float32", shape=(BATCH, 3, asked.size, asked.size)),)

    def graph_of(network: torch.nn.Module) -> Graph:
        return Graph(module=network, inputs=inputs, outputs=(OutputSpec(name="logits", shape=(BATCH, CLASSES)),))

    module.requires_grad_(True)
    groups = PruningGraph(module, inputs=inputs, output_layers=HEADS).groups()
    layers = layer_costs(module, groups, inputs=inputs)
    began = time.monotonic()
    made = {"scheme": asked.scheme, "stay_float": ()}
    table = measure_table(module, groups, layers, graph_of=graph_of, round_to=ROUND_TO, threads=asked.threads, **made)
    print(
        f"{describe_host()['processor']}, onnxruntime {ort.__version__}, {asked.threads} thread(s), {asked.scheme}, "
        f"{asked.network} at {asked.size} px: {len(layers)} layers at {len(table.layers[0].points)} widths measured in "
        f"{time.monotonic() - began:.0f} s; rest {table.rest_us:.0f} µs"
    )

    sessions, predicted, macs = {}, {}, {}
    for number in range(asked.networks + 1):
        removed = {}
        for group in groups:
            sizes = block_sizes(group.channels, round_to=ROUND_TO, max_ratio=MAX_RATIO)
            removed[group.name] = sum(sizes[: draw.randint(0, len(sizes))]) if number else 0
        narrow = copy.deepcopy(module)
        apply_surgery(narrow, cuts_of(narrow, groups, {name: range(count) for name, count in removed.items()}))
        name = f"random {number}" if number else "whole"
        sessions[name] = open_session(file_for_timing(graph_of(narrow), narrow, layers, **made), threads=asked.threads)
        predicted[name] = table.total_us(layers, removed)
        macs[name] = total_macs(layers, removed) / total_macs(layers, {})
    feed = examples(inputs, {BATCH: 1})
    found = measure(sessions, lambda batch: feed, rounds=64)

    print("network | MACs left | predicted µs | measured µs | predicted × whole | measured × whole (interval) | error")
    absolute, relative = [], []
    for name in sessions:
        measured = found.latencies[name].p50_ms * 1000
        said = predicted[name] / predicted["whole"]
        if name == "whole":
            print(f"whole | 100% | {predicted[name]:.0f} | {measured:.0f}")
            continue
        ratio = found.ratios[name]
        absolute.append(predicted[name] / measured - 1)
        relative.append(said * ratio.value - 1)
        print(
            f"{name} | {macs[name]:.0%} | {predicted[name]:.0f} | {measured:.0f} | {said:.3f} | {1 / ratio.value:.3f} "
            f"({1 / ratio.high:.3f} to {1 / ratio.low:.3f}) | {relative[-1]:+.1%}"
        )
    for what, errors in (("µs", absolute), ("parts of the whole", relative)):
        sizes = sorted(map(abs, errors))
        print(
            f"error in {what}: median {median(sizes):.1%}, largest {sizes[-1]:.1%}, with its sign "
            f"{sum(errors) / len(errors):+.1%} on average"
        )
    print(f"busy blocks {found.busy_blocks} of {found.blocks}")


if __name__ == "__main__":
    main()
