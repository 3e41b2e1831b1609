"""Manifests: what they promise to whoever reads an artifact."""

import hashlib
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.core.artifacts.entries import FileEntry, check_relative_path
from components.core.artifacts.manifest import (
    Manifest,
    describe,
    materialize,
    parse_manifest,
    publish,
    publish_folder,
    read_document,
    read_file,
    read_manifest,
)
from components.core.artifacts.several import unpacked
from components.core.errors import UserError
from components.core.store import BlobDamaged, Store, open_store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def two_files(tmp_path: Path, store: Store) -> Manifest:
    files: dict[str, bytes | Path] = {"weights.bin": b"\x00\x01", "deep/labels.json": b'["a"]'}
    return publish(tmp_path / "artifact", kind="model", files=files, metadata={"classes": 1}, store=store)


def test_an_artifact_holds_the_manifest_alone_and_reads_back_equal(tmp_path: Path, store: Store) -> None:
    published = two_files(tmp_path, store)
    assert [path.name for path in (tmp_path / "artifact").iterdir()] == ["manifest.json"]
    assert read_manifest(tmp_path / "artifact") == published
    assert read_file(published, "deep/labels.json", store) == b'["a"]'
    assert published.total_bytes == 7


def test_metadata_reads_back_as_it_was_returned(tmp_path: Path, store: Store) -> None:
    returned = publish(tmp_path, kind="model", files={}, metadata={"mean": (0.5, 1.0)}, store=store)
    assert returned.metadata == read_manifest(tmp_path).metadata == {"mean": [0.5, 1]}


def test_digest_is_the_sha256_of_the_canonical_content() -> None:
    entry = FileEntry(path="a", bytes=1, sha256="0" * 64)
    manifest = Manifest(kind="model", metadata={"b": 1, "a": 2}, files=(entry,))
    text = (
        '{"files":[{"bytes":1,"path":"a","sha256":"' + "0" * 64 + '"}],"kind":"model","metadata":{"a":2,"b":1}}'
    )  # written out by hand: sorted keys, no spaces
    assert manifest.digest == hashlib.sha256(text.encode()).hexdigest()


def test_digest_does_not_depend_on_the_order_of_files() -> None:
    first, second = (FileEntry(path=path, bytes=1, sha256="0" * 64) for path in "ab")
    one = Manifest(kind="model", metadata={}, files=(first, second))
    other = Manifest(kind="model", metadata={}, files=(second, first))
    assert one.digest == other.digest


@given(st.lists(st.sampled_from(["a", "b..c", "...", "ü.jpg", "x y", "-"]), min_size=1, max_size=4))
def test_ordinary_relative_paths_are_accepted(parts: list[str]) -> None:
    check_relative_path("/".join(parts))


@given(st.text(alphabet="ab./\\:\0\n", max_size=8))
def test_an_accepted_path_stays_below_its_folder_on_every_system(path: str) -> None:
    try:
        check_relative_path(path)
    except ValueError:
        return
    root = "/srv/folder"
    assert os.path.normpath(os.path.join(root, path)) == f"{root}/{path}"  # noqa: PTH118
    assert not any(char in path for char in "\\\0\n")
    assert not path.startswith("a:")


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", "a//b", "a/", "./a", "C:/x", "a\\b", "", "a\nb"])
def test_a_path_that_could_leave_its_folder_is_refused_on_both_sides(path: str, tmp_path: Path, store: Store) -> None:
    with pytest.raises(ValueError, match="path"):
        publish(tmp_path, kind="model", files={path: b""}, metadata={}, store=store)
    document = {"format": 1, "kind": "model", "metadata": {}, "digest": ""}
    with pytest.raises(ValueError, match="path"):
        parse_manifest({**document, "files": [{"path": path, "bytes": 0, "sha256": "0" * 64}]})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "format"),
        ({"files": [{"path": "a", "bytes": -1, "sha256": "0" * 64}]}, "count of bytes"),
        ({"files": [{"path": "a", "bytes": True, "sha256": "0" * 64}]}, "count of bytes"),
        ({"files": [{"path": "a", "bytes": 1, "sha256": "A" * 64}]}, "hex digits"),
        ({"files": [{"path": "a", "bytes": 1}]}, "exactly path, bytes and sha256"),
        ({"files": [{"path": "a", "bytes": 1, "sha256": "0" * 64}] * 2}, "listed twice"),
        ({"kind": "pickle"}, "unknown artifact kind"),
        ({"metadata": {"rows": 999}}, "digest"),
        ({"metadata": []}, "must be"),
    ],
)
def test_an_altered_manifest_is_refused_by_name(change: dict, message: str, tmp_path: Path, store: Store) -> None:
    two_files(tmp_path, store)
    path = tmp_path / "artifact" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(UserError, match=message):
        read_manifest(tmp_path / "artifact")


def test_wrong_kind_and_missing_manifest_say_what_was_expected(tmp_path: Path, store: Store) -> None:
    two_files(tmp_path, store)
    with pytest.raises(UserError, match="expected a 'dataset' artifact, got 'model'"):
        read_manifest(tmp_path / "artifact", kind="dataset")
    with pytest.raises(UserError, match=r"manifest\.json is missing"):
        read_manifest(tmp_path / "nothing")
    with pytest.raises(UserError, match=r"no file 'x'; files: deep/labels\.json, weights\.bin"):
        read_manifest(tmp_path / "artifact").entry("x")


def test_materialize_brings_all_files_and_reuses_them(tmp_path: Path, store: Store, cache: Path) -> None:
    manifest = two_files(tmp_path, store)
    folder = materialize(manifest, store)
    assert folder == cache / manifest.digest
    assert (folder / "weights.bin").read_bytes() == b"\x00\x01"
    (tmp_path / "store").rename(tmp_path / "gone")
    assert materialize(manifest, store) == folder
    assert (folder / "deep" / "labels.json").read_bytes() == b'["a"]'


@pytest.mark.parametrize("damage", [b"\x00\x02", b"", b"\x00\x01\x02"])
def test_a_damaged_file_in_the_cache_is_fetched_again(damage: bytes, tmp_path: Path, store: Store) -> None:
    manifest = two_files(tmp_path, store)
    folder = materialize(manifest, store)
    (folder / "weights.bin").write_bytes(damage)
    os.utime(folder / "weights.bin", ns=(1, 1))
    materialize(manifest, store)
    assert (folder / "weights.bin").read_bytes() == b"\x00\x01"


def test_what_was_verified_is_believed_until_the_machine_is_restarted(
    tmp_path: Path, store: Store, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boot = tmp_path / "boot_id"
    monkeypatch.setattr("components.core.artifacts.manifest._BOOT_ID", boot)
    boot.write_text("one\n")
    manifest = two_files(tmp_path, store)
    weights = materialize(manifest, store) / "weights.bin"
    before = weights.stat()

    def lose() -> None:  # as a power cut may: other bytes, and all that the system tells of them is the same
        with weights.open("r+b") as file:
            file.write(b"\x00\x00")
        os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))

    lose()
    materialize(manifest, store)
    assert weights.read_bytes() == b"\x00\x00"
    boot.write_text("two\n")
    materialize(manifest, store)
    assert weights.read_bytes() == b"\x00\x01"


def test_a_system_that_does_not_name_its_restarts_hashes_every_time(
    tmp_path: Path, store: Store, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("components.core.artifacts.manifest._BOOT_ID", tmp_path / "nothing")
    manifest = two_files(tmp_path, store)
    weights = materialize(manifest, store) / "weights.bin"
    before = weights.stat()
    with weights.open("r+b") as file:
        file.write(b"\x00\x00")
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
    materialize(manifest, store)
    assert weights.read_bytes() == b"\x00\x01"


def test_an_interrupted_materialize_goes_on_with_what_is_missing(tmp_path: Path, store: Store) -> None:
    manifest = two_files(tmp_path, store)
    folder = materialize(manifest, store, tmp_path / "out")
    (folder / "weights.bin").unlink()
    (folder / ".verified.json").unlink()
    kept = (folder / "deep" / "labels.json").stat().st_ino
    materialize(manifest, store, tmp_path / "out")
    assert (folder / "weights.bin").read_bytes() == b"\x00\x01"
    assert (folder / "deep" / "labels.json").stat().st_ino == kept


def test_a_damaged_blob_is_an_error_and_leaves_no_file(tmp_path: Path, store: Store) -> None:
    manifest = two_files(tmp_path, store)
    digest = manifest.entry("weights.bin").sha256
    blob = next((tmp_path / "store").rglob(digest))
    blob.chmod(0o644)
    blob.write_bytes(b"\x00\x02")
    with pytest.raises(BlobDamaged):
        materialize(manifest, store, tmp_path / "out")
    assert not (tmp_path / "out" / "weights.bin").exists()


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = two_files(tmp_path, store)
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match="set TRIMTAB_CACHE to a folder that is writable"):
        materialize(manifest, store)


def test_publish_folder_takes_every_file_below_it(tmp_path: Path, store: Store) -> None:
    (tmp_path / "in" / "sub").mkdir(parents=True)
    (tmp_path / "in" / "sub" / "b.txt").write_text("b")
    (tmp_path / "in" / "a.txt").write_text("a")
    manifest = publish_folder(tmp_path / "out", kind="release", folder=tmp_path / "in", metadata={}, store=store)
    assert [entry.path for entry in manifest.files] == ["a.txt", "sub/b.txt"]


def test_describe_puts_flat_facts_on_the_artifact(tmp_path: Path, store: Store) -> None:
    manifest = two_files(tmp_path, store)
    artifact = SimpleNamespace(metadata={})
    describe(artifact, manifest, store, top1=0.5)
    assert artifact.metadata == {
        "kind": "model",
        "digest": manifest.digest,
        "bytes": 7,
        "store": store.uri,
        "top1": 0.5,
    }
    with pytest.raises(TypeError, match="scalar"):
        describe(artifact, manifest, store, bad=[1])  # type: ignore[arg-type]


def entry(path: str) -> FileEntry:
    return FileEntry(path=path, bytes=1, sha256="0" * 64)


@pytest.mark.parametrize("path", ["x" * 256, "é" * 128, "/".join("x" * 200 for _ in range(6)), "x" * 5_000_000])
def test_a_path_that_is_too_long_for_a_disk_is_refused_in_one_short_line(path: str) -> None:
    assert entry("x" * 255).path == "x" * 255
    with pytest.raises(ValueError, match="longer than a file's name may be") as caught:
        entry(path)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("paths", "said"),
    [
        (["a", "a/b"], "'a' is listed as a file and as a folder"),
        (["a/b/c", "a/b"], "'a/b' is listed as a file and as a folder"),
        ([".verified.json/x"], "reserved for the local cache"),
    ],
)
def test_paths_that_no_folder_can_hold_are_refused(paths: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Manifest(kind="model", metadata={}, files=tuple(map(entry, paths)))


@pytest.mark.timeout(60)
@pytest.mark.parametrize("leave", [os.mkfifo, os.mkdir])
def test_a_manifest_that_is_a_pipe_or_a_folder_is_not_waited_for(tmp_path: Path, leave: Any) -> None:
    leave(tmp_path / "manifest.json")
    with pytest.raises(UserError, match="a pipe, a device or a folder, and no manifest"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("content", [b"", b"[1]", b"5", b"{", b"[" * 100_000, b"\xff"])
def test_a_document_that_is_no_object_is_one_line(tmp_path: Path, store: Store, content: bytes) -> None:
    manifest = publish(tmp_path, kind="decision", files={"decision.json": content}, metadata={}, store=store)
    with pytest.raises(UserError, match=r"decision\.json of the decision artifact (is not JSON|must hold an object)"):
        read_document(manifest, "decision.json", store)


@pytest.mark.parametrize(
    "held", [None, 5, [], {}, {"0/model": 5}, {"0/model": {}}, {"0/model": {"kind": "model", "metadata": 5}}]
)
def test_what_is_packed_in_another_form_is_one_line(held: object) -> None:
    with pytest.raises(UserError, match="this rung artifact holds no '0/model'"):
        unpacked(Manifest(kind="rung", metadata={} if held is None else {"packed": held}, files=()), "0/model")
    facts = {"packed": {"0/model": {"kind": "no kind", "metadata": {}}}}
    with pytest.raises(UserError, match="'0/model' of this rung artifact: unknown artifact kind 'no kind'"):
        unpacked(Manifest(kind="rung", metadata=facts, files=()), "0/model")
