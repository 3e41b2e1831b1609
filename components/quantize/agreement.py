"""How close the integer network stays to the float one, on images that did not calibrate it."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from components.core.runtime.finite import refuse_no_numbers
from components.core.runtime.sessions import open_session
from components.quantize.observe import Feed, num_rows


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Of `rows`: how often both networks name the same class, and 10·log₁₀(Σ float² / Σ (float − int8)²) in dB.

    A class is named by the largest output along the second dimension: per image, or per pixel.
    """

    rows: int
    argmax: float
    signal_to_noise_db: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def agreement(reference: Path, candidate: Path | bytes, feeds: Iterable[Feed], *, threads: int) -> Agreement:
    """Compare the first outputs of two ONNX files, `(N, classes, …)`, on batches of their inputs.

    Raises:
        UserError: one of them answers with what is no number. ValueError: no batch.
    """
    sessions = open_session(reference, threads=threads), open_session(candidate, threads=threads)
    signal = noise = 0.0
    agreed = named = rows = 0
    for feed in feeds:
        expected, actual = (session.run(None, feed)[0].astype(np.float64) for session in sessions)
        refuse_no_numbers({"the float32 network": expected, "the integer network": actual}, "rows")
        signal += float((expected**2).sum())
        noise += float(((expected - actual) ** 2).sum())
        agreed += int((expected.argmax(axis=1) == actual.argmax(axis=1)).sum())
        named += expected.argmax(axis=1).size
        rows += num_rows(feed)
    if not rows:
        raise ValueError("no rows to compare on")
    # 100 dB: beyond float32's own precision, and a number that JSON can hold.
    ratio = min(100.0, 10 * np.log10(signal / noise)) if noise and signal else 100.0
    return Agreement(rows=rows, argmax=agreed / named, signal_to_noise_db=round(float(ratio), 2))
