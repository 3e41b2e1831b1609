"""Images by digest, and from a mirror."""

import json
from pathlib import Path
from typing import Any

import pytest

from components.core.errors import UserError
from pipelines.cluster import images as images_module
from pipelines.cluster.images import Images, apply_images, read_images

DIGEST = "sha256:" + "a1" * 32
LOCKED = f"registry.example.com:5000/ml/trimtab-data@{DIGEST}"


def spec_with(*images: str) -> dict[str, Any]:
    containers = {f"exec-{i}": {"container": {"image": image}} for i, image in enumerate(images)}
    return {"deploymentSpec": {"executors": {**containers, "exec-import": {"importer": {}}}}}


def images_of(spec: dict[str, Any]) -> list[str]:
    executors = spec["deploymentSpec"]["executors"].values()
    return [executor["container"]["image"] for executor in executors if "container" in executor]


def lock(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content))
    return path


def test_a_locked_image_is_replaced_whatever_its_tag_and_others_stay(tmp_path: Path) -> None:
    found = read_images(lock(tmp_path / "lock.json", {"trimtab/data": LOCKED}), "")
    spec = spec_with("trimtab/data:0.1.0", "trimtab/data", "trimtab/train:0.1.0", "python:3.11")
    changed = apply_images(spec, found)
    assert images_of(spec) == [LOCKED, LOCKED, "trimtab/train:0.1.0", "python:3.11"]
    assert changed == {"trimtab/data:0.1.0": LOCKED, "trimtab/data": LOCKED}


def test_a_mirror_keeps_the_digest_and_the_name(tmp_path: Path) -> None:
    path = lock(tmp_path / "lock.json", {"trimtab/data": LOCKED, "other/tool": f"quay.io/other/tool@{DIGEST}"})
    found = read_images(path, "mirror.example.com:5000/team/")
    spec = spec_with("trimtab/data:0.1.0", "trimtab/train:0.1.0", "python:3.11", "other/tool:1")
    apply_images(spec, found)
    assert images_of(spec) == [
        f"mirror.example.com:5000/team/trimtab/data@{DIGEST}",
        "mirror.example.com:5000/team/trimtab/train:0.1.0",
        "python:3.11",
        f"mirror.example.com:5000/team/other/tool@{DIGEST}",
    ]


def test_without_a_lock_file_the_names_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images_module, "LOCK", tmp_path / "none.json")
    assert read_images(None, "") == Images()
    monkeypatch.setattr(images_module, "LOCK", lock(tmp_path / "lock.json", {"trimtab/data": LOCKED}))
    assert read_images(None, "").locked == {"trimtab/data": LOCKED}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"trimtab/data": "registry.example.com/trimtab/data:0.1.0"}, "references with a digest"),
        ({"trimtab/data": "x@sha256:abc"}, "references with a digest"),
        ({"trimtab/data": 3}, "references with a digest"),
        (["trimtab/data"], "must map the names"),
    ],
)
def test_a_lock_file_that_locks_nothing_is_refused(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_images(lock(tmp_path / "lock.json", content), "")


def test_a_lock_file_that_is_named_must_be_there_and_be_json(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read: No such file"):
        read_images(tmp_path / "none.json", "")
    (tmp_path / "lock.json").write_text("{")
    with pytest.raises(UserError, match="it is not JSON"):
        read_images(tmp_path / "lock.json", "")


@pytest.mark.parametrize("registry", ["https://mirror", "mirror/Path", "a b", "mirror:port/x"])
def test_a_registry_that_is_none_is_refused(tmp_path: Path, registry: str) -> None:
    with pytest.raises(UserError, match="not of the form HOST"):
        read_images(None, registry)
