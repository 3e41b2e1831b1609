"""Hard limits: what a backbone costs, and whether that is allowed."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnxruntime

from components.core.errors import UserError
from components.core.models.complexity import count_macs
from components.core.models.inputs import Graph, examples
from components.core.numbers import compact, milliseconds
from components.core.parameters import check_declared, limit
from components.core.runtime.latency import measure
from components.core.runtime.onnx_export import export_onnx
from components.core.runtime.sessions import open_session
from components.core.runtime.timing_export import export_for_timing

LATENCY_ROUNDS = 30
_BYTES_PER_WEIGHT = 4


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Largest allowed cost of an uncompressed candidate; None is no limit, and -1, as a form says it, becomes None.
    UserError for another one that is not above 0."""

    max_parameters_m: float | None = None
    max_macs_m: float | None = None
    max_latency_ms: float | None = None

    def __post_init__(self) -> None:
        given = {name: value for name, value in vars(self).items() if value is not None}
        check_declared(given, max_latency_ms="max_backbone_latency_ms")
        for name, value in given.items():
            object.__setattr__(self, name, limit(value))

    def __str__(self) -> str:
        return ", ".join(f"{name} {value:g}" for name, value in vars(self).items() if value is not None)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The cost of one candidate as float32, for a typical row (an image at its size, a sentence of a stated length).

    `latency_ms` is the median of warm calls of onnxruntime at batch 1 on one thread of this machine's CPU, of each
    graph as often as a row needs it; `size_mb` is four bytes per parameter, in 10⁶ bytes.
    """

    parameters: int
    macs: int
    latency_ms: float

    @property
    def size_mb(self) -> float:
        return self.parameters * _BYTES_PER_WEIGHT / 1e6

    def __str__(self) -> str:
        return f"{compact(self.parameters)} parameters, {compact(self.macs)} MACs, {milliseconds(self.latency_ms)}"


def measure_costs(candidates: Mapping[str, Mapping[str, Graph]]) -> dict[str, Cost]:
    """Cost of each candidate, given as the graphs of its network.

    Latencies are measured in alternating blocks, so they compare. Random weights do: none of the three depends on the
    weights' values.
    """
    graphs = {(name, part): graph for name, parts in candidates.items() for part, graph in parts.items()}
    keys = {f"{name}/{part}": (name, part) for name, part in graphs}
    sessions = {key: _session(graphs[parts]) for key, parts in keys.items()}
    feeds = {key: _feeds(graphs[parts]) for key, parts in keys.items()}
    # A limit is no comparison: the ratios need not be known any better.
    latencies = measure(sessions, feeds, batch=1, rounds=LATENCY_ROUNDS, precision=None).latencies
    return {
        name: Cost(
            parameters=_parameters(parts),
            macs=sum(graph.calls * count_macs(graph.module, graph.inputs, graph.sizes(1)) for graph in parts.values()),
            latency_ms=sum(graph.calls * latencies[f"{name}/{part}"].p50_ms for part, graph in parts.items()),
        )
        for name, parts in candidates.items()
    }


def _parameters(parts: Mapping[str, Graph]) -> int:
    """Parameters of all graphs; graphs of one network share some, which count once."""
    return sum({id(one): one.numel() for graph in parts.values() for one in graph.module.parameters()}.values())


def rejection(cost: Cost, limits: Limits) -> str | None:
    """Why the candidate may not be used, or None."""
    checks = (
        ("parameters", cost.parameters / 1e6, " M", "max_parameters_m", limits.max_parameters_m),
        ("MACs", cost.macs / 1e6, " M", "max_macs_m", limits.max_macs_m),
        ("latency", cost.latency_ms, " ms", "max_latency_ms", limits.max_latency_ms),
    )
    exceeded = [
        f"{what} {value:.3g}{unit} above {name} {limit:g}"
        for what, value, unit, name, limit in checks
        if limit is not None and value > limit
    ]
    return "; ".join(exceeded) or None


def refuse_if_none_fits(costs: Mapping[str, Cost], rejected: Iterable[str], limits: Limits) -> None:
    """UserError with every candidate's figures when all candidates are rejected."""
    if set(rejected) == set(costs):
        figures = "; ".join(f"{name}: {cost}" for name, cost in costs.items())
        raise UserError(
            f"no backbone meets the limits ({limits}); {figures}. Raise a limit, or name a smaller backbone"
        )


def _feeds(graph: Graph) -> Callable[[int], dict[str, np.ndarray]]:
    return lambda batch: examples(graph.inputs, graph.sizes(batch))


def _session(graph: Graph) -> onnxruntime.InferenceSession:
    graph.module.eval()
    with TemporaryDirectory(prefix="trimtab-latency-") as folder:
        path = Path(folder) / "model.onnx"
        try:
            export_for_timing(graph, path)
            return open_session(path, threads=1)
        except (TypeError, RuntimeError):  # torch.onnx.OnnxExporterError is a RuntimeError
            export_onnx(graph, path)
            return open_session(path, threads=1)
