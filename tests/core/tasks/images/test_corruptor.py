"""Stored rows damaged: what stays, what is shrunk, and that nothing but the damage is different."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from components.core.tasks.images.corruptions import CORRUPTIONS, corrupted
from components.core.tasks.images.corruptor import SIDE, ImageCorruptions
from components.core.tasks.images.preprocess import Preprocess, open_image


def assets(image_size: int) -> SimpleNamespace:
    return SimpleNamespace(preprocess=Preprocess(image_size=image_size, mean=(0, 0, 0), std=(1, 1, 1)))


def stored(width: int, height: int, *, orientation: int = 1) -> dict:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", exif=exif)
    return {"image": buffer.getvalue(), "label": 3, "digest": "ab" * 32}


def opened(row: dict) -> np.ndarray:
    return np.asarray(open_image(row["image"]))


def test_the_first_version_is_the_row_undamaged_and_each_other_one_its_kind():
    row, corruptions = stored(40, 30), ImageCorruptions()
    found = list(corruptions.versions(row, [assets(32), assets(16)]))
    assert corruptions.kinds[:4] == (
        ("gaussian noise", 1), ("gaussian noise", 2), ("gaussian noise", 3), ("shot noise", 1),
    )  # fmt: skip
    assert len(found) == 1 + len(corruptions.kinds) == 1 + 3 * len(CORRUPTIONS)
    assert {(one["label"], one["digest"]) for one in found} == {(3, row["digest"])}
    clean = opened(row)
    assert np.array_equal(opened(found[0]), clean)
    for (name, severity), one in zip(corruptions.kinds, found[1:], strict=True):
        assert np.array_equal(opened(one), corrupted(clean, name, severity, seed=row["digest"]))


def test_the_image_is_corrupted_upright():
    row = stored(40, 30, orientation=6)
    first = next(ImageCorruptions().versions(row, [assets(32)]))
    assert opened(first).shape == (40, 30, 3)
    assert np.array_equal(opened(first), opened(row))


@pytest.mark.parametrize(("network", "shorter"), [(64, SIDE), (300, 300), (900, 450)])
def test_a_large_image_is_shrunk_before_it_is_damaged_but_not_below_a_networks_input(network, shorter):
    row = stored(600, 450)
    for one in ImageCorruptions().versions(row, [assets(32), assets(network)]):
        assert opened(one).shape == (shorter, round(600 * shorter / 450), 3)


def test_where_the_target_has_the_images_size_it_keeps_it():
    row = stored(600, 450)
    versions = ImageCorruptions(same_size=True).versions(row, [assets(32)])
    assert {opened(one).shape for one in versions} == {(450, 600, 3)}


def test_deep_grey_is_read_by_the_models_levels():
    values = np.linspace(1000, 3000, 64 * 64).reshape(64, 64).astype(np.uint16)
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    levels = (1000.0, 3000.0)
    prepared = SimpleNamespace(preprocess=Preprocess(image_size=32, mean=(0, 0, 0), std=(1, 1, 1), levels=levels))
    first = next(ImageCorruptions().versions({"image": buffer.getvalue(), "digest": "00"}, [prepared]))
    assert (opened(first).min(), opened(first).max()) == (0, 255)
