"""Small files that decode to gigabytes, against the memory that the stage asks a cluster for."""

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from components.core.tasks.images.in_flight import BytesInFlight
from pipelines.quantities import num_bytes

COMPILED = Path(__file__).parents[2] / "pipelines" / "compiled" / "optimize.yaml"
PREPARE = """
import resource, sys
from pathlib import Path
from components.core.data.dataset import open_dataset
from components.core.store import open_store
from components.core.tasks import get_task
from components.data_prep.prepare import prepare
from components.data_prep.settings import Settings

data, out, task, most_bytes = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_AS, (int(most_bytes), int(most_bytes)))
store = open_store(f"{out}/store")
result = prepare(Settings(dataset=data, rows=get_task(task).rows), f"{out}/artifact", store)
assert not result.quarantine.files, result.quarantine.records()
dataset = open_dataset(f"{out}/artifact", store)
print(sum(dataset.counts.values()), "rows", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, "MB")
"""


def requested_bytes() -> int:
    executors = yaml.safe_load(COMPILED.read_text().split("\n---")[0])["deploymentSpec"]["executors"]
    return int(num_bytes(executors["exec-data-prep"]["container"]["resources"]["resourceMemoryRequest"], "here"))


def prepare_within(data: Path, out: Path, task: str, most_bytes: int) -> str:
    command = [sys.executable, "-c", PREPARE, str(data), str(out), task, str(most_bytes)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert ended.returncode == 0, ended.stderr[-2000:]
    return ended.stdout


def write_png(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path, compress_level=1)
    assert path.stat().st_size < 1_500_000


def test_deep_pictures_of_the_largest_size_are_prepared_within_the_memory_that_is_asked_for(tmp_path: Path) -> None:
    for number in range(6):
        picture = np.full((8192, 8192), 1000 * number, dtype=np.uint16)
        picture[:64, :64] = 7
        write_png(tmp_path / "data" / "ab"[number % 2] / f"{number}.png", picture)
    assert prepare_within(tmp_path / "data", tmp_path, "classification", requested_bytes()).startswith("6 rows")


def test_masks_of_the_largest_size_are_prepared_within_the_memory_that_is_asked_for(tmp_path: Path) -> None:
    for number in range(3):
        write_png(tmp_path / "data" / "images" / f"{number}.png", np.full((7990, 8000, 3), number, dtype=np.uint8))
        mask = np.zeros((7990, 8000), dtype=np.uint16)
        mask[number : number + 100] = 255
        write_png(tmp_path / "data" / "masks" / f"{number}.png", mask)
    (tmp_path / "data" / "classes.json").write_text('{"background": 0, "object": 255}')
    assert prepare_within(tmp_path / "data", tmp_path, "segmentation", requested_bytes()).startswith("3 rows")


def test_no_more_bytes_are_held_together_than_allowed_and_what_is_larger_is_held_alone() -> None:
    limit, held, most, errors = BytesInFlight(100), [0], [0], []
    lock = threading.Lock()

    def work(num_bytes: int) -> None:
        for _ in range(50):
            with limit.holding(num_bytes):
                with lock:
                    held[0] += num_bytes
                    most[0] = max(most[0], held[0])
                    if held[0] > 100 and held[0] != num_bytes:
                        errors.append(held[0])
                with lock:
                    held[0] -= num_bytes

    threads = [threading.Thread(target=work, args=(size,)) for size in (30, 40, 60, 250, 10, 90)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert not errors
    assert most[0] == 250
