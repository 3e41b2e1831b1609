"""How close the integer network stays to the float one, on images that neither calibration nor a choice has seen."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from components.core.runtime.onnx_export import INPUT, OUTPUT
from components.core.runtime.sessions import open_session


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Of `images`: how often both networks name the same class, and 10·log₁₀(Σ float² / Σ (float − int8)²) in dB."""

    images: int
    argmax: float
    signal_to_noise_db: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def agreement(reference: Path, candidate: Path | bytes, images: Iterable[np.ndarray], *, threads: int) -> Agreement:
    """Compare the logits of two ONNX files on batches float32 (N, 3, H, W)."""
    sessions = open_session(reference, threads=threads), open_session(candidate, threads=threads)
    signal = noise = 0.0
    agreed = rows = 0
    for batch in images:
        expected, actual = (session.run([OUTPUT], {INPUT: batch})[0].astype(np.float64) for session in sessions)
        signal += float((expected**2).sum())
        noise += float(((expected - actual) ** 2).sum())
        agreed += int((expected.argmax(axis=1) == actual.argmax(axis=1)).sum())
        rows += len(batch)
    if not rows:
        raise ValueError("no images to compare on")
    # 100 dB: beyond float32's own precision, and a number that JSON can hold.
    ratio = min(100.0, 10 * np.log10(signal / noise)) if noise and signal else 100.0
    return Agreement(images=rows, argmax=agreed / rows, signal_to_noise_db=round(float(ratio), 2))
