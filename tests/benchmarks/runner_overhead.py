"""The cost of the local runner, side by side with `kfp.local.SubprocessRunner(use_venv=False)`.

    python tests/benchmarks/runner_overhead.py --rounds 5

Method: every measurement is a process of its own; the two runners take turns, round by round, so that what else the
machine does hits both; ratios are of medians over all rounds. CPU seconds are of the measuring process and all its
children. Compiling and kfp's import are outside the measured time, reading the YAML and starting workers inside it.

- constant: tasks that return a constant, one after another; wall time from one's end to the next one's, the first (in
  which the workers start) left out.
- torch: the same with a task that imports torch.
- sleeps: three independent sleeps of 2 s, as people write them: they request nothing; from the first task's start to
  the last one's end.
- etl: a pipeline as people write it, without a request: three downloads (a wait of 1 s each) side by side, each
  followed by a parser (0.5 s of computing), then one task that merges; from the first start to the last end.
Without a counterpart, since kfp.local has no parallel tasks beyond two:
- fifty: a loop over 50 sleeps of 1 s that request 0.02 CPU each.
- flat, loop: 1,000 tasks side by side, and in a loop; resident memory is the largest sum of RSS over the runner, its
  workers and their children (pages that they share count once for each), sampled every 50 ms.
"""

import argparse
import functools
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kfp import compiler, dsl, local

COUNT = {"constant": 20, "torch": 4, "sleeps": 3, "etl": 3, "fifty": 50, "flat": 1000, "loop": 1000}
BOTH, ALONE = ("constant", "torch", "sleeps", "etl"), ("fifty", "flat", "loop")

component = functools.partial(dsl.component, base_image="python:3.11")


@component
def constant(number: int) -> int:
    return 7


@component
def with_torch(number: int) -> int:
    import torch

    return int(torch.ones(7).sum())


@component
def sleep(seconds: float) -> int:
    import time

    time.sleep(seconds)
    return 7


@component
def compute(after: int) -> int:
    import time

    until = time.process_time() + 0.5
    while time.process_time() < until:
        after = (after * 31 + 1) % 1009
    return after


@component
def merge(values: list[int]) -> int:
    return int(sum(values))  # kfp.local hands a list of integers over as numbers


def pipeline_of(case: str, count: int) -> Any:
    """The case as a pipeline."""
    one_after_another: Any = with_torch if case == "torch" else constant

    @dsl.pipeline(name=case)
    def pipeline():
        if case in ("constant", "torch"):
            last: Any = 0
            for _ in range(count):
                last = one_after_another(number=last).output
        elif case == "sleeps":
            for _ in range(count):
                sleep(seconds=2.0)
        elif case == "etl":
            merge(values=[compute(after=sleep(seconds=1.0).output).output for _ in range(count)])
        elif case == "fifty":
            with dsl.ParallelFor([1.0] * count) as seconds:
                sleep(seconds=seconds).set_cpu_request("0.02")
        elif case == "flat":
            for number in range(count):
                constant(number=number)
        else:
            with dsl.ParallelFor(list(range(count))) as number:
                constant(number=number)

    return pipeline


def run_here(path: Path, home: Path) -> dict[str, Any]:
    """Runs a compiled case with trimtab's runner, in this process."""
    from pipelines.runner.events import TaskEnded, TaskStarted
    from pipelines.runner.options import RunOptions
    from pipelines.runner.run import run_pipeline

    heard: list[tuple[float, Any]] = []
    result = run_pipeline(
        path, {}, home=home, options=RunOptions(use_cache=False),
        listener=lambda event: heard.append((time.monotonic(), event)),
    )  # fmt: skip
    assert result.status == "succeeded", result.error
    started = [at for at, event in heard if isinstance(event, TaskStarted)]
    ended = [at for at, event in heard if isinstance(event, TaskEnded)]
    return {"tasks": [b - a for a, b in itertools.pairwise(ended)], "span": max(ended) - min(started)}


def run_kfp(case: str, count: int) -> dict[str, Any]:
    """Runs a case with kfp.local, in this process and the current folder."""
    local.init(runner=local.SubprocessRunner(use_venv=False), raise_on_error=True)
    calls: dict[str, Callable[[], Any]] = {
        "constant": lambda: constant(number=0), "torch": lambda: with_torch(number=0),
        "sleeps": lambda: sleep(seconds=2.0), "etl": lambda: compute(after=sleep(seconds=1.0).output),
    }  # fmt: skip
    began = time.monotonic()
    ends = []
    for _ in range(count):
        calls[case]()
        ends.append(time.monotonic())
    if case == "etl":
        merge(values=[7] * count)
        ends.append(time.monotonic())
    return {"tasks": [b - a for a, b in itertools.pairwise(ends)], "span": ends[-1] - began}


def measure(case: str, side: str, path: Path) -> dict[str, Any]:
    """One side of one case, in this process: seconds, CPU seconds."""
    began = time.monotonic()
    found = run_here(path, Path.cwd() / "home") if side == "trimtab" else run_kfp(case, COUNT[case])
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return {**found, "wall": time.monotonic() - began, "cpu": sum(one.ru_utime + one.ru_stime for one in used)}


def measure_apart(case: str, side: str, path: Path) -> dict[str, Any]:
    """`measure` in a process and a folder of its own, and the largest resident memory of its family."""
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [sys.executable, __file__, "--one", case, side, str(path)], cwd=folder, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, env={**os.environ, "TRIMTAB_STORE": str(Path(folder, "store"))},
        )  # fmt: skip
        largest = [0]
        over = threading.Event()

        def watch() -> None:
            while not over.wait(0.05):
                largest[0] = max(largest[0], resident(process.pid))

        watcher = threading.Thread(target=watch)
        if case in ALONE:
            watcher.start()
        said, _ = process.communicate()
        over.set()
        if process.returncode:
            sys.exit(f"{case}, {side}: exit code {process.returncode}")
    return {**json.loads(said.splitlines()[-1]), "bytes": largest[0]}


def resident(pid: int) -> int:
    """Bytes of RSS of a process and all that come from it."""
    try:
        own = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (OSError, IndexError):
        return 0
    return own + sum(resident(int(child)) for child in children)


def main() -> None:
    """Compiles the cases, measures in turns, prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cases", nargs="+", default=[*BOTH, *ALONE], choices=[*BOTH, *ALONE])
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.one[0], arguments.one[1], Path(arguments.one[2]))))
        return
    with tempfile.TemporaryDirectory() as folder:
        paths = {case: Path(folder, f"{case}.yaml") for case in arguments.cases}
        for case, path in paths.items():
            compiler.Compiler().compile(pipeline_of(case, COUNT[case]), str(path))
        found: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for number in range(arguments.rounds):
            for case, path in paths.items():
                sides = ["trimtab", "kfp.local"] if case in BOTH else ["trimtab"]
                for side in sides if number % 2 == 0 else reversed(sides):
                    found.setdefault((case, side), []).append(measure_apart(case, side, path))
    report(found)


def report(found: dict[tuple[str, str], list[dict[str, Any]]]) -> None:
    """Prints medians over all rounds, and kfp.local's over trimtab's."""
    print(f"{'':36} {'trimtab':>10} {'kfp.local':>10} {'ratio':>7}")
    for case in dict.fromkeys(case for case, _ in found):
        rows: dict[str, Callable[[dict[str, Any]], list[float]]] = {}
        if case in ("constant", "torch"):
            rows["ms per task, p50"] = lambda one: [1000 * seconds for seconds in one["tasks"]]
            rows["CPU ms per task"] = lambda one, case=case: [1000 * one["cpu"] / COUNT[case]]  # type: ignore[misc]
        else:
            rows["s, first start to last end"] = lambda one: [one["span"]]
            rows["s, all in"] = lambda one: [one["wall"]]
            rows["CPU s"] = lambda one: [one["cpu"]]
        if case in ALONE:
            rows["MiB resident"] = lambda one: [one["bytes"] / 2**20]
        for name, values in rows.items():
            medians = [
                statistics.median(value for one in found[case, side] for value in values(one))
                for side in ("trimtab", "kfp.local") if (case, side) in found
            ]  # fmt: skip
            ratio = f"{medians[1] / medians[0]:6.1f}x" if len(medians) == 2 else ""
            print(f"{case + ': ' + name:36}", *(f"{median:10.1f}" for median in medians), ratio)


if __name__ == "__main__":
    main()
