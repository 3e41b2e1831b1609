"""Measure latency fairly: variants interleaved, wall and CPU time, medians, stated threads.

A machine's speed drifts (frequency, neighbours). Measuring A a hundred times and then B a hundred times compares two
moments; A B A B compares two models.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import onnxruntime as ort

Feed = dict[str, np.ndarray]
MakeInput = Callable[[int], Feed]
Call = Callable[[], object]


@dataclass(frozen=True, kw_only=True)
class Latency:
    """One variant's figures for one batch size; milliseconds per call, not per row."""

    p50_ms: float
    p90_ms: float
    p99_ms: float
    cpu_ms: float
    """Median CPU time of the process; well below `p50_ms` means that the machine was busy with something else."""
    samples: int
    threads: int
    batch: int

    @property
    def rows_per_second(self) -> float:
        """Throughput at the median: batch / p50."""
        return self.batch * 1000.0 / self.p50_ms

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def measure(
    sessions: Mapping[str, ort.InferenceSession],
    make_input: MakeInput | Mapping[str, MakeInput] | None = None,
    *,
    batch: int = 1,
    rounds: int = 50,
    warmup: int = 5,
) -> dict[str, Latency]:
    """Latency of each session over `rounds` interleaved rounds (each round runs every session once).

    Args:
        sessions: what to compare, by name.
        make_input: `batch → feed` for all sessions, or one such function by session name (variants may differ in
            image size). Default: normal noise in the shape that the session declares.
        batch: rows per call.
        rounds: timed rounds; percentiles are over these.
        warmup: untimed rounds before (onnxruntime allocates and picks kernels in the first calls).
    """
    _check(batch, rounds, warmup)
    feeds = {name: _feed(name, session, make_input, batch) for name, session in sessions.items()}
    calls: dict[str, Call] = {name: partial(session.run, None, feeds[name]) for name, session in sessions.items()}
    timed = _interleaved(calls, rounds=rounds, warmup=warmup)
    return {
        name: _summary(*timed[name], session.get_session_options().intra_op_num_threads, batch)
        for name, session in sessions.items()
    }


def measure_calls(
    calls: Mapping[str, Call], *, threads: int, batch: int, rounds: int = 50, warmup: int = 5
) -> dict[str, Latency]:
    """`measure` of anything that can be called, such as a model of several graphs; `threads` and `batch` are stated."""
    _check(batch, rounds, warmup)
    timed = _interleaved(calls, rounds=rounds, warmup=warmup)
    return {name: _summary(wall, cpu, threads, batch) for name, (wall, cpu) in timed.items()}


def _check(batch: int, rounds: int, warmup: int) -> None:
    if batch < 1 or rounds < 1 or warmup < 0:
        raise ValueError(f"batch and rounds must be positive, warmup not negative: {batch}, {rounds}, {warmup}")


def _interleaved(calls: Mapping[str, Call], *, rounds: int, warmup: int) -> dict[str, tuple[list[float], list[float]]]:
    """Wall and CPU times of every call, in ms."""
    order = list(calls)
    wall: dict[str, list[float]] = {name: [] for name in order}
    cpu: dict[str, list[float]] = {name: [] for name in order}
    for number in range(warmup + rounds):
        # Every second round backwards, so that no variant always runs on the caches of the same neighbour.
        for name in order if number % 2 == 0 else reversed(order):
            call = calls[name]
            cpu_start, start = time.process_time_ns(), time.perf_counter_ns()
            call()
            end, cpu_end = time.perf_counter_ns(), time.process_time_ns()
            if number >= warmup:
                wall[name].append((end - start) / 1e6)
                cpu[name].append((cpu_end - cpu_start) / 1e6)
    return {name: (wall[name], cpu[name]) for name in order}


def noise_input(session: ort.InferenceSession, batch: int, seed: int = 0) -> Feed:
    """Normal noise for every input of the session; the free first dimension becomes `batch`."""
    generator = np.random.default_rng(seed)
    feed: Feed = {}
    for entry in session.get_inputs():
        if entry.type != "tensor(float)":
            raise ValueError(f"input '{entry.name}' is {entry.type}; give make_input for inputs that are not float")
        shape = [batch, *entry.shape[1:]]
        if any(not isinstance(size, int) for size in shape):
            raise ValueError(f"input '{entry.name}' has free dimensions {entry.shape}; give make_input")
        feed[entry.name] = generator.standard_normal(shape, dtype=np.float32)
    return feed


def _feed(
    name: str,
    session: ort.InferenceSession,
    make_input: MakeInput | Mapping[str, MakeInput] | None,
    batch: int,
) -> Feed:
    if make_input is None:
        return noise_input(session, batch)
    maker = make_input[name] if isinstance(make_input, Mapping) else make_input
    return maker(batch)


def _summary(wall: list[float], cpu: list[float], threads: int, batch: int) -> Latency:
    p50, p90, p99 = (float(value) for value in np.percentile(wall, (50, 90, 99)))
    return Latency(
        p50_ms=p50,
        p90_ms=p90,
        p99_ms=p99,
        cpu_ms=float(np.median(cpu)),
        samples=len(wall),
        threads=threads,
        batch=batch,
    )
