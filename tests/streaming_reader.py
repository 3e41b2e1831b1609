"""A process that reads one epoch as training does, and says what it took: `python streaming_reader.py ARTIFACT`.

With a second argument, `whole`, it brings the whole data set to local disk and reads nothing, for comparison.

Prints JSON: `rows`; `peak_rss_bytes` of this process, and `start_rss_bytes` before it opened the data set;
`peak_disk_bytes` of the cache (allocated blocks of all its files, what is arriving included, looked at every 5 ms);
`first_batch_s` and `epoch_s`, both from before the data set was opened. No decoded image is remembered, as when they do
not fit.
"""

import json
import os
import sys
import threading
import time
from pathlib import Path

from components.core.artifacts.manifest import cache_folder, materialize, read_manifest
from components.core.data import reading
from components.core.data.dataset import open_dataset
from components.core.store import store_from_environment
from components.core.tasks import get_task
from components.core.tasks.images.assets import ImageAssets
from components.core.tasks.images.preprocess import Preprocess

PREPROCESS = Preprocess(image_size=16, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))


def peak_rss_bytes() -> int:
    # Not getrusage: a new program inherits the peak of the process that was forked for it.
    status = Path("/proc/self/status").read_text().split()
    return int(status[status.index("VmHWM:") + 1]) * 1024


class Disk(threading.Thread):
    """The most that a folder has taken."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self.folder, self.peak, self.ended = folder, 0, threading.Event()

    def run(self) -> None:
        while not self.ended.wait(0.005):
            self.peak = max(self.peak, self.taken())

    def taken(self) -> int:
        total = 0
        for path, _, names in os.walk(self.folder):
            for name in names:
                try:
                    total += Path(path, name).stat().st_blocks * 512
                except FileNotFoundError:
                    continue
        return total


def main() -> None:
    reading.MEMORY_BYTES = 0
    store, before = store_from_environment(), peak_rss_bytes()
    disk = Disk(cache_folder())
    disk.start()
    start, first, rows = time.perf_counter(), 0.0, 0
    if sys.argv[2:] == ["whole"]:
        materialize(read_manifest(sys.argv[1]), store)
    else:
        dataset = open_dataset(sys.argv[1], store)
        transform = get_task(dataset.task).transform(ImageAssets(preprocess=PREPROCESS, labels=dataset.classes))
        for batch in reading.read_batches(dataset, "train", transform, batch_size=32, seed=0):
            first = first or time.perf_counter() - start
            rows += len(batch)
    took = time.perf_counter() - start
    disk.ended.set()
    disk.join()
    found = {"rows": rows, "start_rss_bytes": before, "peak_rss_bytes": peak_rss_bytes()}
    print(json.dumps({**found, "peak_disk_bytes": disk.peak, "first_batch_s": first, "epoch_s": took}))


if __name__ == "__main__":
    main()
