"""Training on a data set in a bucket, of which the local disk holds a few shards."""

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from object_store_server import ObjectStoreServer

from components.core.artifacts.manifest import read_manifest
from components.core.data import dataset as dataset_module
from components.core.data import reading
from components.core.data.shard_cache import LIMIT_VARIABLE
from components.core.store import Store, open_store
from components.core.store.contents.blobs import Blobs
from components.fine_tune.component import fine_tune

SETTINGS = {
    "epochs": 2, "head_epochs": 2, "batch_size": 16, "learning_rate": 0.002, "layer_decay": 1.0, "ema_decay": 0.8,
    "warmup_fraction": 0.0,
}  # fmt: skip
SHARD_BYTES = 30_000


@pytest.fixture
def inputs(make_dataset: Any, make_bundle: Any, save_bundle: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Ten shards and more; no image is remembered from one epoch to the next."""
    monkeypatch.setattr(dataset_module, "SHARD_BYTES", SHARD_BYTES)
    monkeypatch.setattr(reading, "MEMORY_BYTES", 0)
    found = {
        "dataset": make_dataset(train=96, validation=32),
        "model": save_bundle(make_bundle("timm:test_efficientnet")),
    }
    assert len(shards(found)) > 10
    return found


@pytest.fixture
def bucket(
    inputs: dict[str, Path], store: Store, object_store_server: ObjectStoreServer, monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Callable[[], None]:  # fmt: skip
    """From the call on the store is a bucket that has the inputs' blobs, and the cache is empty and small."""

    def move() -> None:
        for name, value in object_store_server.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("AWS_PROFILE", raising=False)
        uri = f"s3://{object_store_server.bucket}/{uuid.uuid4().hex}"
        there = open_store(uri)
        for artifact in inputs.values():
            for entry in read_manifest(artifact).files:
                there.blobs.put(store.blobs.get(entry.sha256))
        monkeypatch.setenv("TRIMTAB_STORE", uri)
        monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "streamed"))
        monkeypatch.setenv(LIMIT_VARIABLE, str(4 * 1.2 * SHARD_BYTES / 1e9))

    return move


def shards(inputs: dict[str, Path]) -> set[str]:
    """Digests of the shards that training reads."""
    files = read_manifest(inputs["dataset"]).files
    return {file.sha256 for file in files if file.path.startswith(("train-", "validation-"))}


def digest(outputs: dict[str, Any]) -> str:
    return read_manifest(outputs["tuned"].path, kind="model").digest


@pytest.mark.s3
def test_training_on_a_streamed_data_set_gives_the_digest_of_training_on_a_local_one(
    inputs: dict[str, Path], run_stage: Any, bucket: Callable[[], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    local = digest(run_stage(fine_tune, inputs=inputs, run_name="local", **SETTINGS))
    bucket()
    fetched, fetch = [], Blobs.fetch

    def counted(self: Blobs, digest: str, path: Path) -> None:
        fetched.append(digest)
        fetch(self, digest, path)

    monkeypatch.setattr(Blobs, "fetch", counted)
    streamed = run_stage(fine_tune, inputs=inputs, run_name="streamed", **SETTINGS)
    assert digest(streamed) == local
    of_data = [one for one in fetched if one in shards(inputs)]
    assert set(of_data) == shards(inputs)
    assert len(of_data) > 2 * len(shards(inputs)), "each epoch fetches anew what had to make room"
    kept = [path.stat().st_size for path in (tmp_path / "streamed" / "shards").iterdir()]
    assert 0 < sum(kept) <= 4 * 1.2 * SHARD_BYTES


@pytest.mark.s3
@pytest.mark.e2e
def test_processes_that_share_each_batch_share_the_streamed_shards(
    inputs: dict[str, Path], run_stage: Any, bucket: Callable[[], None]
) -> None:
    local = digest(run_stage(fine_tune, inputs=inputs, run_name="local", num_processes=2, **SETTINGS))
    bucket()
    assert digest(run_stage(fine_tune, inputs=inputs, run_name="streamed", num_processes=2, **SETTINGS)) == local
