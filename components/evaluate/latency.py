"""Latency of candidate and baseline in alternating blocks: what evaluation.json says of it."""

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from components.core.bundles.onnx_bundle import OnnxBundle
from components.core.data.batch import Batch
from components.core.data.reading import read_batches
from components.core.evaluation.document import Speedup, Timing
from components.core.runtime.latency import (
    ATTEMPTS,
    BUSY,
    PRECISION,
    Latency,
    Measurement,
    measure_calls,
    measure_rows,
)
from components.core.runtime.serving import graph_calls, open_graphs

if TYPE_CHECKING:
    from components.core.data.dataset import Dataset

TIMED_ROWS = 128
"""Rows of the split, spread evenly over it, on which models are timed whose work depends on the row."""


@dataclass(frozen=True, kw_only=True)
class Timings:
    """Both models by batch size, ascending, and what is wrong with the figures."""

    candidate: tuple[Timing, ...]
    baseline: tuple[Timing, ...]
    speedups: tuple[Speedup, ...]
    warnings: tuple[str, ...]


def measure_both(
    candidate: OnnxBundle,
    baseline: OnnxBundle,
    dataset: "Dataset",
    split: str,
    *,
    threads: int,
    rounds: Mapping[int, int],
) -> Timings:
    """Timings of candidate and of baseline per batch size.

    A call is what the task says it is (`Task.timed_call`), on rows of the split; else one call of each graph.

    Args:
        candidate: one model.
        baseline: the other.
        dataset: whose rows are timed.
        split: of it.
        threads: of onnxruntime.
        rounds: timed calls of each, at least, by batch size.
    """
    bundles = {"baseline": baseline, "candidate": candidate}
    found = measure_bundles(bundles, dataset, split, threads=threads, rounds=rounds)
    return Timings(
        candidate=tuple(timing_of(one.latencies["candidate"]) for one in found.values()),
        baseline=tuple(timing_of(one.latencies["baseline"]) for one in found.values()),
        speedups=tuple(speedup_of(batch, one, "candidate") for batch, one in found.items()),
        warnings=tuple(text for batch, one in found.items() for text in timing_warnings(batch, one)),
    )


def measure_bundles(
    bundles: Mapping[str, OnnxBundle],
    dataset: "Dataset | None",
    split: str,
    *,
    threads: int,
    rounds: Mapping[int, int],
) -> dict[int, Measurement]:
    """Any number of models of one task by name, as `measure_both`; by batch size.

    Nothing is measured where calls need rows and there is no data set.
    """
    sessions = {name: open_graphs(bundle, threads=threads) for name, bundle in bundles.items()}
    on_rows = all(bundle.task.timed_units for bundle in bundles.values())
    found = {}
    for batch, count in rounds.items():
        stated: dict[str, Any] = {"threads": threads, "batch": batch, "rounds": count}
        if not on_rows:
            plain = {name: graph_calls(bundle, batch=batch, threads=threads) for name, bundle in bundles.items()}
            found[batch] = measure_calls(plain, **stated)
        elif dataset is not None:
            found[batch] = measure_rows(_calls_on_rows(bundles, sessions, dataset, split, batch=batch), **stated)
    return found


def _calls_on_rows(
    bundles: Mapping[str, OnnxBundle],
    sessions: Mapping[str, Mapping[str, Any]],
    dataset: "Dataset",
    split: str,
    *,
    batch: int,
) -> dict[str, Callable[[int], int]]:
    """The task's own timed calls by name, on the same rows for all."""
    calls = {}
    for name, bundle in bundles.items():
        made = bundle.task.timed_call(sessions[name], _timed_rows(bundle, dataset, split), bundle.assets, rows=batch)
        assert made is not None, "a task with timed units has timed calls"
        calls[name] = made
    return calls


def _timed_rows(bundle: OnnxBundle, dataset: "Dataset", split: str) -> Batch:
    transform = bundle.task.transform(bundle.assets, full_size=True)
    read = read_batches(dataset, split, transform, batch_size=TIMED_ROWS, limit=TIMED_ROWS)
    with closing(read) as batches:
        return next(batches)


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
            f"Speed-up at batch {batch}: known to ±{100 * ratio.precision:.2g} % only ({ratio.low:.2f} to "
            f"{ratio.high:.2f} after {ratio.pairs} pairs of blocks), not to ±{100 * PRECISION:.0f} %."
        )
    return warnings


def timing_of(latency: Latency) -> Timing:
    """As the document has it."""
    return Timing(
        batch=latency.batch,
        threads=latency.threads,
        samples=latency.samples,
        p50_ms=latency.p50_ms,
        p90_ms=latency.p90_ms,
        cold_ms=latency.cold_ms,
        cpu_ms=latency.cpu_ms,
        rows_per_second=latency.rows_per_second,
        units_per_second=latency.units_per_second,
    )


def speedup_of(batch: int, measurement: Measurement, name: str) -> Speedup:
    """How many times as fast `name` is as the first that was measured."""
    ratio = measurement.ratios[name]
    return Speedup(batch=batch, ratio=ratio.value, low=ratio.low, high=ratio.high, pairs=ratio.pairs)
