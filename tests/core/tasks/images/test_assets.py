"""Assets of networks that look at images: files, metadata, and a student's."""

import json
from dataclasses import replace

import pytest

from components.core.errors import UserError
from components.core.tasks import get_task
from components.core.tasks.images.assets import ImageAssets
from components.core.tasks.images.preprocess import Preprocess

ASSETS = ImageAssets(
    preprocess=Preprocess(image_size=64, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
    labels=["coat", "bäg"],
)
task = get_task("classification")


def test_files_come_back_and_equal_assets_have_equal_bytes() -> None:
    files = ASSETS.to_files()
    assert sorted(files) == ["labels.json", "preprocess.json"]
    assert task.read_assets({**files, "weights.safetensors": b"other files are not looked at"}) == ASSETS
    assert replace(ASSETS, labels=["coat", "bäg"]).to_files() == files


def test_files_are_those_that_earlier_versions_wrote() -> None:
    assert ASSETS.to_files()["labels.json"] == '["coat","bäg"]'.encode()
    assert json.loads(ASSETS.to_files()["preprocess.json"]) == ASSETS.preprocess.to_json()


def test_metadata_comes_back_through_json() -> None:
    assert task.read_metadata(json.loads(json.dumps(ASSETS.to_metadata()))) == ASSETS


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels.json": None}, "labels.json is missing"),
        ({"preprocess.json": None}, "preprocess.json is missing"),
        ({"labels.json": b'{"coat": 1}'}, "labels must be a list of class names, got dict"),
        ({"preprocess.json": b"{}"}, "preprocess.json must have format 1"),
        ({"preprocess.json": b"[]"}, "preprocess.json must hold an object, got list"),
        ({"labels.json": b"["}, "Expecting value"),
    ],
)
def test_what_is_missing_or_wrong_is_named(changes: dict[str, bytes | None], message: str) -> None:
    files = {name: data for name, data in {**ASSETS.to_files(), **changes}.items() if data is not None}
    with pytest.raises(ValueError, match=message):
        task.read_assets(files)


@pytest.mark.parametrize("name", ["preprocess", "labels"])
def test_missing_metadata_is_named(name: str) -> None:
    metadata = {key: value for key, value in ASSETS.to_metadata().items() if key != name}
    with pytest.raises(ValueError, match=f"{name} is missing"):
        task.read_metadata(metadata)


def test_inputs_and_description_follow_the_size() -> None:
    [images] = ASSETS.inputs
    assert (images.name, images.dtype, images.shape) == ("images", "float32", ("batch", 3, 64, 64))
    assert ASSETS.describe() == {"input": "64 × 64 px", "classes": "2"}


def test_a_student_keeps_its_own_normalisation_at_the_asked_size() -> None:
    student = replace(ASSETS, preprocess=Preprocess(image_size=32, mean=(0.5,) * 3, std=(0.5,) * 3))
    assert task.student_assets(ASSETS, student, 0).preprocess == replace(student.preprocess, image_size=64)
    assert task.student_assets(ASSETS, student, 48).preprocess == replace(student.preprocess, image_size=48)
    with pytest.raises(UserError, match="at most the teacher's 64 pixels, got 65"):
        task.student_assets(ASSETS, student, 65)
