"""The object store of the overlay `dev`, started here with the arguments and environment of its manifest."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import boto3.session
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from manifests.objects import Object, of_kind
from object_store_server import free_ports

from components.core.store import open_store

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "trimtab", "AWS_SECRET_ACCESS_KEY": "not-a-real-secret"}


@pytest.fixture(scope="module")
def dev(rendered: dict[str, list[Object]]) -> dict[str, Object]:
    """By kind and name."""
    return {f"{obj['kind']}/{obj['metadata']['name']}": obj for obj in rendered["dev"]}


@pytest.fixture(scope="module")
def endpoint(dev: dict[str, Object], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The manifest's server, with another folder and free ports: those are the test machine's, not the pod's."""
    (container,) = dev["StatefulSet/trimtab-store"]["spec"]["template"]["spec"]["containers"]
    folder = tmp_path_factory.mktemp("dev-store")
    s3, master, volume, filer, admin = free_ports(5)
    arguments = [a.replace("=/data", f"={folder}").replace("s3.port=8333", f"s3.port={s3}") for a in container["args"]]
    arguments += [f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}", f"-admin.port={admin}"]
    program = shutil.which("weed", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    assert program is not None
    environment = {entry["name"]: CREDENTIALS[entry["valueFrom"]["secretKeyRef"]["key"]] for entry in container["env"]}
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen([program, *arguments], cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        _wait(f"http://127.0.0.1:{s3}", server, folder / "log")
        yield f"http://127.0.0.1:{s3}"
    finally:
        server.kill()
        server.wait()


def _wait(endpoint: str, server: subprocess.Popen[bytes], log: Path) -> None:
    client = _client(endpoint, **CREDENTIALS)
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and server.poll() is None:
        try:
            client.put_object(Bucket="trimtab", Key="ready", Body=b"ready")
        except (ClientError, BotoCoreError):
            time.sleep(0.2)
        else:
            return
    pytest.fail(f"the object store of the manifest did not come up:\n{log.read_text(errors='replace')[-2000:]}")


def _client(endpoint: str, **credentials: str):
    keys = {name.lower(): value for name, value in credentials.items()}
    config = Config(retries={"total_max_attempts": 1}, proxies={}, signature_version=None if keys else UNSIGNED)
    return boto3.session.Session().client("s3", endpoint_url=endpoint, region_name="us-east-1", config=config, **keys)


@pytest.mark.s3
def test_trimtab_reads_and_writes_with_what_the_config_map_and_the_secret_give(
    dev: dict[str, Object], endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    settings = dev["ConfigMap/trimtab-store"]["data"]
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in (settings | CREDENTIALS | {"AWS_ENDPOINT_URL_S3": endpoint, "NO_PROXY": "127.0.0.1"}).items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)

    store = open_store(os.environ["TRIMTAB_STORE"])
    digest = store.blobs.put(b"bytes")

    assert store.blobs.get(digest) == b"bytes"


@pytest.mark.s3
def test_without_a_key_nothing_is_readable(endpoint: str):
    with pytest.raises(ClientError) as refused:
        _client(endpoint).list_objects_v2(Bucket="trimtab")

    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


@pytest.mark.s3
def test_the_probes_ask_for_a_page_that_is_there(dev: dict[str, Object], endpoint: str):
    (container,) = dev["StatefulSet/trimtab-store"]["spec"]["template"]["spec"]["containers"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        connection = HTTPConnection("127.0.0.1", urlsplit(endpoint).port, timeout=10)
        connection.request("GET", container[probe]["httpGet"]["path"])
        assert connection.getresponse().status == 200


def test_only_the_s3_port_is_open_to_other_pods(dev: dict[str, Object]):
    policy = dev["NetworkPolicy/trimtab-store"]["spec"]

    assert [rule["ports"] for rule in policy["ingress"]] == [[{"protocol": "TCP", "port": 8333}]]
    assert policy["egress"] == []


def test_the_object_store_has_its_own_account_without_a_token(rendered: dict[str, list[Object]]):
    (account,) = (o for o in of_kind(rendered["dev"], "ServiceAccount") if o["metadata"]["name"] == "trimtab-store")

    assert account["automountServiceAccountToken"] is False
