"""Both kinds of store for one suite."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import botocore.endpoint
import pytest
from fault_proxy import FaultProxy
from object_store_server import ObjectStoreServer

from components.core.store import Store, open_store
from components.core.store.backends.local_objects import LocalObjects
from components.core.store.backends.objects import Objects
from components.core.store.backends.s3.objects import S3Objects


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.s3)])
def store_uri(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URI of an empty store of each kind; for S3, with the environment that reaches the server."""
    if request.param == "local":
        return str(tmp_path / "store")
    server: ObjectStoreServer = request.getfixturevalue("object_store_server")
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    return f"s3://{server.bucket}/{uuid.uuid4().hex}"


@pytest.fixture
def objects(store_uri: str) -> Objects:
    """The low floor, with sizes at which a small test meets many parts and many pages."""
    if store_uri.startswith("s3://"):
        bucket, prefix = store_uri.removeprefix("s3://").split("/", 1)
        return S3Objects(
            bucket=bucket, prefix=prefix, multipart_bytes=6 << 20, part_bytes=5 << 20, range_bytes=5 << 20, page_size=3
        )
    return LocalObjects(Path(store_uri))


@pytest.fixture
def store(objects: Objects) -> Store:
    return Store(objects)


@pytest.fixture
def another_store(store_uri: str) -> Store:
    """The same store, opened by someone else."""
    return open_store(store_uri)


@pytest.fixture
def faulty(object_store_server: ObjectStoreServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    """A proxy between an `S3Objects` that is opened now and the server; nothing waits before a retry."""
    proxy = FaultProxy(object_store_server.endpoint)
    for name, value in object_store_server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
    # The backoff is botocore's and ours; waiting for it would only make the suite slow.
    quick = SimpleNamespace(**{**vars(time), "sleep": lambda seconds: None})
    for module in ("objects", "downloads"):
        monkeypatch.setattr(f"components.core.store.backends.s3.{module}.time", quick)
    monkeypatch.setattr(botocore.endpoint, "time", quick)
    yield proxy
    proxy.stop()
