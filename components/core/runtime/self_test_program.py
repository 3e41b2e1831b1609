"""Says whether this machine computes what was verified before the release. Needs numpy and onnxruntime.

python self_test.py              runs each graph on made-up inputs and compares with self_test.json
python self_test.py --measure    also the latency of each graph here
"""

import argparse
import json
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

EQUAL, ROUNDED = 1e-4, 0.05
"""Differences of an output, relative to its largest value: nothing to speak of, and what the rounding of other CPUs'
integer kernels may make."""

MOST_VALUES = 4096
CALLS = 100


def drawn(count: int, seed: int) -> np.ndarray:
    """Whole numbers from 0 to 2²⁴ − 1, int64 `(count,)`, the same on every machine."""
    state = (np.arange(count, dtype=np.int64) + 1) * 7919 + seed * 104729
    for _ in range(4):
        state = (state * 1103515245 + 12345) % 2**31
    return state >> 7


def waves(shape: Sequence[int], seed: int) -> np.ndarray:
    """float32 from -2 to 2: two triangle waves across the last two dimensions, others in each row and channel."""
    *outer, height, width = (1, 1, *shape)
    patterns = int(np.prod(outer, dtype=np.int64))
    total = np.zeros((patterns, height, width), dtype=np.int64)
    for wave in range(2):
        number = drawn(patterns, 2 * seed + wave)[:, None, None]
        across, down, start = number % 61, number // 61 % 61, number // 3721 % 512
        place = across * np.arange(width)[None, None] + down * np.arange(height)[None, :, None] + start
        total += np.abs(place % 512 - 256)
    return (total / 128 - 2).astype(np.float32).reshape(shape)


def feed(inputs: Sequence[Mapping[str, Any]], row: int) -> dict[str, np.ndarray]:
    """The inputs of one call, by name."""
    made = {}
    for number, entry in enumerate(inputs):
        shape, seed = entry["shape"], 100 * row + number
        if entry["dtype"] == "int64":
            count = int(np.prod(shape, dtype=np.int64))
            made[entry["name"]] = (drawn(count, seed) % entry["high"]).reshape(shape)
        else:
            made[entry["name"]] = waves(shape, seed)
    return made


def answers(session: ort.InferenceSession, inputs: Sequence[Mapping[str, Any]], rows: int) -> dict[str, np.ndarray]:
    """Of each output, by its name, at most `MOST_VALUES` values spread evenly over all calls, float64."""
    names = [output.name for output in session.get_outputs()]
    calls = [session.run(names, feed(inputs, row)) for row in range(rows)]
    found = {}
    for name, values in zip(names, zip(*calls, strict=True), strict=True):
        flat = np.concatenate([value.astype(np.float64).ravel() for value in values])
        found[name] = flat[:: -(-len(flat) // MOST_VALUES) or 1]
    return found


def difference(session: ort.InferenceSession, known: Mapping[str, Any]) -> float:
    """The largest difference of an output to what was recorded, relative to its largest value; inf for no numbers."""
    worst = 0.0
    for name, found in answers(session, known["inputs"], known["rows"]).items():
        expected = np.array(known["outputs"][name], dtype=np.float64)
        if found.shape != expected.shape or not np.isfinite(found).all():
            return float("inf")
        largest = max(1e-9, float(np.abs(expected).max(initial=0)))
        worst = max(worst, float(np.abs(found - expected).max(initial=0)) / largest)
    return worst


def milliseconds(session: ort.InferenceSession, inputs: Sequence[Mapping[str, Any]]) -> float:
    """Median of warm calls with one row."""
    given, times = feed(inputs, 0), []
    for _ in range(CALLS + 10):
        begin = time.perf_counter()
        session.run(None, given)
        times.append(time.perf_counter() - begin)
    return 1000 * float(np.median(times[10:]))


def opened(path: Path, threads: int) -> ort.InferenceSession:
    """The graph, to be run on the CPU."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def main(folder: Path) -> int:
    """Prints what was found; 1 if a graph computes something else here."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--measure", action="store_true", help="also measure the latency of each graph here")
    asked.add_argument("--threads", type=int, default=1)
    given = asked.parse_args()
    record = json.loads((folder / "self_test.json").read_text(encoding="utf-8"))
    print(f"recorded on: {record['processor']}, onnxruntime {record['onnxruntime']}")
    print(f"this is: {platform.processor() or platform.machine()}, onnxruntime {ort.__version__}")
    worst = 0.0
    for graph, known in record["graphs"].items():
        session = opened(folder / f"{graph}.onnx", given.threads)
        found = difference(session, known)
        worst = max(worst, found)
        said = "computes the same here" if found <= ROUNDED else "COMPUTES SOMETHING ELSE HERE"
        if EQUAL < found <= ROUNDED:
            said += ", but for rounding"
        print(f"{graph}.onnx {said}: largest difference {found:.2g} of the largest output")
        if given.measure:
            print(f"{graph}.onnx takes {milliseconds(session, known['inputs']):.3f} ms a call here (median, warm)")
    if given.measure and record["latency_ms"]:
        print(f"the release's card says {record['latency_ms']:.3f} ms for one row, on the machine above")
    if worst > ROUNDED:
        print(
            "The accuracy on the card does not hold here: try another version of onnxruntime, or evaluate again on "
            "this machine."
        )
    return 0 if worst <= ROUNDED else 1


if __name__ == "__main__":
    sys.exit(main(Path(__file__).parent))
