"""A store that holds what a pipeline made before its training, and nodes that have nothing else in common."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from object_store_server import ObjectStoreServer
from tiny_world import make_bundle, make_dataset, one_thread, save_bundle  # noqa: F401  (pytest finds them here)
from train_job_nodes import lose_power

from components.core.store import Store, open_store

VALUES = {
    "serviceAccount": "trimtab-runner",
    "defaults": {
        "configMapEnv": {"trimtab-store": {key: key for key in ("TRIMTAB_STORE", "AWS_ENDPOINT_URL", "AWS_REGION")}},
        "secretEnv": {
            "trimtab-store-credentials": {key: key for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
        },
    },
}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, object_store_server: ObjectStoreServer) -> Store:
    """A store in S3, and its address and key in the environment: all that the nodes share."""
    for name, value in object_store_server.environment.items():
        monkeypatch.setenv(name, value)
    uri = f"s3://{object_store_server.bucket}/{tmp_path.name}"
    monkeypatch.setenv("TRIMTAB_STORE", uri)
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    return open_store(uri)


@pytest.fixture(autouse=True)
def no_node_is_left(tmp_path: Path) -> Iterator[None]:
    """Also when a test fails, and the others would wait for the one that is lost."""
    yield
    for folder in tmp_path.glob("node-*"):
        lose_power(folder)


@pytest.fixture
def values_file(tmp_path: Path) -> Path:
    path = tmp_path / "values.yaml"
    path.write_text(yaml.safe_dump(VALUES))
    return path
