"""Latency of candidate and baseline in alternating blocks: what evaluation.json says of it."""

from collections.abc import Mapping
from dataclasses import dataclass

from components.core.bundles.onnx_bundle import OnnxBundle
from components.core.evaluation.document import Speedup, Timing
from components.core.runtime.latency import ATTEMPTS, BUSY, PRECISION, Latency, Measurement, measure_calls
from components.core.runtime.serving import graph_calls


@dataclass(frozen=True, kw_only=True)
class Timings:
    """Both models by batch size, ascending, and what is wrong with the figures."""

    candidate: tuple[Timing, ...]
    baseline: tuple[Timing, ...]
    speedups: tuple[Speedup, ...]
    warnings: tuple[str, ...]


def measure_both(candidate: OnnxBundle, baseline: OnnxBundle, *, threads: int, rounds: Mapping[int, int]) -> Timings:
    """Timings of candidate and of baseline per batch size.

    A call of a model with several graphs is one call of each of them.

    Args:
        candidate: one model.
        baseline: the other.
        threads: of onnxruntime.
        rounds: timed calls of each, at least, by batch size.
    """
    found = {
        batch: measure_calls(
            {
                "baseline": graph_calls(baseline, batch=batch, threads=threads),
                "candidate": graph_calls(candidate, batch=batch, threads=threads),
            },
            threads=threads, batch=batch, rounds=count,
        )
        for batch, count in rounds.items()
    }  # fmt: skip
    return Timings(
        candidate=tuple(_timing(one.latencies["candidate"]) for one in found.values()),
        baseline=tuple(_timing(one.latencies["baseline"]) for one in found.values()),
        speedups=tuple(_speedup(batch, one) for batch, one in found.items()),
        warnings=tuple(text for batch, one in found.items() for text in timing_warnings(batch, one)),
    )


def timing_warnings(batch: int, measurement: Measurement) -> list[str]:
    """A busy machine, and a speed-up that is not known as well as it should be; in sentences."""
    warnings = []
    if measurement.busy_blocks:
        warnings.append(
            f"Latency at batch {batch}: in {measurement.busy_blocks} of {measurement.blocks} blocks of calls CPU time "
            f"stayed more than {100 * BUSY:.0f} % below wall time in {ATTEMPTS} attempts; the machine was busy with "
            "other work."
        )
    ratio = measurement.ratios["candidate"]
    if ratio.precision > PRECISION:
        warnings.append(
            f"Speed-up at batch {batch}: known to ±{100 * ratio.precision:.0f} % only ({ratio.low:.2f} to "
            f"{ratio.high:.2f} after {ratio.pairs} pairs of blocks), not to ±{100 * PRECISION:.0f} %."
        )
    return warnings


def _timing(latency: Latency) -> Timing:
    return Timing(
        batch=latency.batch,
        threads=latency.threads,
        samples=latency.samples,
        p50_ms=latency.p50_ms,
        p90_ms=latency.p90_ms,
        cold_ms=latency.cold_ms,
        cpu_ms=latency.cpu_ms,
        rows_per_second=latency.rows_per_second,
    )


def _speedup(batch: int, measurement: Measurement) -> Speedup:
    ratio = measurement.ratios["candidate"]
    return Speedup(batch=batch, ratio=ratio.value, low=ratio.low, high=ratio.high, pairs=ratio.pairs)
