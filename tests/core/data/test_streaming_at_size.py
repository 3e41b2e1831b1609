"""Ten times the data takes no more memory, and no more disk than the cache may have."""

import hashlib
import json
import os
import random
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
import streaming_reader
from noise_images import noise_rows
from object_store_server import ObjectStoreServer

from components.core.artifacts.manifest import read_manifest
from components.core.data import dataset as dataset_module
from components.core.data.dataset import write_dataset
from components.core.data.shard_cache import LIMIT_VARIABLE
from components.core.store import open_store
from components.core.tasks import get_task

SHARD_BYTES = 4_000_000
LIMIT_BYTES = 7 * SHARD_BYTES
SHARDS = 5
"""In the small data set, 20 MB; the large one has ten times as many."""


@pytest.fixture
def written(
    object_store_server: ObjectStoreServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[int], Path]:
    """Writes a data set of so many shards into a bucket, and gives its artifact."""
    for name, value in object_store_server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.setattr(dataset_module, "SHARD_BYTES", SHARD_BYTES)
    monkeypatch.setenv("TRIMTAB_STORE", f"s3://{object_store_server.bucket}/{uuid.uuid4().hex}")
    store = open_store(os.environ["TRIMTAB_STORE"])

    def write(num_shards: int) -> Path:
        rows = noise_rows(num_shards * SHARD_BYTES, side=120)
        path = tmp_path / f"{num_shards}"
        manifest = write_dataset(
            path, rows=get_task("classification").rows, classes=["a"], splits={"train": rows}, store=store
        )
        assert num_shards <= len(manifest.files) <= num_shards + 1
        return path

    return write


def reading(artifact: Path, cache: Path) -> subprocess.Popen[bytes]:
    """A process of its own that reads an epoch."""
    environment = {LIMIT_VARIABLE: str(LIMIT_BYTES / 1e9), "TRIMTAB_CACHE": str(cache)}
    command = [sys.executable, streaming_reader.__file__, str(artifact)]
    return subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.PIPE)


def measured(artifact: Path, cache: Path) -> dict:
    output, _ = reading(artifact, cache).communicate(timeout=200)
    found = json.loads(output)
    assert found["rows"] == read_manifest(artifact).metadata["counts"]["train"]
    return found


@pytest.mark.s3
def test_ten_times_the_data_takes_the_memory_of_one_and_the_disk_that_it_may(
    written: Callable[[int], Path], tmp_path: Path
) -> None:
    small, large = (measured(written(count), tmp_path / f"cache-{count}") for count in (SHARDS, 10 * SHARDS))
    assert large["rows"] >= 9 * small["rows"]
    # All of it in memory would be 180 MB more, on top of some 150.
    assert large["peak_rss_bytes"] <= 1.25 * small["peak_rss_bytes"]
    assert large["peak_disk_bytes"] <= LIMIT_BYTES
    assert large["peak_disk_bytes"] > 4 * SHARD_BYTES, "several shards at once"


@pytest.mark.s3
def test_a_reader_that_is_killed_at_any_moment_leaves_a_cache_that_the_next_one_uses(
    written: Callable[[int], Path], tmp_path: Path
) -> None:
    artifact, shards, moments = written(4 * SHARDS), tmp_path / "cache" / "shards", random.Random(0)
    left: set[str] = set()
    num_killed = 0
    while num_killed < 6 or not {".lock", ""} <= left:  # until some were killed while they fetched
        num_killed += 1
        assert num_killed < 60, f"none left a lock: {left}"
        before = listed(shards)
        with reading(artifact, tmp_path / "cache") as process:
            wait_for(lambda before=before: listed(shards) != before)
            time.sleep(moments.choice([0, moments.uniform(0, 0.5)]))
            process.kill()
        left |= {path.suffix for path in shards.iterdir()}
    assert measured(artifact, tmp_path / "cache")["peak_disk_bytes"] <= LIMIT_BYTES
    digests = {entry.sha256 for entry in read_manifest(artifact).files}
    assert {path.name for path in shards.iterdir()} <= digests, "nothing half is left"
    for path in shards.iterdir():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name


def listed(folder: Path) -> set[tuple[str, int]]:
    """Names and inodes: another file under the same name is another one."""
    return {(item.name, item.inode()) for item in os.scandir(folder)} if folder.exists() else set()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)
