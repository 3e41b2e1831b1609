"""Who we are and whom we trust: boto3's chain decides, for every request, and nothing overrides it."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import pytest
from fault_proxy import FaultProxy
from object_store_server import WRITER, ObjectStoreServer

from components.core.store import Store, StoreUnavailable
from components.core.store.backends.s3.objects import S3Objects

pytestmark = pytest.mark.s3
BODY = random.Random(6).randbytes(11 << 20)


class Cloud:
    """Services that hand out credentials inside a cloud: instance metadata, a container's agent, the token service."""

    def __init__(self) -> None:
        until = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
        keys = {"AccessKeyId": WRITER[0], "SecretAccessKey": WRITER[1], "Token": "", "Expiration": until}
        sts = "".join(f"<{name}>{value}</{name}>" for name, value in keys.items()).replace("Token>", "SessionToken>")
        answers = {
            "/latest/api/token": "a-token",
            "/latest/meta-data/iam/security-credentials/": "a-role",
            "/latest/meta-data/iam/security-credentials/a-role": json.dumps({"Code": "Success", **keys}),
            "/container": json.dumps(keys),
            "/": f'<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
            f"<AssumeRoleWithWebIdentityResult><Credentials>{sts}</Credentials></AssumeRoleWithWebIdentityResult>"
            "</AssumeRoleWithWebIdentityResponse>",
        }

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.send_response(200 if self.path in answers else 404)
                self.end_headers()
                self.wfile.write(answers.get(self.path, "").encode())

            do_PUT = do_POST = do_GET  # noqa: N815

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def cloud(faulty: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """The environment without any credentials, and where a test may take some from."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    cloud = Cloud()
    yield cloud
    cloud.stop()


def check_that_everything_is_signed_by_the_writer(faulty: FaultProxy, folder: Path) -> None:
    objects = S3Objects(
        bucket="artifacts", prefix=uuid.uuid4().hex, multipart_bytes=6 << 20, part_bytes=5 << 20, range_bytes=5 << 20
    )
    store = Store(objects)
    digests = store.blobs.put_many([BODY, b"small"])
    store.blobs.fetch_many({folder / digest: digest for digest in digests})
    assert [(folder / digest).read_bytes() for digest in digests] == [BODY, b"small"]
    signed = [f"Credential={WRITER[0]}/" in seen.headers["Authorization"] for seen in faulty.requests]
    assert signed
    assert all(signed)
    # The quick way was used, and not given up for boto3's after a refusal.
    assert {seen.headers["Host"] for seen in faulty.requests} == {urlsplit(faulty.endpoint).netloc}
    moved = [seen for seen in faulty.requests if "Range" in seen.headers or seen.is_part]
    assert {seen.headers["User-Agent"] for seen in moved} == {"trimtab"}


def test_a_pod_or_container_has_an_identity(
    cloud: Cloud, faulty: FaultProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{cloud.endpoint}/container")
    check_that_everything_is_signed_by_the_writer(faulty, tmp_path)


def test_an_instance_has_an_identity(
    cloud: Cloud, faulty: FaultProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", f"{cloud.endpoint}/")
    check_that_everything_is_signed_by_the_writer(faulty, tmp_path)


def test_a_service_account_has_an_identity(
    cloud: Cloud, faulty: FaultProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("a-web-identity-token")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/trimtab")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"{cloud.endpoint}/")
    check_that_everything_is_signed_by_the_writer(faulty, tmp_path)


def test_a_profile_has_credentials_and_an_endpoint(
    cloud: Cloud, faulty: FaultProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "credentials").write_text(
        f"[team]\naws_access_key_id = {WRITER[0]}\naws_secret_access_key = {WRITER[1]}\n"
    )
    (tmp_path / "config").write_text(f"[profile team]\nendpoint_url = {os.environ['AWS_ENDPOINT_URL']}\n")
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "team")
    check_that_everything_is_signed_by_the_writer(faulty, tmp_path)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A key and a certificate for 127.0.0.1 that no authority of this machine knows, in one file."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificate")
    made, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(made)]
    subprocess.run(command, check=True, capture_output=True)
    both = tmp_path / "both.pem"
    both.write_text(made.read_text() + key.read_text())
    return both


def test_an_authority_of_ones_own_is_trusted_where_it_is_named_and_nowhere_else(
    object_store_server: ObjectStoreServer,
    faulty: FaultProxy,
    certificate: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prefix = uuid.uuid4().hex
    digest = Store(S3Objects(bucket="artifacts", prefix=prefix)).blobs.put(BODY)
    proxy = FaultProxy(object_store_server.endpoint, certificate=certificate)
    try:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        with pytest.raises(StoreUnavailable, match="AWS_CA_BUNDLE"):
            Store(S3Objects(bucket="artifacts", prefix=prefix)).blobs.put(b"small")
        assert proxy.requests == []
        monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "certificate.pem"))
        store = Store(
            S3Objects(
                bucket="artifacts", prefix=prefix, multipart_bytes=6 << 20, part_bytes=5 << 20, range_bytes=5 << 20
            )
        )
        assert store.blobs.get(store.blobs.put(b"small")) == b"small"
        store.blobs.fetch(digest, tmp_path / "copy")
        empty = S3Objects(
            bucket="artifacts", prefix=f"{prefix}-2", multipart_bytes=6 << 20, part_bytes=5 << 20, range_bytes=5 << 20
        )
        Store(empty).blobs.fetch(Store(empty).blobs.put(BODY), tmp_path / "other")
    finally:
        proxy.stop()
    assert (tmp_path / "copy").read_bytes() == BODY
    assert (tmp_path / "other").read_bytes() == BODY
    moved = [seen for seen in proxy.requests if "Range" in seen.headers or seen.is_part]
    assert {seen.headers["User-Agent"] for seen in moved} == {"trimtab"}
