"""Greedy and beam search over any decoder that gives logits step by step. Numpy only."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

LENGTH_FACTOR, LENGTH_AT_LEAST = 2.5, 16
"""A translation is cut at 2.5 pieces per source piece, as Marian's students are, but not below 16."""


class StepDecoder(Protocol):
    """An encoder-decoder between two steps; arrays may be numpy's or torch's, their first axis is the rows."""

    eos: int
    size: int
    """Pieces of the target vocabulary."""

    def begin(self, source: np.ndarray) -> tuple[list[Any], list[Any]]:
        """The fixed arrays of sources int64 `(N, S)`, and the decoder's memory before the first piece."""

    def step(
        self, piece: np.ndarray, position: np.ndarray, fixed: list[Any], past: list[Any]
    ) -> tuple[np.ndarray, list[Any]]:
        """Logits float32 `(N, pieces)` after each row's piece at its position, and what is remembered next."""

    def select(self, arrays: list[Any], rows: np.ndarray) -> list[Any]:
        """The rows of every array, in this order; a row may occur several times."""


@dataclass(frozen=True, kw_only=True)
class Hypothesis:
    """A translation: its pieces without eos, the sum of log-probabilities (eos included), and whether eos came."""

    pieces: tuple[int, ...]
    log_probability: float
    ended: bool

    def score(self, length_penalty: float) -> float:
        """`log p / length^α`, where the length counts eos; α = 0 is the plain sum, 1 the mean."""
        return self.log_probability / (len(self.pieces) + self.ended) ** length_penalty


def longest(source: np.ndarray, eos: int) -> np.ndarray:
    """Pieces at which the translation of each source `(N, S)` is cut, eos included."""
    lengths = (np.cumsum(source == eos, axis=1) == 0).sum(axis=1) + 1
    return np.maximum(LENGTH_AT_LEAST, np.ceil(LENGTH_FACTOR * lengths)).astype(np.int64)


def greedy(
    decoder: StepDecoder, source: np.ndarray, *, forbidden: np.ndarray | None = None, limit: np.ndarray | None = None
) -> list[list[int]]:
    """The most probable piece at each step, until eos; of equal ones the first.

    Args:
        decoder: the network.
        source: int64 `(N, S)`, each row ended and padded with eos.
        forbidden: bool `(N, pieces)` or `(pieces,)`; pieces that may not be chosen.
        limit: int64 `(N,)`; pieces at which a translation is cut; None: `longest`.

    Returns:
        the pieces of each row, without eos.
    """
    limit = longest(source, decoder.eos) if limit is None else limit
    results: list[list[int]] = [[] for _ in source]
    fixed, past = decoder.begin(source)
    rows, piece = np.arange(len(source)), np.zeros(len(source), dtype=np.int64)
    for position in range(int(limit.max(initial=0))):
        logits, past = decoder.step(piece, np.full(len(rows), position, dtype=np.int64), fixed, past)
        if forbidden is not None:
            logits = np.where(forbidden if forbidden.ndim == 1 else forbidden[rows], -np.inf, logits)
        piece = logits.argmax(axis=1)
        for row, chosen in zip(rows, piece, strict=True):
            if chosen != decoder.eos:
                results[row].append(int(chosen))
        on = np.flatnonzero((piece != decoder.eos) & (position + 1 < limit[rows]))
        if not len(on):
            break
        if len(on) < len(rows):
            fixed, past = decoder.select(fixed, on), decoder.select(past, on)
            rows, piece = rows[on], piece[on]
    return results


def beam_search(
    decoder: StepDecoder,
    source: np.ndarray,
    *,
    width: int = 4,
    length_penalty: float = 1.0,
    forbidden: np.ndarray | None = None,
    limit: np.ndarray | None = None,
) -> list[list[Hypothesis]]:
    """The best `width` hypotheses of each row, best first.

    The `width` most probable unfinished hypotheses continue; each also offers to end. A row is done when no unfinished
    hypothesis can still reach the score of its `width`-th best finished one: log-probabilities only fall, and the
    divisor is at most `limit^α`. At the limit the unfinished ones count as they are.

    Args:
        decoder, source, forbidden, limit: as for `greedy`.
        width: at least 1; 1 is not greedy search, since a hypothesis that ended early competes with its continuation.
        length_penalty: α of `Hypothesis.score`, at least 0.

    Raises:
        ValueError: a width below 1 or a negative penalty.
    """
    if width < 1 or length_penalty < 0:
        raise ValueError(f"width must be at least 1 and length_penalty at least 0, got {width} and {length_penalty}")
    limit = longest(source, decoder.eos) if limit is None else limit
    found: list[list[Hypothesis]] = [[] for _ in source]
    fixed, past = decoder.begin(source)
    beam = _Beam(rows=np.arange(len(source)), pieces=[()] * len(source), sums=np.zeros(len(source)))
    last, position = np.zeros(len(source), dtype=np.int64), 0
    while len(beam.rows):
        logits, past = decoder.step(last, np.full(len(beam.rows), position, dtype=np.int64), fixed, past)
        if forbidden is not None:
            logits = np.where(forbidden if forbidden.ndim == 1 else forbidden[beam.rows], -np.inf, logits)
        position += 1
        # Of 32,000 log-probabilities a few are needed: the sum over all is taken, and the difference of these alone.
        less = log_sum_exp(logits)
        ends = beam.sums + (logits[:, decoder.eos] - less)
        for number, row in enumerate(beam.rows):
            _offer(found[row], Hypothesis(
                pieces=beam.pieces[number], log_probability=float(ends[number]), ended=True
            ), width, length_penalty)  # fmt: skip
        before = beam
        beam, origins = _continued(before, logits, less, width, decoder.eos)
        beam, kept = _unfinished(beam, found, limit, position, width, length_penalty)
        origins = origins[kept]
        last = np.array([pieces[-1] for pieces in beam.pieces], dtype=np.int64)
        past = decoder.select(past, origins)
        # The hypotheses of a row share its source: copied only when the rows change.
        if not np.array_equal(before.rows[origins], before.rows) or len(origins) != len(before.rows):
            fixed = decoder.select(fixed, origins)
    return found


@dataclass(frozen=True, kw_only=True)
class _Beam:
    """Unfinished hypotheses: the row of each, its pieces, its sum of log-probabilities. Rows lie together."""

    rows: np.ndarray
    pieces: list[tuple[int, ...]]
    sums: np.ndarray


def _continued(beam: _Beam, logits: np.ndarray, less: np.ndarray, width: int, eos: int) -> tuple[_Beam, np.ndarray]:
    """The `width` best continuations of each row without eos, and which hypothesis each continues."""
    # Eos may be among them, so one more; a row's best are among the best of its hypotheses.
    number = min(width + 1, logits.shape[1])
    pieces = np.argpartition(logits, logits.shape[1] - number, axis=1)[:, -number:]
    totals = beam.sums[:, None] + (np.take_along_axis(logits, pieces, axis=1) - less[:, None])
    totals[pieces == eos] = -np.inf
    origins, chosen, sums = [], [], []
    for row in dict.fromkeys(beam.rows.tolist()):
        own = np.flatnonzero(beam.rows == row)
        flat, piece, origin = totals[own].reshape(-1), pieces[own].reshape(-1), np.repeat(own, number)
        # By value, then by number: equal sums fall the same way everywhere.
        best = np.lexsort((piece, origin, -flat))[:width]
        best = best[np.isfinite(flat[best])]
        origins.append(origin[best])
        chosen.append(piece[best])
        sums.append(flat[best])
    origin, piece = np.concatenate(origins), np.concatenate(chosen)
    longer = [(*beam.pieces[o], int(p)) for o, p in zip(origin, piece, strict=True)]
    return _Beam(rows=beam.rows[origin], pieces=longer, sums=np.concatenate(sums)), origin


def _unfinished(
    beam: _Beam, found: Sequence[list[Hypothesis]], limit: np.ndarray, position: int, width: int, penalty: float
) -> tuple[_Beam, np.ndarray]:
    """The beam without the rows that are done, and which hypotheses are kept."""
    done = set()
    for row in dict.fromkeys(beam.rows.tolist()):
        own = np.flatnonzero(beam.rows == row)
        if position >= limit[row]:
            for number in own:
                cut = Hypothesis(
                    pieces=beam.pieces[number], log_probability=float(beam.sums[number]), ended=False
                )  # fmt: skip
                _offer(found[row], cut, width, penalty)
            done.add(row)
        elif len(found[row]) == width:
            reachable = float(beam.sums[own].max()) / float(limit[row]) ** penalty
            if reachable <= found[row][-1].score(penalty):
                done.add(row)
    kept = np.array([n for n, row in enumerate(beam.rows.tolist()) if row not in done], dtype=np.int64)
    return _Beam(rows=beam.rows[kept], pieces=[beam.pieces[n] for n in kept], sums=beam.sums[kept]), kept


def _offer(found: list[Hypothesis], new: Hypothesis, width: int, penalty: float) -> None:
    """Keeps the `width` best, best first; of equal ones the earlier."""
    if math.isfinite(new.log_probability):
        found.append(new)
        found.sort(key=lambda hypothesis: -hypothesis.score(penalty))
        del found[width:]


def log_sum_exp(logits: np.ndarray) -> np.ndarray:
    """`log Σ exp x` along the last axis of float32 `(N, pieces)`, as float64 `(N,)`; exact to about 1e-7."""
    largest = logits.max(axis=-1)
    with np.errstate(under="ignore"):
        sums = np.exp(logits - largest[:, None]).sum(axis=-1, dtype=np.float64)
    return largest.astype(np.float64) + np.log(sums)
