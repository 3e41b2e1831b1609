"""`images/build.py`: what it tells the engine, what it writes, and how it refuses."""

import importlib.util
import json
import os
import stat
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from pipelines.cluster.images import read_images

SCRIPT = Path(__file__).resolve().parents[2] / "images" / "build.py"

OTHER = f"somewhere@sha256:{'00' * 32}"

# Stands for podman: notes its arguments, and the content of the secrets, which are gone afterwards.
ENGINE = """#!/usr/bin/env python3
import json, os, sys
words = sys.argv[1:]
secrets = {w.split("src=")[0]: open(w.split("src=")[1]).read() for w in words if w.startswith("--secret=")}
with open(os.environ["NOTES"], "a") as notes:
    notes.write(json.dumps({"words": words, "secrets": secrets}) + "\\n")
for word in words:
    if word.startswith("--digestfile="):
        open(word.split("=", 1)[1], "w").write("sha256:" + "ab" * 32)
if "inspect" in words:
    print("sha256:" + "cd" * 32)
sys.exit(int(os.environ.get("CODE", "0")))
"""


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("images_build", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "LOCK", tmp_path / "images.lock.json")
    return module


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A podman that only takes notes."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "podman").write_text(ENGINE)
    (folder / "podman").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("NOTES", str(tmp_path / "notes"))

    def notes() -> list[dict]:
        path = tmp_path / "notes"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    return SimpleNamespace(notes=notes)


def argument(note: dict, name: str) -> str:
    return next(word.split("=", 2)[2] for word in note["words"] if word.startswith(f"--build-arg={name}="))


def test_every_role_is_built_and_nothing_is_written(script: ModuleType, engine: SimpleNamespace) -> None:
    assert script.main([]) == 0
    built = [note["words"] for note in engine.notes()]
    assert [next(word for word in words if word.startswith("--tag=")) for words in built] == [
        "--tag=trimtab/data:0.1.0", "--tag=trimtab/train:0.1.0",
    ]  # fmt: skip
    assert not script.LOCK.exists()


def test_a_mirrors_address_reaches_the_build_as_a_secret_only(script: ModuleType, engine: SimpleNamespace) -> None:
    first, second = "https://me:word@mirror/simple", "https://me:word@mirror/torch"
    assert script.main(["train", "--index", first, "--index", second]) == 0
    (note,) = engine.notes()
    assert not any("mirror" in word for word in note["words"])
    assert list(note["secrets"].values()) == [f"[global]\nindex-url = {first}\nextra-index-url =\n    {second}\n"]
    assert argument(note, "TORCH_INDEX") == ""


def test_wheels_certificates_and_the_base_are_passed_on(
    script: ModuleType, engine: SimpleNamespace, tmp_path: Path
) -> None:
    (tmp_path / "ca.pem").write_text("certificates")
    words = ["train", "--wheels", str(tmp_path), "--ca", str(tmp_path / "ca.pem"), "--base", "mirror/python:3.11"]
    assert script.main(words) == 0
    (note,) = engine.notes()
    assert f"--build-context=wheels={tmp_path}" in note["words"]
    assert list(note["secrets"].values()) == ["certificates"]
    assert argument(note, "BASE_IMAGE") == "mirror/python:3.11"
    assert argument(note, "TORCH") == "cpu"


def test_a_push_writes_the_lock_with_the_registrys_digest_and_keeps_other_entries(
    script: ModuleType, engine: SimpleNamespace
) -> None:
    script.LOCK.write_text(json.dumps({"trimtab/other": OTHER}))
    assert script.main(["data", "--push", "registry.example:5000/team/"]) == 0
    assert json.loads(script.LOCK.read_text()) == {
        "trimtab/data": f"registry.example:5000/team/trimtab/data@sha256:{'ab' * 32}",
        "trimtab/other": OTHER,
    }
    assert engine.notes()[-1]["words"][0] == "push"
    assert read_images(script.LOCK, "").locked["trimtab/data"].startswith("registry.example:5000/team/trimtab/data@")
    assert stat.S_IMODE(script.LOCK.stat().st_mode) & 0o444 == 0o444


def test_a_lock_without_a_push_names_the_image_here(script: ModuleType, engine: SimpleNamespace) -> None:
    assert script.main(["data", "--lock"]) == 0
    assert json.loads(script.LOCK.read_text()) == {"trimtab/data": f"localhost/trimtab/data@sha256:{'cd' * 32}"}


def test_a_build_that_fails_is_one_line_and_leaves_no_lock(
    script: ModuleType, engine: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CODE", "125")
    assert script.main(["--push", "registry.example"]) == 1
    assert capsys.readouterr().err == "error: podman build failed with exit code 125\n"
    assert not script.LOCK.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["runtime"], "no image for the role 'runtime'; there are: data, train"),
        (["--wheels", "/no/such/folder"], "--wheels: /no/such/folder is no folder"),
        (["--ca", "/no/such/file"], "--ca: /no/such/file is no file"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    script: ModuleType, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    with pytest.raises(SystemExit) as left:
        script.main(words)
    assert left.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith(f"error: {said}")


def test_docker_cannot_lock_what_is_not_pushed(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "docker").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit):
        script.main(["--lock"])
    assert "--lock without --push needs podman" in capsys.readouterr().err.splitlines()[-1]


def test_without_an_engine_the_line_says_so(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit):
        script.main([])
    assert capsys.readouterr().err.splitlines()[-1].endswith("error: neither podman nor docker is installed")
