"""`trimtab layout`: what was verified, as a model repository, whole or not at all."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from minisign import KeyPair
from small_releases import classifier

from components.core.signing import sign_release
from components.core.store import Store, open_store

Trimtab = Callable[..., Any]


@pytest.fixture
def store(tmp_path: Path, trimtab: Trimtab) -> Store:
    found = open_store(str(tmp_path / "trimtab-out" / "store"))
    found.releases.publish("My_Sorter", "0123", classifier(["cat", "dog"]))
    return found


def test_a_release_becomes_a_repository_and_a_service(trimtab: Trimtab, store: Store, tmp_path: Path) -> None:
    before = {
        file: store.releases.read("My_Sorter", "0123", file) for file in store.releases.files("My_Sorter", "0123")
    }
    said = trimtab("layout", "0123", "--to", "served", "--name", "pets", "--uri", "s3://models/pets")
    assert (said.code, said.err) == (0, "")
    assert said.out.splitlines() == [
        "triton     tritonserver --model-repository served",
        "kserve     copy the content of served to s3://models/pets, "
        "then: kubectl apply -f served/inferenceservice.yaml",
    ]
    written = {str(path.relative_to(tmp_path / "served")) for path in Path("served").resolve().rglob("*.*")}
    assert written == {"inferenceservice.yaml", "pets/config.pbtxt", "pets/labels.txt", "pets/1/model.onnx"}
    assert Path("served/pets/1/model.onnx").read_bytes() == before["model.onnx"]
    assert yaml.safe_load(Path("served/inferenceservice.yaml").read_text())["metadata"] == {
        "name": "pets",
        "annotations": {"trimtab/release": "My_Sorter/0123"},
    }
    # The release is as it was: no file more, none changed.
    assert before == {
        file: store.releases.read("My_Sorter", "0123", file) for file in store.releases.files("My_Sorter", "0123")
    }
    assert trimtab("verify", "0123").code == 0


@pytest.mark.usefixtures("store")
def test_without_a_uri_there_is_no_service_and_the_releases_name_will_do(trimtab: Trimtab) -> None:
    said = trimtab("layout", "0123", "--to", "served")
    assert (said.code, said.out) == (0, "triton     tritonserver --model-repository served\n")
    assert sorted(path.name for path in Path("served").iterdir()) == ["My_Sorter"]


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--uri", "s3://models/pets"], "an InferenceService cannot be called 'My_Sorter'"),
        (["--uri", "models", "--name", "pets"], "--uri must be where KServe fetches from"),
        (["--name", "../pets"], "model '../pets' is not a usable name"),
        (["--key", "nothing"], "the key nothing cannot be read"),
    ],
)
def test_what_cannot_be_is_said_in_one_line_and_nothing_is_written(
    trimtab: Trimtab, words: list[str], message: str
) -> None:
    said = trimtab("layout", "0123", "--to", "served", *words)
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert message in said.err
    assert not Path("served").exists()


def test_a_folder_that_is_there_is_left_alone(trimtab: Trimtab, store: Store) -> None:
    Path("served").mkdir()
    said = trimtab("layout", "0123", "--to", "served")
    assert said.code == 2
    assert "served already exists" in said.err
    assert list(Path("served").iterdir()) == []


def test_only_what_is_whole_and_signed_by_the_key_is_laid_out(trimtab: Trimtab, store: Store, tmp_path: Path) -> None:
    pair = KeyPair.generate()
    (tmp_path / "public").write_bytes(bytes(pair.public_key))
    said = trimtab("layout", "0123", "--to", "served", "--key", str(tmp_path / "public"))
    assert (said.code, said.err) == (2, "error: it is not laid out: My_Sorter/0123 is not signed\n")
    sign_release(store, "My_Sorter", "0123", pair.secret_key)
    assert trimtab("layout", "0123", "--to", "signed", "--key", str(tmp_path / "public")).code == 0
    Path(store.uri.removeprefix("file://"), "releases/My_Sorter/0123/model.onnx").write_bytes(b"other")
    said = trimtab("layout", "0123", "--to", "served")
    assert said.code == 2
    assert "it is not laid out: " in said.err
    assert not Path("served").exists()
