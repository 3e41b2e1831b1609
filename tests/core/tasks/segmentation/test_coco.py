"""COCO's annotations as masks."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.core.data.ingestion.sources import quick_look
from components.core.errors import UserError
from components.core.tasks.segmentation.coco import decompressed, drawn, polygon_mask, run_length_mask
from components.core.tasks.segmentation.masks import stored_mask
from components.core.tasks.segmentation.rows import SegmentationRows

ROWS = SegmentationRows()
SQUARE = [1, 1, 4, 1, 4, 3, 1, 3]


def compressed(counts: list[int]) -> str:
    """`rleToString` of the COCO API: five bits per character, differences to the one two before from the fourth on."""
    text = ""
    for number, count in enumerate(counts):
        value = count - counts[number - 2] if number > 2 else count
        while True:
            bits = value & 31
            value >>= 5
            more = value != -1 if bits & 16 else value != 0
            text += chr((bits | 32 if more else bits) + 48)
            if not more:
                break
    return text


def test_the_classes_are_background_and_the_categories_by_id(coco: Callable[..., Path], tmp_path: Path) -> None:
    path = coco([{"category_id": 9, "segmentation": [SQUARE]}])
    look = quick_look(str(path), ROWS)
    assert (look.kind, look.classes) == ("COCO", ("background", "cat", "dog"))
    (item,) = ROWS.open_source(str(path), tmp_path).items()
    found = ROWS.inspect(item, max_bytes=10**6)
    assert stored_mask(found.row["mask"]).tolist() == [
        [0, 0, 0, 0, 0, 0],
        [0, 2, 2, 2, 0, 0],
        [0, 2, 2, 2, 0, 0],
        [0, 0, 0, 0, 0, 0],
    ]


@pytest.mark.parametrize("folder", [".", "images", "../images", ".."])
def test_the_images_are_found_beside_the_file_and_one_folder_up(
    folder: str, coco: Callable[..., Path], tmp_path: Path
) -> None:
    (item,) = ROWS.open_source(str(coco([], folder=folder)), tmp_path).items()
    found = ROWS.inspect(item, max_bytes=10**6)
    assert found.rejection is None
    assert not stored_mask(found.row["mask"]).any(), "an image without annotations is background"


def test_a_folder_with_one_coco_file_is_enough(coco: Callable[..., Path]) -> None:
    assert quick_look(str(coco([]).parent), ROWS).kind == "COCO"


def test_missing_images_are_said(coco: Callable[..., Path]) -> None:
    path = coco([])
    shutil.rmtree(path.parent / "images")
    with pytest.raises(UserError, match=r"image 'a\.png' is neither beside the file, nor in images/"):
        quick_look(str(path), ROWS)


@given(
    points=st.lists(st.tuples(st.floats(-3, 12), st.floats(-3, 9)), min_size=3, max_size=7),
)
def test_a_polygon_holds_the_pixels_whose_centre_is_inside(points: list[tuple[float, float]]) -> None:
    mask = polygon_mask([number for point in points for number in point], 6, 9)

    def inside(x: float, y: float) -> bool:
        """Even-odd rule: a ray to the left crosses an odd number of edges."""
        crossed = 0
        for (x0, y0), (x1, y1) in zip(points, [*points[1:], points[0]], strict=True):
            if (y0 <= y) != (y1 <= y):
                crossed += x0 + (y - y0) * (x1 - x0) / (y1 - y0) <= x
        return crossed % 2 == 1

    assert mask.tolist() == [[inside(x + 0.5, y + 0.5) for x in range(9)] for y in range(6)]


@given(pixels=st.lists(st.booleans(), min_size=20, max_size=20))
def test_run_lengths_go_down_the_columns_compressed_or_not(pixels: list[bool]) -> None:
    mask = np.array(pixels).reshape(5, 4)
    counts, last = [0], False
    for value in mask.T.ravel().tolist():
        if value != last:
            counts.append(0)
            last = value
        counts[-1] += 1
    np.testing.assert_array_equal(run_length_mask(counts, 5, 4), mask)
    assert decompressed(compressed(counts)) == counts


@given(counts=st.lists(st.integers(0, 100_000), max_size=12))
def test_any_counts_survive_compression(counts: list[int]) -> None:
    assert decompressed(compressed(counts)) == counts


def test_smaller_objects_lie_on_top_and_crowds_count() -> None:
    small = {"category_id": 1, "segmentation": [[1, 1, 2, 1, 2, 2, 1, 2]]}
    large = {"category_id": 2, "segmentation": {"size": [3, 3], "counts": [0, 9]}, "iscrowd": 1}
    for order in ([small, large], [large, small]):
        assert drawn(order, {1: 1, 2: 2}, 3, 3).tolist() == [[2, 2, 2], [2, 1, 2], [2, 2, 2]]


@pytest.mark.parametrize(
    ("annotation", "reason", "detail"),
    [
        ({"category_id": 4, "segmentation": [SQUARE]}, "damaged mask", "unknown category_id 4"),
        ({"segmentation": [SQUARE]}, "damaged mask", "unknown category_id None"),
        ({"category_id": 9, "segmentation": [[1, 2, 3]]}, "damaged mask", "three points or more"),
        ({"category_id": 9, "segmentation": [[1, 2, 3, 4, 5, "x"]]}, "damaged mask", "no number"),
        ({"category_id": 9, "segmentation": []}, "damaged mask", "neither polygons nor run lengths"),
        ({"category_id": 9, "segmentation": {"size": [4, 6], "counts": [3, 3]}}, "damaged mask", "cover 6 pixels"),
        ({"category_id": 9, "segmentation": {"size": [4, 6], "counts": "é"}}, "damaged mask", "hold 'é'"),
        ({"category_id": 9, "segmentation": {"size": [6, 4], "counts": [24]}}, "damaged mask", r"of size \[6, 4\]"),
    ],
)
def test_a_bad_annotation_is_the_image_s_reason(
    annotation: dict, reason: str, detail: str, coco: Callable[..., Path], tmp_path: Path
) -> None:
    import re

    (item,) = ROWS.open_source(str(coco([annotation])), tmp_path).items()
    rejection = ROWS.inspect(item, max_bytes=10**6).rejection
    assert rejection is not None
    assert rejection.reason == reason
    assert re.search(detail, rejection.detail)


def test_an_image_of_another_size_than_stated_is_refused(coco: Callable[..., Path], tmp_path: Path) -> None:
    path = coco([])
    path.write_text(path.read_text().replace('"width": 6', '"width": 7'))
    (item,) = ROWS.open_source(str(path), tmp_path).items()
    rejection = ROWS.inspect(item, max_bytes=10**6).rejection
    assert rejection == ("mask of another size", "annotated at 7 x 4 pixels, the image has 6 x 4")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not valid JSON"),
        ("[]", "is not in COCO's format: it has no list 'images'"),
        ('{"images": [], "annotations": [], "categories": []}', "has no categories"),
        ('{"images": [{"id": 1}], "annotations": [], "categories": [{"id": 1, "name": "a"}]}', "has no file_name"),
        ('{"images": [], "annotations": [], "categories": [{"name": "a"}]}', "an entry of categories has no id"),
        (
            '{"images": [{"file_name": "a.png"}], "annotations": [], "categories": [{"id": 1, "name": "a"}]}',
            "an entry of images has no id",
        ),
        (
            '{"images": [], "annotations": [], "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "a"}]}',
            "two categories called 'a'",
        ),
        (
            f'{{"images": [], "annotations": [], "categories": [{{"id": 1, "name": "{"x" * 201}"}}]}}',
            r"x\.json has a class name of 201 characters .*at most 200",
        ),
    ],
)
def test_a_file_that_is_not_coco_is_refused(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(UserError, match=message):
        quick_look(str(tmp_path / "x.json"), ROWS)
