"""How the libraries' own weights want their images."""

import pytest
from torchvision.models import get_model_builder, get_model_weights, list_models

from components.core.models.published import published_input
from components.core.tasks.images.preprocess import Preprocess


def preprocess(source: str) -> Preprocess:
    usual = published_input(source)
    return Preprocess(
        image_size=usual.image_size,
        mean=usual.mean,
        std=usual.std,
        interpolation=usual.interpolation,
        resize="crop",
        crop_ratio=usual.crop_ratio,
    )


def test_every_classifier_of_torchvision_is_cropped_and_filtered_as_its_weights_were_evaluated() -> None:
    filters = set()
    own = [name for name in list_models() if get_model_builder(name).__module__.startswith("torchvision.")]
    for name in own:  # other tests register networks too
        shown = next(iter(get_model_weights(name))).transforms()
        if len(getattr(shown, "crop_size", ())) != 1 or "video" in type(shown).__name__.lower():
            continue  # detection, segmentation and video
        ours = preprocess(f"torchvision:{name}")
        assert ours.placed((3000, 2000))[1] == shown.resize_size[0], name
        assert (ours.image_size, ours.interpolation) == (shown.crop_size[0], shown.interpolation.value), name
        filters.add(ours.interpolation)
    assert filters == {"bilinear", "bicubic"}


@pytest.mark.parametrize(
    ("name", "interpolation", "ratio"),
    [("mobilenetv4_conv_small", "bicubic", 0.875), ("repvgg_a0", "bilinear", 0.875), ("resnet50", "bicubic", 0.95)],
)
def test_a_network_of_timm_is_as_its_weights_were_evaluated(name: str, interpolation: str, ratio: float) -> None:
    usual = published_input(f"timm:{name}")
    assert (usual.interpolation, usual.crop_ratio) == (interpolation, ratio)
