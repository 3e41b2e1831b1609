"""The gain of reading the data in parts: the nested pipeline `prepare` in the local runner, by the number of parts.

    python tests/benchmarks/data_parts.py --rounds 3

Method: made-up pictures in two class folders, in the page cache; `photos` are JPEGs of 500 × 375 pixels, `thumbnails`
PNGs of 28 × 28. Each measurement is a run of its own in an empty home, without cached results. The numbers of parts
take turns, round by round, so that what else the machine does hits all of them. Ratios are of medians over the rounds,
to one part. Shown beside the wall time of the run: the CPU seconds of all its processes, the sum of the parts' seconds
and those of the merge. Every number of parts must give the same data set.
"""

import argparse
import io
import os
import resource
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
from kfp import compiler, dsl
from PIL import Image, ImageFilter

from components.core.tasks.parameters import FIRST, forms
from components.preflight.plan import plan_parts
from pipelines.runner.options import RunOptions
from pipelines.runner.run import run_pipeline
from pipelines.search import prepare_part

PARTS = (1, 2, 7)


class Measured(NamedTuple):
    """Seconds: of the run, of all its CPUs, of its parts together and of the merge; and the data set's digest."""

    wall: float
    cpu: float
    parts: float
    merge: float
    digest: str


def write_pictures(folder: Path, kind: str, count: int) -> None:
    generator = np.random.default_rng(0)
    for number in range(count):
        path = folder / "ab"[number % 2] / f"{number:06d}.{'jpg' if kind == 'photos' else 'png'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        if kind == "photos":
            noise = Image.fromarray(generator.integers(0, 256, (375, 500, 3), dtype=np.uint8))
            noise.filter(ImageFilter.GaussianBlur(0.8)).save(buffer, "JPEG", quality=92)
        else:
            Image.fromarray(generator.integers(0, 256, (28, 28), dtype=np.uint8)).save(buffer, "PNG")
        path.write_bytes(buffer.getvalue())
    sizes = [path.stat().st_size for path in folder.rglob("*.*")]
    print(f"{kind}: {count:,} files of {statistics.mean(sizes) / 1e3:.0f} kB")


def compiled(folder: Path, dataset: Path, count: int) -> Path:
    form = forms()[FIRST]
    given = {one.name: one.default for one in form.parameters}
    given |= {"dataset": str(dataset), "task": form.task, "dataset_state": "", "data_settings": {}}
    nested = prepare_part(form)

    @dsl.pipeline(name="only-prepare")
    def only_prepare() -> None:
        nested({**given, "parts": plan_parts(count)})

    path = folder / f"{dataset.name}-{count}.yaml"
    compiler.Compiler().compile(only_prepare, str(path))
    return path


def measure(path: Path) -> Measured:
    with tempfile.TemporaryDirectory() as home:
        os.environ["TRIMTAB_CACHE"] = f"{home}/cache"
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        options = RunOptions(use_cache=False)
        result = run_pipeline(path, {}, options=options, listener=lambda _: None, home=Path(home))
        wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    assert result.status == "succeeded", [(task.task, task.status, task.error) for task in result.tasks]
    seconds: defaultdict[str, float] = defaultdict(float)
    for task in result.tasks:
        seconds[task.task.rpartition("/")[2]] += task.seconds
        if task.task.endswith("/data-prep"):
            digest = task.output_artifacts["prepared"][0]["metadata"]["digest"]
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Measured(wall, cpu, seconds["data-part"], seconds["data-prep"], digest)


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    return f"{name}, {len(os.sched_getaffinity(0))} CPUs, load {os.getloadavg()[0]:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--photos", type=int, default=2000)
    parser.add_argument("--thumbnails", type=int, default=20_000)
    asked = parser.parse_args()
    os.environ.pop("TRIMTAB_STORE", None)
    print(processor())
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for kind, count in (("photos", asked.photos), ("thumbnails", asked.thumbnails)):
            if not count:
                continue
            write_pictures(folder / kind, kind, count)
            pipelines = {parts: compiled(folder, folder / kind, parts) for parts in PARTS}
            found: defaultdict[int, list[Measured]] = defaultdict(list)
            for number in range(asked.rounds):
                for shift in range(len(PARTS)):
                    parts = PARTS[(number + shift) % len(PARTS)]
                    found[parts].append(measure(pipelines[parts]))
                    print(f"  round {number + 1}, {parts} parts: {found[parts][-1].wall:.1f} s", flush=True)
            assert len({one.digest for measured in found.values() for one in measured}) == 1
            alone = statistics.median(one.wall for one in found[1])
            for parts in PARTS:
                middle = [statistics.median(column) for column in list(zip(*found[parts], strict=True))[:4]]
                print(
                    f"  {parts} parts: wall {middle[0]:.1f} s ({alone / middle[0]:.2f}x), CPU {middle[1]:.1f} s, parts "
                    f"{middle[2]:.1f} s, merge {middle[3]:.1f} s"
                )
    print(processor())


if __name__ == "__main__":
    main()
