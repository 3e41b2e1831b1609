"""Latency of candidate and baseline, in turn: what evaluation.json says of it."""

from collections.abc import Mapping

from components.core.bundles.onnx_bundle import OnnxBundle
from components.core.evaluation.document import Timing
from components.core.runtime.latency import Latency, measure_calls
from components.core.runtime.serving import graph_calls


def measure_both(
    candidate: OnnxBundle, baseline: OnnxBundle, *, threads: int, rounds: Mapping[int, int]
) -> tuple[tuple[Timing, ...], tuple[Timing, ...]]:
    """Timings of candidate and of baseline per batch size.

    A call of a model with several graphs is one call of each of them.

    Args:
        candidate: one model.
        baseline: the other.
        threads: of onnxruntime.
        rounds: timed rounds by batch size.
    """
    found = [
        _measure(candidate, baseline, threads=threads, batch=batch, rounds=count) for batch, count in rounds.items()
    ]
    return tuple(_timing(one["candidate"]) for one in found), tuple(_timing(one["baseline"]) for one in found)


def _measure(
    candidate: OnnxBundle, baseline: OnnxBundle, *, threads: int, batch: int, rounds: int
) -> dict[str, Latency]:
    calls = {
        "candidate": graph_calls(candidate, batch=batch, threads=threads),
        "baseline": graph_calls(baseline, batch=batch, threads=threads),
    }
    return measure_calls(calls, threads=threads, batch=batch, rounds=rounds, warmup=max(3, rounds // 10))


def _timing(latency: Latency) -> Timing:
    return Timing(
        batch=latency.batch,
        threads=latency.threads,
        samples=latency.samples,
        p50_ms=latency.p50_ms,
        p90_ms=latency.p90_ms,
        p99_ms=latency.p99_ms,
        cpu_ms=latency.cpu_ms,
        rows_per_second=latency.rows_per_second,
    )
