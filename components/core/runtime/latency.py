"""Measure latency fairly: warm and alone, in alternating blocks; wall and CPU time, medians, stated threads.

A machine's speed drifts (frequency, neighbours): a hundred calls of A and then a hundred of B compare two moments.
Calls in turn (A B A B) compare two models, but each call then begins on the other's caches, which a small model pays
for most (int8 EfficientNet-Lite0 at 64 px: 0.44 ms after itself, 0.96 ms after its float32 network). Therefore blocks
alternate, the calls that refill the caches are dropped, and the ratio is taken within each pair of neighbouring blocks.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import onnxruntime as ort

from components.core.runtime.ratio import Ratio, paired_ratio

Feed = dict[str, np.ndarray]
MakeInput = Callable[[int], Feed]
Call = Callable[[], object]
CountingCall = Callable[[int], int]
"""Is given the number of the call and gives how many units it made (pieces of a text). Equal numbers are equal work for
every model; the dropped calls of a block have the numbers of its timed ones."""
_Numbered = Callable[[int], object]

PAIRS = 8
"""Blocks per model, at least."""
MOST_PAIRS = 24
PRECISION = 0.03
"""Blocks are added until the interval of each ratio reaches no further than this from it, relative to it."""
BUSY = 0.10
"""A block is measured again when its CPU time lies this fraction below its wall time."""
ATTEMPTS = 3
"""How often one block is measured, at most."""
_LEAST_TIMED = 3
_MOST_SECONDS = 30.0  # blocks beyond PAIRS and repetitions begin within this time; large models keep to the fewest
_WARM_UP = 3
# Calls that are dropped at the beginning of a block: as many as take about 8 ms, within these bounds. The int8 network
# above is warm after 5 calls (2.5 ms), its float32 network after 8 (9 ms); at batch 32 (13 ms and more) after one.
_REFILL_MS = 8.0
_MOST_DROPPED = 8


@dataclass(frozen=True, kw_only=True)
class Latency:
    """One variant's figures for one batch size; milliseconds per call, not per row.

    Attributes:
        p50_ms, p90_ms: wall time of a warm call: one after others of the same model.
        cold_ms: median of the first call after another model's block; None if there was no other model.
        cpu_ms: median CPU time of the process per warm call.
        samples: warm calls that were timed.
        threads, batch: of onnxruntime; rows per call.
        units_per_second: units that the timed calls made, by their wall time; None where they count none.
    """

    p50_ms: float
    p90_ms: float
    cold_ms: float | None
    cpu_ms: float
    samples: int
    threads: int
    batch: int
    units_per_second: float | None = None

    @property
    def rows_per_second(self) -> float:
        """Throughput at the median: batch / p50."""
        return self.batch * 1000.0 / self.p50_ms

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """The measurements of one run of alternating blocks.

    Attributes:
        latencies: by name.
        ratios: the first one's time divided by each other one's, by the other's name.
        blocks: of all models together.
        busy_blocks: of these, where CPU time stayed more than `BUSY` below wall time in each attempt: the machine did
            something else meanwhile. With several threads this is seen only when less than one core was left.
    """

    latencies: dict[str, Latency]
    ratios: dict[str, Ratio]
    blocks: int
    busy_blocks: int


@dataclass(frozen=True, kw_only=True)
class _Block:
    """Times of one block in ms: of its first call, and of the calls after the dropped ones; what these calls made."""

    first: float
    wall: list[float]
    cpu: list[float]
    units: int

    @property
    def shortfall(self) -> float:
        """How far CPU time lies below wall time (medians), as a fraction of wall time."""
        wall = float(np.median(self.wall))
        return 1 - float(np.median(self.cpu)) / wall if wall else 0.0


def measure(
    sessions: Mapping[str, ort.InferenceSession],
    make_input: MakeInput | Mapping[str, MakeInput] | None = None,
    *,
    batch: int = 1,
    rounds: int = 50,
    precision: float | None = PRECISION,
) -> Measurement:
    """Latency of each session, warm and alone; the ratios to the first one.

    Args:
        sessions: what to compare, by name.
        make_input: `batch → feed` for all sessions, or one such function by session name (variants may differ in
            image size). Default: normal noise in the shape that the session declares.
        batch: rows per call.
        rounds: timed calls of each, at least; in `PAIRS` blocks of at least 3.
        precision: at which interval of the ratios to stop; None stops after `PAIRS` blocks.
    """
    _check(batch, rounds)
    feeds = {name: _feed(name, session, make_input, batch) for name, session in sessions.items()}
    calls = {name: _numbered(partial(session.run, None, feeds[name])) for name, session in sessions.items()}
    threads = {name: session.get_session_options().intra_op_num_threads for name, session in sessions.items()}
    return _measured(calls, threads=threads, batch=batch, rounds=rounds, precision=precision)


def measure_calls(
    calls: Mapping[str, Call], *, threads: int, batch: int, rounds: int = 50, precision: float | None = PRECISION
) -> Measurement:
    """`measure` of anything that can be called, such as a model of several graphs; `threads` and `batch` are stated."""
    _check(batch, rounds)
    stated = dict.fromkeys(calls, threads)
    numbered = {name: _numbered(call) for name, call in calls.items()}
    return _measured(numbered, threads=stated, batch=batch, rounds=rounds, precision=precision)


def measure_rows(
    calls: Mapping[str, CountingCall],
    *,
    threads: int,
    batch: int,
    rounds: int = 50,
    precision: float | None = PRECISION,
) -> Measurement:
    """`measure` of calls whose work depends on their rows: the n-th timed call of each model is on the same ones.

    So p50 and p90 are over rows of different lengths, and each ratio is of the same rows.
    """
    _check(batch, rounds)
    return _measured(calls, threads=dict.fromkeys(calls, threads), batch=batch, rounds=rounds, precision=precision)


def _numbered(call: Call) -> _Numbered:
    def numbered(_: int) -> None:
        call()

    return numbered


def _check(batch: int, rounds: int) -> None:
    if batch < 1 or rounds < 1:
        raise ValueError(f"batch and rounds must be positive, got {batch} and {rounds}")


def _measured(
    calls: Mapping[str, _Numbered], *, threads: Mapping[str, int], batch: int, rounds: int, precision: float | None
) -> Measurement:
    blocks = _alternating_blocks(calls, length=max(_LEAST_TIMED, math.ceil(rounds / PAIRS)), precision=precision)
    every = [block for found in blocks.values() for block in found]
    return Measurement(
        latencies={
            name: _summary(found, alone=len(blocks) == 1, threads=threads[name], batch=batch)
            for name, found in blocks.items()
        },
        ratios=_ratios(blocks),
        blocks=len(every),
        busy_blocks=sum(block.shortfall > BUSY for block in every),
    )


def _alternating_blocks(
    calls: Mapping[str, _Numbered], *, length: int, precision: float | None
) -> dict[str, list[_Block]]:
    """A B A B …, until the ratios are known, or `MOST_PAIRS` of each or `_MOST_SECONDS` are reached."""
    dropped = {name: _warm_up(call) for name, call in calls.items()}
    blocks: dict[str, list[_Block]] = {name: [] for name in calls}
    deadline = time.perf_counter_ns() + _MOST_SECONDS * 1e9
    for number in range(1, MOST_PAIRS + 1):
        for name, call in calls.items():
            first = (number - 1) * length
            block = _quiet_block(call, first, dropped=dropped[name], length=length, deadline=deadline)
            blocks[name].append(block)
        known = precision is None or all(ratio.precision <= precision for ratio in _ratios(blocks).values())
        if number >= PAIRS and (known or time.perf_counter_ns() > deadline):
            break
    return blocks


def _warm_up(call: _Numbered) -> int:
    """Runs the call a few times (onnxruntime allocates and picks kernels then); how many a block drops of it."""
    fastest = min(_timed(call, number)[0] for number in range(_WARM_UP))
    return max(1, min(_MOST_DROPPED, math.ceil(_REFILL_MS / fastest))) if fastest else _MOST_DROPPED


def _quiet_block(call: _Numbered, number: int, *, dropped: int, length: int, deadline: float) -> _Block:
    """The first attempt in which CPU time keeps up with wall time, else the one in which it lies least below."""
    attempts = [_block(call, number, dropped=dropped, length=length)]
    while attempts[-1].shortfall > BUSY and len(attempts) < ATTEMPTS and time.perf_counter_ns() < deadline:
        attempts.append(_block(call, number, dropped=dropped, length=length))
    best = min(attempts, key=lambda block: block.shortfall)
    # A repetition begins after the same model; only the first attempt's first call came after another one.
    return replace(best, first=attempts[0].first)


def _block(call: _Numbered, number: int, *, dropped: int, length: int) -> _Block:
    """The timed calls have the numbers from `number` on, the dropped ones those before them in a circle."""
    times = [_timed(call, number + place % length) for place in range(-dropped, length)]
    warm = times[dropped:]
    return _Block(
        first=times[0][0],
        wall=[wall for wall, _, _ in warm],
        cpu=[cpu for _, cpu, _ in warm],
        units=sum(units for _, _, units in warm),
    )


def _timed(call: _Numbered, number: int) -> tuple[float, float, int]:
    """Wall and CPU time of one call in ms, and what it made."""
    cpu_start, start = time.process_time_ns(), time.perf_counter_ns()
    made = call(number)
    end, cpu_end = time.perf_counter_ns(), time.process_time_ns()
    return (end - start) / 1e6, (cpu_end - cpu_start) / 1e6, made if isinstance(made, int) else 0


def _ratios(blocks: Mapping[str, list[_Block]]) -> dict[str, Ratio]:
    """From the medians of the n-th block of the first and of the n-th of each other; none before `PAIRS` blocks."""
    medians = {name: [float(np.median(block.wall)) for block in found] for name, found in blocks.items()}
    first, *others = medians
    return {name: paired_ratio(medians[first], medians[name]) for name in others if len(medians[first]) >= PAIRS}


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


def _summary(blocks: list[_Block], *, alone: bool, threads: int, batch: int) -> Latency:
    wall = [value for block in blocks for value in block.wall]
    units = sum(block.units for block in blocks)
    p50, p90 = (float(value) for value in np.percentile(wall, (50, 90)))
    return Latency(
        p50_ms=p50,
        p90_ms=p90,
        cold_ms=None if alone else float(np.median([block.first for block in blocks])),
        cpu_ms=float(np.median([value for block in blocks for value in block.cpu])),
        samples=len(wall),
        threads=threads,
        batch=batch,
        units_per_second=1000 * units / sum(wall) if units else None,
    )
