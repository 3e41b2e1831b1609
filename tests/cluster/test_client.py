"""Every way in which a cluster is not there or does not want to, as one line, in bounded time."""

import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kfp_server import KfpServer, serving

from components.core.errors import UserError
from pipelines.cluster import client as client_module
from pipelines.cluster import rest
from pipelines.cluster.client import Endpoint, connect
from pipelines.cluster.errors import ClusterError
from pipelines.cluster.images import Images
from pipelines.cluster.package import Package, make_package
from pipelines.cluster.submission import ensure_experiment, ensure_version


@pytest.fixture
def package(compiled: Path) -> Package:
    return make_package(compiled, images=Images(), values=None)


def error_of(call: Callable[[], Any]) -> ClusterError:
    with pytest.raises(ClusterError) as error:
        call()
    assert len(str(error.value).splitlines()) == 1
    return error.value


@pytest.mark.parametrize(
    ("kind", "message", "transient"),
    [
        (401, "wants to know who asks (401)", False),
        (403, "does not allow this (403): fault 403", False),
        (500, "failed (500): fault 500; try again", True),
        (503, "is not ready (503)", True),
        ("html", "but not like the KFP API", False),
        ("text", "but not like the KFP API", False),
        ("hang", "no answer within 0.3 s", True),
        ("drop", "the connection broke", True),
    ],
)
def test_each_failure_says_what_it_is_and_asks_once(
    kfp_server: KfpServer, monkeypatch: pytest.MonkeyPatch, kind: Any, message: str, transient: bool
) -> None:
    monkeypatch.setattr(client_module, "FIRST_ANSWER_SECONDS", 0.3)
    kfp_server.fail("healthz", kind)
    error = error_of(lambda: connect(Endpoint(host=kfp_server.url)))
    assert message in str(error)
    assert kfp_server.url in str(error)
    assert error.transient is transient
    assert len(kfp_server.requests) == 1


def test_later_requests_end_as_well(kfp_server: KfpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    client = connect(Endpoint(host=kfp_server.url))
    monkeypatch.setattr(rest, "READ_SECONDS", 0.3)
    kfp_server.fail("/pipelines", "hang", times=1)
    assert "no answer within 0.3 s" in str(error_of(client.list_pipelines))


def test_another_path_of_the_same_host_is_no_api(kfp_server: KfpServer) -> None:
    kfp_server.fail("/pipeline/", "html")
    for host in (f"{kfp_server.url}/pipeline", f"{kfp_server.url}/other"):
        error = error_of(lambda host=host: connect(Endpoint(host=host)))
        assert "/apis/v2beta1/healthz" in str(error) or "Not Found" in str(error)


def test_a_refused_connection_and_an_unknown_name_are_told_apart() -> None:
    assert "nothing listens there" in str(error_of(lambda: connect(Endpoint(host="http://127.0.0.1:9"))))
    unknown = error_of(lambda: connect(Endpoint(host="http://kfp.invalid")))
    assert "the name 'kfp.invalid' does not resolve" in str(unknown)


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("", "give --host URL, or set KF_PIPELINES_ENDPOINT"),
        ("localhost:8080", "write it as https://host"),
        ("ftp://x", "write it as https://host"),
        ("http://", "write it as https://host"),
        ("http://x:port", "write it as https://host"),
        ("http://localhost:8080/#/pipelines", "leave out the '#'"),
        ("https://me:hunter2@host", "give a token with --token-file"),
    ],
)
def test_a_host_that_is_none_is_the_users_mistake(kfp_server: KfpServer, host: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        connect(Endpoint(host=host))
    assert message in str(error.value)
    assert "hunter2" not in str(error.value)


def test_the_host_may_come_from_the_environment(kfp_server: KfpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KF_PIPELINES_ENDPOINT", kfp_server.url)
    connect(Endpoint())
    assert kfp_server.sent("GET", "healthz")


def test_a_certificate_of_a_private_ca_is_trusted_once_it_is_named(
    kfp_server: KfpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, "-days", "1",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    with serving(kfp_server, tls):
        error = error_of(lambda: connect(Endpoint(host=kfp_server.url)))
        assert "its certificate is not trusted" in str(error)
        assert "SSL_CERT_FILE" in str(error)
        assert not error.transient
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert connect(Endpoint(host=kfp_server.url)).list_pipelines().total_size == 0


def test_a_broken_context_file_is_named(kfp_server: KfpServer, tmp_path: Path) -> None:
    (tmp_path / ".config/kfp").mkdir(parents=True)
    (tmp_path / ".config/kfp/context.json").write_text("{")
    with pytest.raises(UserError, match="keeps its context, is not JSON; delete it"):
        connect(Endpoint(host=kfp_server.url))


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff"])
def test_a_token_file_without_a_token_is_refused(kfp_server: KfpServer, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(UserError, match=r"is empty|is not text"):
        connect(Endpoint(host=kfp_server.url, token_file=tmp_path / "token"))


def test_a_token_that_is_rotated_is_read_again(kfp_server: KfpServer, tmp_path: Path) -> None:
    kfp_server.token = "first"
    (tmp_path / "token").write_text("first")
    client = connect(Endpoint(host=kfp_server.url, token_file=tmp_path / "token"))
    kfp_server.token = "second"
    (tmp_path / "token").write_text("second")
    assert client.list_pipelines().total_size == 0


def test_a_token_file_that_is_gone_later_is_one_line(kfp_server: KfpServer, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("first")
    client = connect(Endpoint(host=kfp_server.url, token_file=tmp_path / "token"))
    (tmp_path / "token").unlink()
    error = error_of(client.list_pipelines)
    assert "any more: No such file" in str(error)
    assert error.transient  # it may just be being replaced


def test_who_uploads_at_the_same_time_gets_the_same_version(kfp_server: KfpServer, package: Package) -> None:
    """Each 409 stands for somebody who made it between the look and the request."""
    client = connect(Endpoint(host=kfp_server.url))
    first = ensure_version(client, package)
    for listed in ("/pipelines$", "/versions$"):
        kfp_server.requests.clear()
        empty = {"pipelines": [], "pipeline_versions": []}
        answer, times = kfp_server.answer, [1]

        def once_empty(request: Any, listed: str = listed, answer: Any = answer, times: list[int] = times) -> Any:
            if request.method == "GET" and request.path.endswith(listed[:-1]) and times:
                times.pop()
                return empty  # noqa: B023
            return answer(request)

        kfp_server.answer = once_empty  # type: ignore[method-assign]
        second = ensure_version(client, package)
        kfp_server.answer = answer  # type: ignore[method-assign]
        assert (second.pipeline_id, second.version_id, second.is_new) == (first.pipeline_id, first.version_id, False)
    assert (len(kfp_server.objects["pipelines"]), len(kfp_server.objects["versions"])) == (1, 1)


def test_a_conflict_that_nobody_can_be_found_for_is_reported(kfp_server: KfpServer, package: Package) -> None:
    kfp_server.fail("/pipelines$", 409, method="POST")
    client = connect(Endpoint(host=kfp_server.url))
    assert "has it already (409)" in str(error_of(lambda: ensure_version(client, package)))
    kfp_server.fail("/experiments$", 409, method="POST", times=1)
    assert ensure_experiment(client, "nightly") in kfp_server.objects["experiments"]


def test_an_interrupted_upload_is_repeated_without_a_second_version(kfp_server: KfpServer, package: Package) -> None:
    client = connect(Endpoint(host=kfp_server.url))
    kfp_server.fail("upload_version", "after", times=1)
    error_of(lambda: ensure_version(client, package))
    assert not ensure_version(client, package).is_new
    assert kfp_server.names("versions") == [package.version]
