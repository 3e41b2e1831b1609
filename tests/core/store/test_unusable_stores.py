"""A store that cannot be used says so in one line, soon, and without a secret."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from components.core.errors import UserError
from components.core.store import (
    AccessDenied,
    NotFound,
    StoreUnavailable,
    open_store,
    store_from_environment,
)

SECRETS = ("writer-secret-key", "reader-secret-key", "a-wrong-secret-key", "endpoint-password")


def refusal(uri: str) -> str:
    with pytest.raises(StoreUnavailable) as caught:
        open_store(uri).check_writable()
    assert isinstance(caught.value, UserError)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert uri in message
    shown = message + repr(caught.value)
    assert not any(secret in shown for secret in SECRETS)
    return message


@pytest.fixture
def s3(object_store_server, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The environment that reaches the server; a test then spoils one thing."""
    for name, value in object_store_server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    return monkeypatch


def test_a_folder_under_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert f"{tmp_path}/file is a file, not a folder" in refusal(f"{tmp_path}/file/store")
    assert f"{tmp_path}/file is a file, not a folder; give a folder that exists" in refusal(f"{tmp_path}/file")


def test_a_folder_that_cannot_be_made_is_refused() -> None:
    refusal("/proc/trimtab-store")  # not even root can
    with pytest.raises(StoreUnavailable):  # and not: there is no such object
        open_store("/proc/trimtab-store").blobs.put(b"bytes")


@pytest.mark.s3
def test_a_refused_connection_is_said(s3: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:  # bound, not listening: nobody else can open it meanwhile
        taken.bind(("127.0.0.1", 0))
        s3.setenv("AWS_ENDPOINT_URL", f"http://someone:endpoint-password@127.0.0.1:{taken.getsockname()[1]}")
        message = refusal("s3://artifacts/prefix")
    assert "no connection to http://127.0.0.1:" in message
    assert "connection refused" in message


@pytest.mark.s3
@pytest.mark.timeout(60)
def test_a_server_that_never_answers_is_given_up(s3: pytest.MonkeyPatch) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        s3.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert "no answer" in refusal("s3://artifacts/prefix")


@pytest.mark.s3
def test_a_wrong_secret_is_said(s3: pytest.MonkeyPatch) -> None:
    s3.setenv("AWS_SECRET_ACCESS_KEY", "a-wrong-secret-key")
    assert "refused the credentials" in refusal("s3://artifacts/prefix")


@pytest.mark.s3
def test_with_a_wrong_secret_nothing_is_merely_missing(s3: pytest.MonkeyPatch) -> None:
    s3.setenv("AWS_SECRET_ACCESS_KEY", "a-wrong-secret-key")
    store = open_store("s3://artifacts/prefix")
    for read in (
        lambda: store.blobs.has("0" * 64),
        lambda: store.blobs.get("0" * 64),
        lambda: store.results.load("prune", "key"),
        lambda: store.refs.read("champion"),
        lambda: store.journal.runs(),
        lambda: store.releases.list(),
    ):
        with pytest.raises(StoreUnavailable):
            read()


@pytest.mark.s3
def test_an_unknown_access_key_is_said(s3: pytest.MonkeyPatch) -> None:
    s3.setenv("AWS_ACCESS_KEY_ID", "nobody")
    assert "refused the credentials" in refusal("s3://artifacts/prefix")


@pytest.mark.s3
def test_no_credentials_at_all_are_said(s3: pytest.MonkeyPatch) -> None:
    s3.delenv("AWS_ACCESS_KEY_ID")
    s3.delenv("AWS_SECRET_ACCESS_KEY")
    assert "no usable credentials" in refusal("s3://artifacts/prefix")


@pytest.mark.s3
def test_a_profile_that_does_not_exist_is_said(s3: pytest.MonkeyPatch) -> None:
    s3.setenv("AWS_PROFILE", "nobody")
    assert "AWS_PROFILE" in refusal("s3://artifacts/prefix")


@pytest.mark.s3
def test_an_endpoint_that_is_no_url_is_said(s3: pytest.MonkeyPatch) -> None:
    s3.setenv("AWS_ENDPOINT_URL", "localhost:9000")
    assert "AWS_ENDPOINT_URL" in refusal("s3://artifacts/prefix")


@pytest.mark.s3
def test_tls_to_a_server_without_it_is_said(s3: pytest.MonkeyPatch, object_store_server) -> None:
    s3.setenv("AWS_ENDPOINT_URL", object_store_server.endpoint.replace("http:", "https:"))
    assert "TLS" in refusal("s3://artifacts/prefix")


@pytest.mark.s3
def test_a_missing_bucket_is_said_and_not_made(s3: pytest.MonkeyPatch) -> None:
    for _ in range(2):  # the server of this suite makes a bucket on the first write into it
        assert "no bucket 'missing-bucket'" in refusal("s3://missing-bucket/prefix")


@pytest.mark.s3
def test_a_right_that_lacks_is_not_a_missing_object(s3: pytest.MonkeyPatch, object_store_server) -> None:
    writer = open_store("s3://artifacts/rights")
    digest = writer.blobs.put(b"bytes")
    for name, value in object_store_server.environment_of(("reader-access-key", "reader-secret-key")).items():
        s3.setenv(name, value)
    reader = open_store("s3://artifacts/rights")
    assert reader.blobs.get(digest) == b"bytes"
    with pytest.raises(AccessDenied) as caught:
        reader.blobs.put(b"other bytes")
    assert not isinstance(caught.value, NotFound)
    with pytest.raises(AccessDenied):
        reader.refs.move("champion", {}, expected=None)
    assert "refused PutObject" in refusal("s3://artifacts/rights")


@pytest.mark.parametrize(
    "uri",
    [
        "",
        " ",
        "gs://bucket/prefix",
        "https://host/bucket",
        "file://host/folder",
        "file://",
        "s3://",
        "s3:///prefix",
        "s3://UPPER/prefix",
        "s3://bucket/../other",
        "s3://bucket//prefix",
        "s3://bucket/.hidden",
    ],
)
def test_a_uri_that_is_no_store_is_refused(uri: str) -> None:
    with pytest.raises(UserError) as caught:
        open_store(uri)
    assert len(str(caught.value).splitlines()) == 1


def test_an_unknown_scheme_is_named_with_what_works() -> None:
    with pytest.raises(UserError) as caught:
        open_store("s4://bucket/prefix")
    assert str(caught.value) == "unknown store scheme 's4'; name a folder, file:///folder or s3://bucket/prefix"


def test_a_secret_in_a_uri_is_refused_and_not_repeated() -> None:
    for uri in ("s3://key:a-wrong-secret-key@bucket/prefix", "s3://bucket/prefix?secret=a-wrong-secret-key"):
        with pytest.raises(UserError, match="credentials come from the environment") as caught:
            open_store(uri)
        assert "a-wrong-secret-key" not in repr(caught.value)


def test_a_folder_can_be_named_in_three_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    stores = [open_store(uri) for uri in (f"{tmp_path}/a b", "a b", f"file://{tmp_path}/a%20b")]
    digest = stores[0].blobs.put(b"bytes")
    monkeypatch.chdir("/")  # a store does not move with the current folder
    assert [store.blobs.get(digest) for store in stores] == [b"bytes"] * 3
    assert {store.uri for store in stores} == {f"{tmp_path}/a b"}


def test_the_environment_names_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRIMTAB_STORE", str(tmp_path / "named"))
    assert store_from_environment().uri == str(tmp_path / "named")
    monkeypatch.delenv("TRIMTAB_STORE")
    assert store_from_environment().uri == str(tmp_path / "trimtab-out" / "store")


def test_opening_a_store_makes_nothing(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    assert store.journal.runs() == []
    assert store.releases.list() == []
    assert not store.blobs.has("0" * 64)
    assert list(tmp_path.iterdir()) == []
