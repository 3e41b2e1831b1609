"""Latency of two files measured alone, in alternating blocks and in turn; and how often the ratio's interval covers.

    nice python tests/benchmarks/latency_in_blocks.py --repeats 5 [float.onnx int8.onnx]

*Alone* is the median of calls after a long run of the same model, nothing else in between: what blocks should give
within 5 %. The three are measured one after another, `--repeats` times, and the medians over repeats are printed, with
the CPU time beside wall time: on a busy machine only the CPU time says something, and that only roughly. Without files
an EfficientNet-Lite0 with random weights at 64 px and its int8 form are made.

The second table simulates the stopping rule: blocks with noise of a known kind, pairs added until the interval reaches
no further than ±3 %; how often the true ratio lies inside, and how many pairs it took.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort
import timm

from components.core.models.inputs import BATCH, Graph, InputSpec, OutputSpec
from components.core.runtime.host import describe_host
from components.core.runtime.latency import MOST_PAIRS, PAIRS, PRECISION, measure, noise_input
from components.core.runtime.onnx_export import export_onnx
from components.core.runtime.ratio import paired_ratio
from components.core.runtime.sessions import open_session
from components.quantize.int8 import calibrate

SIZE = 64
NAMES = ("first", "second")
Times = dict[str, tuple[float, float]]
"""By name: median wall and CPU time of a call, in ms."""


def make_files(folder: Path) -> tuple[Path, Path]:
    """EfficientNet-Lite0 as float32 and as int8, with random weights and ranges: speed only."""
    images = InputSpec(name="images", dtype="float32", shape=(BATCH, 3, SIZE, SIZE))
    module = timm.create_model("tf_efficientnet_lite0", num_classes=10).eval()
    plain, small = folder / "float.onnx", folder / "int8.onnx"
    export_onnx(Graph(module=module, inputs=(images,), outputs=(OutputSpec(name="logits", shape=(BATCH, 10)),)), plain)
    noise = np.random.default_rng(0).standard_normal((8, 3, SIZE, SIZE), dtype=np.float32)
    small.write_bytes(
        calibrate(plain, lambda: [{"images": noise}], method="minmax").integers().model.SerializeToString()
    )
    return plain, small


def timed(call: Callable[[], object]) -> tuple[float, float]:
    cpu, wall = time.process_time_ns(), time.perf_counter_ns()
    call()
    return (time.perf_counter_ns() - wall) / 1e6, (time.process_time_ns() - cpu) / 1e6


def medians(times: list[tuple[float, float]]) -> tuple[float, float]:
    wall, cpu = np.median(np.array(times), axis=0)
    return float(wall), float(cpu)


def alone(calls: dict[str, Callable[[], object]], count: int) -> Times:
    """As many calls before as are timed."""
    found = {}
    for name, call in calls.items():
        for _ in range(count):
            call()
        found[name] = medians([timed(call) for _ in range(count)])
    return found


def in_turn(calls: dict[str, Callable[[], object]], count: int) -> Times:
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for _ in range(count):
        for name, call in calls.items():
            times[name].append(timed(call))
    return {name: medians(values[3:]) for name, values in times.items()}


def in_blocks(sessions: dict[str, ort.InferenceSession], batch: int, count: int) -> Times:
    found = measure(sessions, batch=batch, rounds=count).latencies
    return {name: (one.p50_ms, one.cpu_ms) for name, one in found.items()}


def print_methods(files: tuple[Path, Path], batch: int, count: int, repeats: int) -> None:
    sessions = {name: open_session(path, threads=1) for name, path in zip(NAMES, files, strict=True)}
    feeds = {name: noise_input(session, batch) for name, session in sessions.items()}
    calls: dict[str, Callable[[], object]] = {
        name: (lambda session=session, feed=feeds[name]: session.run(None, feed)) for name, session in sessions.items()
    }
    rows: dict[str, list[Times]] = {"alone": [], "in blocks": [], "in turn": []}
    for _ in range(repeats):
        rows["alone"].append(alone(calls, count))
        rows["in blocks"].append(in_blocks(sessions, batch, count))
        rows["in turn"].append(in_turn(calls, count))
    found = {method: {name: medians([one[name] for one in runs]) for name in NAMES} for method, runs in rows.items()}
    print(f"\n| batch {batch} | first, ms (CPU) | of alone | second, ms (CPU) | of alone | ratio (CPU) |")
    print("|---|---|---|---|---|---|")
    for method, one in found.items():
        cells = []
        for name in NAMES:
            (wall, cpu), (wall_alone, cpu_alone) = one[name], found["alone"][name]
            cells += [f"{wall:.3f} ({cpu:.3f})", f"{wall / wall_alone:.2f} ({cpu / cpu_alone:.2f})"]
        (wall, cpu), (small_wall, small_cpu) = one["first"], one["second"]
        print(f"| {method} | {' | '.join(cells)} | {wall / small_wall:.2f} ({cpu / small_cpu:.2f}) |")


def print_coverage(trials: int) -> None:
    """Noise of a block's median as a fraction of it: normal, and Student's with 2 degrees of freedom."""
    rng = np.random.default_rng(0)
    kinds: dict[str, Callable[[float], np.ndarray]] = {
        "normal": lambda scale: scale * rng.standard_normal((2, MOST_PAIRS)),
        "heavy tails": lambda scale: scale * rng.standard_t(2, size=(2, MOST_PAIRS)),
    }
    print("\n| noise | interval covers | pairs, mean | known to ±3 % |\n|---|---|---|---|")
    for kind, draw in kinds.items():
        for scale in (0.01, 0.02, 0.04, 0.08):
            covered, pairs, known = [], [], []
            for _ in range(trials):
                times = np.exp(draw(scale))
                for count in range(PAIRS, MOST_PAIRS + 1):
                    ratio = paired_ratio(list(times[0, :count]), list(times[1, :count]))
                    if ratio.precision <= PRECISION:
                        break
                covered.append(ratio.low <= 1 <= ratio.high)
                pairs.append(ratio.pairs)
                known.append(ratio.precision <= PRECISION)
            print(
                f"| {kind}, {100 * scale:.0f} % | {100 * np.mean(covered):.1f} % | {np.mean(pairs):.1f} | "
                f"{100 * np.mean(known):.0f} % |"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("files", nargs="*", type=Path, help="two ONNX files; the first is the larger one")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--trials", type=int, default=2000, help="of the simulation of coverage; 0 leaves it out")
    arguments = parser.parse_args()
    if len(arguments.files) not in (0, 2):
        parser.error(f"give two files or none, got {len(arguments.files)}")
    host = describe_host()
    print(f"{host['processor']}, onnxruntime {ort.__version__}, load average {host['load_average_1m']}")
    with tempfile.TemporaryDirectory() as folder:
        files = tuple(arguments.files) or make_files(Path(folder))
        for batch, count in ((1, 200), (32, 24)):
            print_methods((files[0], files[1]), batch, count, arguments.repeats)
    if arguments.trials:
        print_coverage(arguments.trials)


if __name__ == "__main__":
    main()
