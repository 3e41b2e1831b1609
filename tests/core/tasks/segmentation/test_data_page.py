"""The data page of images and masks."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from components.core.data.dataset import open_dataset
from components.core.store import Store
from components.core.tasks.segmentation.data_page import overlay
from components.core.tasks.segmentation.masks import default_palette
from components.core.tasks.segmentation.rows import SegmentationRows
from components.data_prep.prepare import prepare
from components.data_prep.settings import Settings
from components.data_prep.summary import write_summary

ROWS = SegmentationRows()


def test_it_shows_pixels_per_class_overlays_and_each_reason_with_its_count(
    pairs: Callable[..., Path], store: Store, tmp_path: Path
) -> None:
    folder = pairs(20)
    (folder / "classes.txt").write_text("ground\nroad\nsky\nmoon\n")
    for number in (0, 1):
        (folder / "masks" / f"{number:02d}.png").unlink()
    result = prepare(Settings(dataset=str(folder), rows=ROWS), tmp_path / "out", store)
    dataset = open_dataset(tmp_path / "out", store)
    write_summary(tmp_path / "page.html", shown_as="data", prepared=result, dataset=dataset, rows=ROWS)
    html = (tmp_path / "page.html").read_text()
    for text in (
        "18 images of 4 classes from data; 2 quarantined",
        f"{dataset.class_counts['train'][1]:,}",
        "Pixels per class and split",
        "Classes without a pixel in train",
        "moon: nothing can be learnt of them.",
        "no pair",
        "images/00.png",
        "no mask masks/00.png",
        "an image without a mask",
        "ground, road, sky",
        "data:image/png;base64,",
    ):
        assert text in html, text
    assert str(tmp_path) not in html


def test_the_page_of_the_demo_says_that_it_is_synthetic_and_a_voc_folder_s_lists_are_named(
    pairs: Callable[..., Path], store: Store, tmp_path: Path
) -> None:
    folder = pairs(20)
    (folder / "images").rename(folder / "JPEGImages")
    (folder / "masks").rename(folder / "SegmentationClass")
    (folder / "ImageSets" / "Segmentation").mkdir(parents=True)
    (folder / "ImageSets" / "Segmentation" / "val.txt").write_text("00\n01\n")
    result = prepare(Settings(dataset=str(folder), rows=ROWS), tmp_path / "out", store)
    dataset = open_dataset(tmp_path / "out", store)
    result.manifest.metadata["licence"] = ROWS.demo.licence
    write_summary(tmp_path / "page.html", shown_as="data", prepared=result, dataset=dataset, rows=ROWS)
    html = (tmp_path / "page.html").read_text()
    assert re.search(r">ImageSets/Segmentation<.*?>val 2<", html, re.DOTALL)
    # What is in no list is for training.
    assert result.manifest.metadata["split"]["from"] == "the lists in ImageSets/Segmentation"
    assert "synthetic scenes" in html


def test_an_overlay_mixes_the_classes_colours_in_and_leaves_the_background() -> None:
    image = np.full((1, 3, 3), 100, dtype=np.uint8)
    mixed = overlay(image, np.array([[0, 2, 255]], dtype=np.uint8), default_palette(3), opacity=0.5)
    colour = np.array(default_palette(3)[2])
    np.testing.assert_array_equal(mixed[0, 0], [100, 100, 100])
    np.testing.assert_array_equal(mixed[0, 1], np.round(50 + 0.5 * colour))
    np.testing.assert_array_equal(mixed[0, 2], np.round([177.5] * 3))


def test_a_large_image_is_shown_small(tmp_path: Path, store: Store) -> None:
    for kind in ("images", "masks"):
        (tmp_path / "data" / kind).mkdir(parents=True)
    for number in range(3):
        Image.new("RGB", (400, 200), (number, 0, 0)).save(tmp_path / "data" / "images" / f"{number}.png")
        mask = np.zeros((200, 400), dtype=np.uint8)
        mask[:, 200:] = 1
        Image.fromarray(mask).save(tmp_path / "data" / "masks" / f"{number}.png")
    prepare(Settings(dataset=str(tmp_path / "data"), rows=ROWS), tmp_path / "out", store)
    (images,) = ROWS.samples(open_dataset(tmp_path / "out", store))
    assert [image.title for image in images.images] == ["image", "0, 1"]
