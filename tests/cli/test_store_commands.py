"""`trimtab store ls | cat | get | verify` through the command line, over both kinds of store."""

import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.core.store import Store, open_objects, open_store
from components.core.store.contents.blobs import blob_key

Trimtab = Callable[..., Any]


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.s3)])
def uri(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trimtab: Trimtab) -> str:
    """The URI of a store, which the commands find in the environment."""
    found = str(tmp_path / "store")
    if request.param == "s3":
        server = request.getfixturevalue("object_store_server")
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("AWS_PROFILE", raising=False)
        found = f"s3://{server.bucket}/{uuid.uuid4().hex}"
    monkeypatch.setenv("TRIMTAB_STORE", found)
    return found


@pytest.fixture
def store(uri: str) -> Store:
    store = open_store(uri)
    store.blobs.put(b"some bytes")
    store.releases.publish("sorter", "0123abcd", {"model.onnx": b"onnx", "deep/card.md": b"card"})
    store.releases.publish("counter", "1", {"model.onnx": b"other"})
    store.refs.move("champion", {"name": "sorter", "version": "0123abcd"}, expected=None)
    return store


def refusal(said: Any) -> str:
    assert said.code == 2
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    return str(said.err)


def test_ls_shows_the_areas_and_what_is_under_a_prefix(trimtab: Trimtab, store: Store) -> None:
    areas = [line.split() for line in trimtab("store", "ls").out.splitlines()]
    assert [line[:2] for line in areas] == [["blobs", "1"], ["refs", "1"], ["releases", "5"]]
    assert areas[0][2:] == ["10", "B"]
    listed = trimtab("store", "ls", "releases/sorter/").out.splitlines()
    keys = [line.split()[-1] for line in listed]
    folder = "releases/sorter/0123abcd"
    assert sorted(keys) == [f"{folder}/deep/card.md", f"{folder}/model.onnx", f"{folder}/release.json"]
    assert next(line for line in listed if "model.onnx" in line).split()[2:4] == ["4", "B"]
    assert trimtab("store", "ls", "refs/champion.json").out.split()[-1] == "refs/champion.json"


def test_cat_writes_a_blob_by_its_digest_or_the_beginning_of_it_and_an_object_by_its_key(
    trimtab: Trimtab, store: Store, uri: str
) -> None:
    digest = store.blobs.put(b"some bytes")
    command = [sys.executable, "-m", "pipelines.cli", "store", "cat"]
    for name, content in ((digest, b"some bytes"), (digest[:8], b"some bytes"), (f"sha256:{digest}", b"some bytes")):
        assert subprocess.run([*command, name], capture_output=True, check=True).stdout == content
    key = "releases/sorter/0123abcd/model.onnx"
    assert subprocess.run([*command, key], capture_output=True, check=True).stdout == b"onnx"


def test_cat_shows_no_byte_of_a_damaged_blob(trimtab: Trimtab, store: Store, uri: str) -> None:
    digest = store.blobs.put(b"some bytes")
    open_objects(uri).put(blob_key(digest), b"same bytes")
    assert "is damaged" in refusal(trimtab("store", "cat", digest))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("store", "ls", "relases"), "nothing called 'relases'"),
        (("store", "cat", "refs/chamipon.json"), "did you mean 'refs/champion.json'?"),
        (("store", "cat", "0" * 64), "there is no blob 000000"),
        (("store", "get", "sorterr", "there"), "no release and no ref 'sorterr' in the store"),
        (("store", "get", "sorterr", "there"), "did you mean 'sorter'?"),
        (("store", "get", "sorter/0123", "there"), "did you mean 'sorter/0123abcd'?"),
        (("store", "cat", "../../etc/passwd"), "cannot name an object in a store"),
        (("store", "ls", ".hidden"), "cannot name an object in a store"),
    ],
)
def test_what_is_not_there_is_one_line_with_the_nearest_name(
    trimtab: Trimtab, store: Store, arguments: tuple[str, ...], expected: str
) -> None:
    assert expected in refusal(trimtab(*arguments))


def test_a_store_without_releases_says_how_to_make_one(trimtab: Trimtab, uri: str) -> None:
    store = open_store(uri)
    store.blobs.put(b"some bytes")
    for command in (("store", "get", "sorter", "there"), ("lineage", "sorter")):
        assert refusal(trimtab(*command)) == (
            f"error: there is no release and no ref 'sorter' in the store {store.uri}; it has no releases yet: make "
            "one with trimtab run, or give another --store\n"
        )


def test_get_brings_a_blob_and_a_release_by_name_version_or_ref(trimtab: Trimtab, store: Store, tmp_path: Path) -> None:
    digest = store.blobs.put(b"some bytes")
    assert trimtab("store", "get", digest, "made/blob").out == "made/blob  10 B, verified\n"
    assert (tmp_path / "made" / "blob").read_bytes() == b"some bytes"
    for number, name in enumerate(("sorter/0123abcd", "sorter", "champion")):
        place = tmp_path / f"release-{number}"
        said = trimtab("store", "get", name, str(place))
        assert said.out == f"{place}  sorter/0123abcd, 2 files, verified\n"
        assert (place / "deep" / "card.md").read_bytes() == b"card"
        assert (place / "model.onnx").read_bytes() == b"onnx"


def test_get_overwrites_nothing(trimtab: Trimtab, store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    for name, place in ((store.blobs.put(b"some bytes"), "file"), ("sorter", "folder"), ("sorter", "file")):
        assert refusal(trimtab("store", "get", name, place)) == f"error: {place} already exists; choose another place\n"
    assert (tmp_path / "file").read_text() == "mine"


def test_get_of_a_damaged_release_leaves_nothing(trimtab: Trimtab, store: Store, uri: str, tmp_path: Path) -> None:
    open_objects(uri).put("releases/sorter/0123abcd/model.onnx", b"omnx")
    assert "model.onnx is damaged" in refusal(trimtab("store", "get", "sorter", "there"))
    assert [path.name for path in tmp_path.iterdir() if path.name != "store"] == []


def test_a_name_of_several_releases_is_refused_with_all_of_them(trimtab: Trimtab, store: Store) -> None:
    store.releases.publish("sorter", "2", {"model.onnx": b"x"})
    said = refusal(trimtab("store", "get", "sorter", "there"))
    assert said == (
        "error: 2 releases are called 'sorter'; give one as NAME/VERSION: sorter/0123abcd, sorter/2\n"
    )  # fmt: skip


def test_verify_says_that_all_is_whole_or_what_is_not(trimtab: Trimtab, store: Store, uri: str) -> None:
    said = trimtab("store", "verify")
    assert said.code == 0
    assert said.out.startswith("all whole: 1 blobs, 0 results, 0 journal records, 2 releases, 1 refs; 10 B")
    digest = store.blobs.put(b"some bytes")
    open_objects(uri).put(blob_key(digest), b"same bytes")
    said = trimtab("store", "verify")
    assert said.code == 1
    lines = said.out.splitlines()
    assert lines[0] == f"damaged  {blob_key(digest)}: its content does not have the sha256 in its name"
    assert lines[1].startswith("1 problems: 1 blobs")
    said = trimtab("store", "verify", "--quarantine")
    assert said.code == 1
    assert f"; moved to quarantine/{blob_key(digest)}" in said.out
    assert trimtab("store", "verify").code == 0


@pytest.mark.parametrize("command", [("ls",), ("cat", "refs/a.json"), ("get", "sorter", "there"), ("verify",)])
def test_a_store_that_is_not_there_is_one_line(trimtab: Trimtab, tmp_path: Path, command: tuple[str, ...]) -> None:
    said = trimtab("store", *command, "--store", str(tmp_path / "nowhere"))
    assert f"there is no store at {tmp_path / 'nowhere'}" in refusal(said)
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.s3
def test_a_bucket_that_is_not_there_and_credentials_without_rights_are_one_line(
    trimtab: Trimtab, object_store_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in object_store_server.environment.items():
        monkeypatch.setenv(name, value)
    where = f"s3://{object_store_server.bucket}/{uuid.uuid4().hex}"
    open_store(where).blobs.put(b"x")
    said = refusal(trimtab("store", "ls", "--store", "s3://no-such-bucket-here/prefix"))
    assert "no-such-bucket-here" in said
    for name, value in object_store_server.environment_of(("reader-access-key", "reader-secret-key")).items():
        monkeypatch.setenv(name, value)
    assert trimtab("store", "ls", "--store", where).code == 0
    assert trimtab("gc", "--dry-run", "--store", where).code == 0
    assert "refused" in refusal(trimtab("gc", "--store", where))
