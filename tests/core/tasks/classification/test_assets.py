"""How a backbone's images are prepared."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from components.core.models.catalog import load_catalog
from components.core.tasks import get_task

DATASET: Any = SimpleNamespace(classes=["a", "b"], manifest=SimpleNamespace(metadata={}))


@pytest.mark.parametrize(("asked", "expected"), [(0, 0.9655), (0.8, 0.8)])
def test_filter_and_crop_are_the_backbones_unless_a_ratio_is_given(asked: float, expected: float) -> None:
    backbone = replace(load_catalog()["resnet50"], interpolation="bicubic")
    assets = get_task("classification").assets(backbone, DATASET, 0, settings={"resize": "crop", "crop_ratio": asked})
    assert (assets.preprocess.interpolation, assets.preprocess.crop_ratio) == ("bicubic", expected)
