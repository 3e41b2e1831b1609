"""Latency of each layer in microseconds, by its width, as the release will run on this host.

The network is measured whole at a few widths, from whole to the least that pruning leaves, as the file that is served:
int8 with its float front, or float32. Between these widths a layer's time is interpolated linearly in its
multiply-accumulates, which follow its width when one of its sides is pruned. Where both sides are, they were measured
shrinking together, and other proportions are taken by their product.
"""

import copy
import tempfile
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnx
from torch import nn

from components.core.errors import UserError
from components.core.models.architecture import apply_surgery
from components.core.models.inputs import Graph, examples
from components.core.pruning.member import ChannelGroup, cuts_of
from components.core.pruning.plan import MAX_RATIO, LayerCost, Part, block_sizes
from components.core.runtime.host import describe_host
from components.core.runtime.integer_graph import left_in_float, prepared, with_integers
from components.core.runtime.latency import measure
from components.core.runtime.layer_times import layer_times, mark_layers
from components.core.runtime.sessions import open_session
from components.core.runtime.timing_export import export_for_timing

FORMAT = 1
BATCH = 1
WIDTHS = (1.0, 0.0, 0.5, 0.75, 0.3, 0.88, 0.62)
"""Parts of the network's channels that are kept in the measured ones, in this order while there is time; never fewer
are kept than pruning leaves."""
_FEWEST_WIDTHS = 3
_BUILD_SECONDS, _PROFILE_SECONDS = 18.0, 6.0
_ROUNDS = 24
_RANGE = (0.0, 6.0)
"""Of every tensor. ReLU and ReLU6 then vanish into their neighbours, as they do in a release."""


@dataclass(frozen=True, kw_only=True)
class LayerTimes:
    """One layer at each measured width: (input channels, output channels, microseconds).

    `pairs`, `depthwise`: as in `LayerCost`; the layer's shape but for its channels.
    """

    name: str
    pairs: int
    depthwise: bool
    points: tuple[tuple[int, int, float], ...]

    def microseconds(self, macs: float) -> float:
        """Time at so many multiply-accumulates: linear between the measured points, constant beyond them."""
        known: dict[float, list[float]] = {}
        for inputs, outputs, time_us in self.points:
            known.setdefault(self.pairs * outputs * (1 if self.depthwise else inputs), []).append(time_us)
        at = sorted(known)
        return float(np.interp(macs, at, [sum(known[one]) / len(known[one]) for one in at]))


@dataclass(frozen=True, kw_only=True)
class LatencyTable:
    """Every layer's times in the order in which they run, and what the whole takes beyond their sum.

    Attributes:
        layers: see `LayerTimes`.
        rest_us: median over the measured widths of the whole call less the sum; the profile itself takes time, so it
            may be below 0.
        scheme: int8 or float32.
        threads, batch: of the measured calls.
        host: `runtime.host.describe_host`.
    """

    layers: tuple[LayerTimes, ...]
    rest_us: float
    scheme: str
    threads: int
    batch: int
    host: Mapping[str, Any]

    def total_us(self, layers: Sequence[LayerCost], removed: Mapping[str, int]) -> float:
        """Predicted microseconds of a call when so many channels of each group are gone; `layers` of this network.

        Raises:
            ValueError: the table is of another network.
        """
        return sum(part.cost(removed) for part in self.parts(layers))

    def parts(self, layers: Sequence[LayerCost]) -> list[Part]:
        """Predicted microseconds of each layer, and the rest; as `total_us`."""
        if [(one.name, one.pairs) for one in layers] != [(one.name, one.pairs) for one in self.layers]:
            raise ValueError("the latency table was measured of another network")

        def of(known: LayerTimes, layer: LayerCost) -> Part:
            return Part(groups=layer.groups, cost=lambda removed: known.microseconds(layer.macs(removed)))

        rest = Part(groups=(), cost=lambda removed: self.rest_us)
        return [rest, *(of(known, layer) for known, layer in zip(self.layers, layers, strict=True))]

    def to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "scheme": self.scheme,
            "threads": self.threads,
            "batch": self.batch,
            "host": dict(self.host),
            "rest_us": self.rest_us,
            "layers": [
                {
                    "name": one.name,
                    "pairs": one.pairs,
                    "depthwise": one.depthwise,
                    "points": [list(point) for point in one.points],
                }
                for one in self.layers
            ],
        }

    @classmethod
    def from_json(cls, document: Any) -> "LatencyTable":
        """The inverse of `to_json`; ValueError for anything else."""
        try:
            if document["format"] != FORMAT:
                raise ValueError(f"a latency table must have format {FORMAT}, got {document['format']!r}")
            layers = tuple(
                LayerTimes(
                    name=one["name"],
                    pairs=int(one["pairs"]),
                    depthwise=bool(one["depthwise"]),
                    points=tuple((int(inputs), int(outputs), float(us)) for inputs, outputs, us in one["points"]),
                )
                for one in document["layers"]
            )
            return cls(
                layers=layers,
                rest_us=float(document["rest_us"]),
                scheme=document["scheme"],
                threads=int(document["threads"]),
                batch=int(document["batch"]),
                host=dict(document["host"]),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"no latency table: {type(error).__name__}: {error}") from None


def measure_table(
    module: nn.Module,
    groups: Sequence[ChannelGroup],
    layers: Sequence[LayerCost],
    *,
    graph_of: Callable[[nn.Module], Graph],
    scheme: str,
    stay_float: Collection[str],
    round_to: int,
    threads: int,
) -> LatencyTable:
    """Measures the network at a few widths; about half a minute, of which most is making the files.

    Args:
        module: it is left alone; its weights do not matter.
        groups, layers: its prunable groups, and its layers in the order in which they run (`costs.layer_costs`).
        graph_of: the one graph that is served of such a network.
        scheme: int8 or float32.
        stay_float: kinds of operators that int8 leaves in float.
        round_to: channels left are a multiple of this.
        threads: of onnxruntime.

    Raises:
        UserError: a layer cannot be found in the graph, or the graph cannot be made.
    """
    files: dict[str, bytes] = {}
    feeds: dict[str, dict[str, np.ndarray]] = {}
    removed: dict[str, dict[str, int]] = {}
    began = time.monotonic()
    for part in WIDTHS:
        counts = _removed(groups, part, round_to)
        if counts in removed.values():
            continue
        if len(files) >= _FEWEST_WIDTHS and time.monotonic() - began > _BUILD_SECONDS:
            break
        narrow = copy.deepcopy(module).cpu().eval()
        apply_surgery(narrow, cuts_of(narrow, groups, {name: range(count) for name, count in counts.items()}))
        graph, name = graph_of(narrow), f"{part:.0%}"
        files[name] = file_for_timing(graph, narrow, layers, scheme=scheme, stay_float=stay_float)
        feeds[name] = examples(graph.inputs, graph.sizes(BATCH))
        removed[name] = counts
    sessions = {name: open_session(file, threads=threads) for name, file in files.items()}
    makers = {name: (lambda batch, feed=feed: feed) for name, feed in feeds.items()}
    whole = measure(sessions, makers, batch=BATCH, rounds=_ROUNDS, precision=None).latencies
    times = layer_times(files, feeds, layers=len(layers), threads=threads, seconds=_PROFILE_SECONDS)
    return LatencyTable(
        layers=tuple(
            LayerTimes(
                name=layer.name,
                pairs=layer.pairs,
                depthwise=layer.depthwise,
                points=tuple((*layer.channels(removed[name]), round(times[name][number], 2)) for name in files),
            )
            for number, layer in enumerate(layers)
        ),
        rest_us=round(median(whole[name].p50_ms * 1000 - sum(times[name]) for name in files), 2),
        scheme=scheme,
        threads=threads,
        batch=BATCH,
        host=describe_host(),
    )


def _removed(groups: Sequence[ChannelGroup], part: float, round_to: int) -> dict[str, int]:
    """How many channels of each group go so that about `part` of them are left."""
    removed = {}
    for group in groups:
        steps = [0]
        for size in block_sizes(group.channels, round_to=round_to, max_ratio=MAX_RATIO):
            steps.append(steps[-1] + size)
        removed[group.name] = min(steps, key=lambda gone: abs(group.channels - gone - part * group.channels))
    return removed


def file_for_timing(
    graph: Graph, module: nn.Module, layers: Sequence[LayerCost], *, scheme: str, stay_float: Collection[str]
) -> bytes:
    parts = dict(module.named_modules())
    weights = [tuple(parts[layer.name].weight.shape) for layer in layers]
    with tempfile.TemporaryDirectory(prefix="trimtab-latency-") as folder:
        path = Path(folder) / "model.onnx"
        try:
            export_for_timing(graph, path)
        except (TypeError, RuntimeError) as error:  # torch.onnx.OnnxExporterError is a RuntimeError
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise UserError(
                f"the latency of this network cannot be predicted: {reason}; use prune_price=macs"
            ) from None
        model = onnx.load(path)
        found = mark_layers(model, weights)
        if found < len(layers):
            raise UserError(
                f"the latency of this network cannot be predicted: {layers[found].name!r} is not a single layer "
                "of its graph; use prune_price=macs"
            )
        if scheme == "float32":
            return model.SerializeToString()
        onnx.save(model, path)
        model = prepared(path)
    ranges = {name: _RANGE for node in model.graph.node for name in [*node.input, *node.output] if name}
    return with_integers(model, ranges, left_in_float(model, stay_float)).SerializeToString()
