"""Importers, compiled by the real SDK: what a component sees of an imported artifact, and what is cached of it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import components_for_tests as c
import pytest
from gcp_storage_emulator.server import create_server
from google.cloud import storage
from kfp import dsl
from kfp.dsl import Dataset
from object_store_server import free_ports

from components.core.errors import UserError
from components.core.store import open_objects
from pipelines.runner.tasks import cloud_storage
from pipelines.runner.tasks.imports import ImportStopped, Remote, download, find_remote

Run = Callable[..., Any]


@c.component
def look(data: dsl.Input[Dataset]) -> dict:
    import pathlib

    place = pathlib.Path(data.path)
    files = sorted(path for path in place.rglob("*") if path.is_file()) if place.is_dir() else [place]
    return {
        "files": {str(path.relative_to(place)): path.read_text() for path in files},
        "metadata": data.metadata,
        "type": type(data).__name__,
        "place": data.path,
    }


@dsl.pipeline(name="importing")
def importing(uri: str, owner: str = "me"):
    metadata = {"owner": owner, f"of {owner}": [1, 2.5, {"n": 3}]}
    look(data=dsl.importer(artifact_uri=uri, artifact_class=Dataset, metadata=metadata).output)


@pytest.mark.parametrize("form", ["path", "relative", "file", "file with escapes"])
def test_a_file_or_folder_of_this_machine_is_used_where_it_is(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    folder = tmp_path / "my data"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "a.txt").write_text("hello")
    monkeypatch.chdir(tmp_path)
    uri = {
        "path": str(folder), "relative": "my data", "file": f"file://{folder}",
        "file with escapes": f"file://localhost{quote(str(folder))}",
    }[form]  # fmt: skip
    ran = run(importing, uri=uri)
    assert ran.outputs("look")["Output"] == {
        "files": {"deep/a.txt": "hello"}, "metadata": {"owner": "me", "of me": [1, 2.5, {"n": 3}]}, "type": "Dataset",
        "place": str(folder),
    }  # fmt: skip


def test_metadata_keeps_integers_as_integers(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    assert '"n": 3}' in repr(run(importing, uri=str(tmp_path / "a")).outputs("look")).replace("'", '"')


def test_followers_of_an_importer_are_cached_by_the_bytes_and_not_by_the_path(run: Run, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text("the same")
    first, second = run(importing, uri=str(tmp_path / "a")), run(importing, uri=str(tmp_path / "b"))
    assert (first.cached(), second.cached()) == (set(), {"look"})
    (tmp_path / "b").write_text("another")
    third = run(importing, uri=str(tmp_path / "b"))
    assert third.cached() == set()
    assert third.outputs("look")["Output"]["files"] == {".": "another"}


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("/no/such/place", "there is no file or folder /no/such/place"),
        ("minio://bucket/data", "'minio://bucket/data' cannot be fetched by the local runner; it takes a path"),
        ("file://host/data", "three slashes"),
        ("file:", "there is no file or folder"),
        (" ", "is empty"),
    ],
)
def test_what_cannot_be_imported_fails_the_importer_with_one_line(run: Run, uri: str, said: str) -> None:
    ran = run(importing, uri=uri)
    assert (ran.result.status, ran.result.failure) == ("failed", "user")
    ended = ran.ended("importer")
    assert said in ended.error
    assert "\n" not in ended.error
    assert said in Path(ended.log).read_text()
    assert ran.statuses()["look"] == "skipped"


def test_a_uri_that_holds_other_values_and_a_uri_that_a_task_computes(run: Run, tmp_path: Path) -> None:
    @dsl.pipeline(name="computed")
    def computed(folder: str, name: str):
        look(data=dsl.importer(artifact_uri=f"{folder}/{name}", artifact_class=Dataset).output)
        named = c.text(value=f"{folder}/other")
        look(data=dsl.importer(artifact_uri=named.output, artifact_class=Dataset).output)
        with dsl.ParallelFor([f"{tmp_path}/one", f"{tmp_path}/other"]) as place:
            look(data=dsl.importer(artifact_uri=place, artifact_class=Dataset).output)

    for name in ("one", "other"):
        (tmp_path / name).write_text(name)
    ran = run(computed, folder=str(tmp_path), name="one")
    assert ran.result.status == "succeeded"
    read = {
        t.task: t.output_parameters["Output"]["files"]["."]
        for t in ran.result.tasks
        if "Output" in t.output_parameters and t.task != "text"
    }
    assert sorted(read.values()) == ["one", "one", "other", "other"]
    assert (read["look"], read["look-2"]) == ("one", "other")


def test_a_download_ends_when_the_run_is_stopped_or_an_object_changes(tmp_path: Path) -> None:
    objects = open_objects(str(tmp_path / "objects"))
    objects.put("a", b"hello")
    remote = Remote(uri="s3://b/k", objects=objects, files=tuple(objects.walk()), is_folder=True)
    artifact = {"name": "data", "type": {}, "metadata": {}}
    with pytest.raises(ImportStopped):
        download(remote, artifact, tmp_path / "place", is_stopped=lambda: True)
    objects.put("a", b"longer than it was listed")
    with pytest.raises(UserError, match="changed while it was read"):
        download(remote, artifact, tmp_path / "place")


@pytest.mark.s3
def test_objects_are_downloaded_and_taken_from_the_cache_until_they_change(
    run: Run, object_store_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in object_store_server.environment.items():
        monkeypatch.setenv(name, value)
    uri = f"s3://{object_store_server.bucket}/importer/{tmp_path.name}"
    objects = open_objects(uri)
    objects.put("data/a.txt", b"hello")
    objects.put("data/deep/b.txt", b"world")
    objects.put("data2", b"not of it")

    first, again = run(importing, uri=f"{uri}/data"), run(importing, uri=f"{uri}/data")
    seen = first.outputs("look")["Output"]
    assert seen["files"] == {"a.txt": "hello", "deep/b.txt": "world"}
    assert Path(seen["place"]).is_relative_to(first.result.folder)
    assert (first.cached(), again.cached()) == (set(), {"importer", "look"})

    objects.put("data/a.txt", b"HELLO")
    changed = run(importing, uri=f"{uri}/data")
    assert changed.cached() == set()
    assert changed.outputs("look")["Output"]["files"]["a.txt"] == "HELLO"

    single = run(importing, uri=f"{uri}/data/deep/b.txt")
    assert single.outputs("look")["Output"]["files"] == {".": "world"}
    missing = run(importing, uri=f"{uri}/nothing")
    assert missing.ended("importer").error == f"there is no object {uri}/nothing, and none below it"


@pytest.mark.s3
def test_reimport_downloads_again(
    run: Run, object_store_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in object_store_server.environment.items():
        monkeypatch.setenv(name, value)
    uri = f"s3://{object_store_server.bucket}/importer/{tmp_path.name}/a"
    open_objects(uri.removesuffix("/a")).put("a", b"hello")

    @dsl.pipeline(name="again")
    def again():
        look(data=dsl.importer(artifact_uri=uri, artifact_class=Dataset, reimport=True).output)

    assert run(again).result.status == "succeeded"
    assert run(again).cached() == {"look"}


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A bucket of a server that speaks Cloud Storage's JSON API, in memory and on loopback."""
    (port,) = free_ports(1)
    server = create_server("127.0.0.1", port, in_memory=True)
    server.start()
    for name, value in {
        "STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{port}", "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    yield storage.Client().create_bucket("data-sets")
    server.stop()


def test_objects_of_google_cloud_storage_are_imported_and_cached_until_they_change(run: Run, bucket: Any) -> None:
    for key, text in (("cats/a.txt", "hello"), ("cats/deep/b.txt", "world"), ("cats/", ""), ("cats2", "not of it")):
        bucket.blob(key).upload_from_string(text)

    first, again = run(importing, uri="gs://data-sets/cats"), run(importing, uri="gs://data-sets/cats")
    seen = first.outputs("look")["Output"]
    assert seen["files"] == {"a.txt": "hello", "deep/b.txt": "world"}
    assert Path(seen["place"]).is_relative_to(first.result.folder)
    assert (first.cached(), again.cached()) == (set(), {"importer", "look"})

    bucket.blob("cats/a.txt").upload_from_string("HELLO")
    changed = run(importing, uri="gs://data-sets/cats")
    assert changed.outputs("look")["Output"]["files"]["a.txt"] == "HELLO"

    single = run(importing, uri="gs://data-sets/cats/deep/b.txt")
    assert single.outputs("look")["Output"]["files"] == {".": "world"}
    for uri in ("gs://data-sets/nothing", "gs://no-such-bucket/x"):
        ended = run(importing, uri=uri).ended("importer")
        assert (ended.status, ended.failure) == ("failed", "user")
        assert uri in ended.error
        assert "\n" not in ended.error


def test_an_object_of_google_cloud_storage_comes_in_slices_and_is_checked(
    bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = bytes(range(256)) * 5
    blob = bucket.blob("large.bin")
    blob.upload_from_string(content)
    monkeypatch.setattr(cloud_storage, "_SLICE_BYTES", 500)
    remote = find_remote("gs://data-sets/large.bin")
    artifact = {"name": "data", "type": {}, "metadata": {}}
    download(remote, artifact, tmp_path / "place")
    assert (tmp_path / "place").read_bytes() == content
    monkeypatch.setattr(storage.Blob, "download_as_bytes", lambda self, start, end, **_: b"x" * (end + 1 - start))
    with pytest.raises(UserError, match=r"large\.bin was received with bytes that do not match its checksum"):
        download(remote, artifact, tmp_path / "place")
