"""How a backbone's images are prepared."""

import io
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from PIL import Image

from components.core.models.catalog import load_catalog
from components.core.tasks import get_task
from components.core.tasks.classification.parameters import PARAMETERS


def data_set(*sides: tuple[int, int]) -> Any:
    """Training images of these widths and heights; nothing else may be read of them."""

    def read(split: str, shard: int, *, columns: list[str]) -> pa.Table:
        assert (split, shard, columns) == ("train", 0, ["image"])
        files = [io.BytesIO() for _ in sides]
        for file, size in zip(files, sides, strict=True):
            Image.new("RGB", size).save(file, "PNG")
        return pa.table({"image": [file.getvalue() for file in files]})

    return SimpleNamespace(classes=["a", "b"], manifest=SimpleNamespace(metadata={}), read=read)


SMALL = data_set((28, 28), (28, 28), (28, 40))
PHOTOGRAPHS = data_set((640, 480), (480, 640), (50, 50))
DEFAULTS = {one.name: one.default for one in PARAMETERS if one.part == "network"}


@pytest.mark.parametrize(
    ("size", "settings", "expected"),
    [
        (0, {}, ("bicubic", "crop", 0.9655)),
        (64, {}, ("bicubic", "crop", 0.9655)),
        (480, {}, ("bicubic", "crop", 0.9655)),
        (64, {"resize": "squash"}, ("bicubic", "squash", 1.0)),
        (64, {"crop_ratio": 0.8}, ("bicubic", "crop", 0.8)),
    ],
)
def test_photographs_are_cropped_as_the_backbone_was_evaluated(
    size: int, settings: dict[str, Any], expected: tuple[str, str, float]
) -> None:
    assert prepared(size, settings, PHOTOGRAPHS) == expected


@pytest.mark.parametrize(
    ("size", "settings", "expected"),
    [
        (0, {}, ("bicubic", "crop", 0.9655)),
        (28, {}, ("bicubic", "crop", 0.9655)),
        (29, {}, ("bilinear", "squash", 1.0)),
        (64, {}, ("bilinear", "squash", 1.0)),
        (0, {"resize": "squash"}, ("bicubic", "squash", 1.0)),
        (64, {"resize": "crop"}, ("bilinear", "crop", 0.9655)),
    ],
)
def test_images_smaller_than_the_input_keep_their_border(
    size: int, settings: dict[str, Any], expected: tuple[str, str, float]
) -> None:
    assert prepared(size, settings, SMALL) == expected


def prepared(size: int, settings: dict[str, Any], dataset: Any) -> tuple[str, str, float]:
    backbone = replace(load_catalog()["resnet50"], interpolation="bicubic")
    chosen = {**DEFAULTS, **settings}
    found = get_task("classification").assets(backbone, dataset, size, settings=chosen).preprocess
    return found.interpolation, found.resize, found.crop_ratio


def test_the_demo_sees_what_its_published_figures_were_measured_on() -> None:
    """The digest of its release is of these values, among others."""
    (size,) = (one.default for one in PARAMETERS if one.name == "image_size")
    for name in ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"):
        preprocess = get_task("classification").assets(load_catalog()[name], SMALL, size).preprocess
        assert preprocess.to_json() == {
            "format": 1, "image_size": 64, "mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bilinear",
            "resize": "squash",
        }  # fmt: skip
