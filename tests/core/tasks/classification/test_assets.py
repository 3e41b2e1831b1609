"""How a backbone's images are prepared."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from components.core.models.catalog import load_catalog
from components.core.tasks import get_task
from components.core.tasks.classification.parameters import PARAMETERS

DATASET: Any = SimpleNamespace(classes=["a", "b"], manifest=SimpleNamespace(metadata={}))


@pytest.mark.parametrize(
    ("size", "settings", "expected"),
    [
        (0, {}, ("bicubic", "crop", 0.9655)),
        (224, {}, ("bicubic", "crop", 0.9655)),
        (64, {}, ("bilinear", "squash", 1.0)),
        (0, {"resize": "squash"}, ("bicubic", "squash", 1.0)),
        (64, {"resize": "crop"}, ("bilinear", "crop", 0.9655)),
        (0, {"crop_ratio": 0.8}, ("bicubic", "crop", 0.8)),
    ],
)
def test_at_its_published_size_a_backbone_sees_what_it_was_evaluated_on(
    size: int, settings: dict[str, Any], expected: tuple[str, str, float]
) -> None:
    backbone = replace(load_catalog()["resnet50"], interpolation="bicubic")
    chosen = {**{one.name: one.default for one in PARAMETERS if one.part == "network"}, **settings}
    found = get_task("classification").assets(backbone, DATASET, size, settings=chosen).preprocess
    assert (found.interpolation, found.resize, found.crop_ratio) == expected


def test_the_demo_sees_what_its_published_figures_were_measured_on() -> None:
    """The digest of its release is of these values, among others."""
    (size,) = (one.default for one in PARAMETERS if one.name == "image_size")
    for name in ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"):
        preprocess = get_task("classification").assets(load_catalog()[name], DATASET, size).preprocess
        assert preprocess.to_json() == {
            "format": 1, "image_size": 64, "mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bilinear",
            "resize": "squash",
        }  # fmt: skip
