"""Ten times the data takes no more memory, and no more disk than the cache may have."""

import hashlib
import io
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from object_store_server import ObjectStoreServer
from PIL import Image

from components.core.artifacts import dataset as dataset_module
from components.core.artifacts.dataset import write_dataset
from components.core.artifacts.shard_cache import LIMIT_VARIABLE
from components.core.store import open_store

SHARD_BYTES = 4_000_000
LIMIT_BYTES = 7 * SHARD_BYTES
SHARDS = 5
"""In the small data set, 20 MB; the large one has ten times as many."""


@pytest.fixture
def measured(
    object_store_server: ObjectStoreServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[int], dict]:
    """Writes a data set of so many shards into a bucket, and reads it in a process of its own with an empty cache."""
    for name, value in object_store_server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.setattr(dataset_module, "SHARD_BYTES", SHARD_BYTES)
    monkeypatch.setenv("TRIMTAB_STORE", f"s3://{object_store_server.bucket}/{uuid.uuid4().hex}")
    store = open_store(os.environ["TRIMTAB_STORE"])

    def measure(num_shards: int) -> dict:
        path = tmp_path / f"{num_shards}"
        rows = noise(num_shards * SHARD_BYTES)
        manifest = write_dataset(path, task="classification", classes=["a"], splits={"train": rows}, store=store)
        assert num_shards <= len(manifest.files) <= num_shards + 1
        environment = {LIMIT_VARIABLE: str(LIMIT_BYTES / 1e9), "TRIMTAB_CACHE": str(tmp_path / f"cache-{num_shards}")}
        command = [sys.executable, str(Path(__file__).with_name("streaming_reader.py")), str(path)]
        answer = subprocess.run(command, env={**os.environ, **environment}, check=True, capture_output=True)
        found = json.loads(answer.stdout)
        assert found["rows"] == manifest.metadata["counts"]["train"]
        return found

    return measure


def noise(total: int) -> Iterator[dict]:
    """Rows of one image that does not compress, under another name each, of `total` bytes together."""
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (120, 120, 3), dtype=np.uint8)).save(buffer, "PNG")
    image = buffer.getvalue()
    for number in range(total // len(image)):
        digest = hashlib.sha256(str(number).encode()).hexdigest()
        yield {"image": image, "label": 0, "digest": digest, "source": str(number)}


@pytest.mark.s3
def test_ten_times_the_data_takes_the_memory_of_one_and_the_disk_that_it_may(measured: Callable[[int], dict]) -> None:
    small, large = measured(SHARDS), measured(10 * SHARDS)
    assert large["rows"] >= 9 * small["rows"]
    # All of it in memory would be 180 MB more, on top of some 150.
    assert large["peak_rss_bytes"] <= 1.25 * small["peak_rss_bytes"]
    assert large["peak_disk_bytes"] <= LIMIT_BYTES
    assert large["peak_disk_bytes"] > 4 * SHARD_BYTES, "several shards at once"
