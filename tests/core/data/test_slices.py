"""Slices: which cells name one, and how they come out of a user's table."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.core.data.ingestion.sources import quick_look
from components.core.data.slices import MAX_VALUES, SliceCounts, parse_slice_columns, slice_value
from components.core.errors import UserError
from components.core.tasks.classification.rows import ClassificationRows

ROWS: list[dict[str, Any]] = [
    {"path": "1.jpg", "label": "a", "camera": "night", "site": 1},
    {"path": "2.jpg", "label": "b", "camera": " day ", "site": 2},
    {"path": "3.jpg", "label": "a", "camera": "", "site": None},
    {"path": "4.jpg", "label": "b", "camera": "day", "site": 1},
]

IMAGES = ClassificationRows()


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    lines = [",".join(rows[0])] + [",".join("" if v is None else str(v) for v in row.values()) for row in rows]
    path.write_text("\n".join(lines) + "\n")


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    pq.write_table(pa.Table.from_pylist(rows), path)


WRITERS = {"csv": write_csv, "jsonl": write_jsonl, "parquet": write_parquet}


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., Path]:
    def write(kind: str, rows: list[dict[str, Any]]) -> Path:
        WRITERS[kind](tmp_path / f"list.{kind}", rows)
        return tmp_path / f"list.{kind}"

    return write


@pytest.mark.parametrize("kind", WRITERS)
def test_each_kind_of_table_brings_its_slices_along(kind, table, tmp_path):
    columns = parse_slice_columns("site, camera")
    source = IMAGES.open_source(str(table(kind, ROWS)), tmp_path, slice_columns=columns)
    found = {item.name: dict(zip(columns, item.slices, strict=True)) for item in source.items()}
    assert found == {
        "1.jpg": {"camera": "night", "site": "1"},
        "2.jpg": {"camera": "day", "site": "2"},
        "3.jpg": {"camera": None, "site": None},
        "4.jpg": {"camera": "day", "site": "1"},
    }


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("camara", "has no column 'camara' for slice_columns; did you mean 'camera'?; other columns: camera, site"),
        ("weather", "has no column 'weather' for slice_columns; other columns: camera, site"),
        ("label", "slice_columns names 'label', which holds the labels, images or texts"),
    ],
)
def test_a_column_that_cannot_be_one_is_refused_in_a_moment_with_the_nearest_name(kind, asked, words, table):
    with pytest.raises(UserError) as caught:
        quick_look(str(table(kind, ROWS)), IMAGES, slice_columns=parse_slice_columns(asked))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", WRITERS)
def test_a_column_that_tells_images_apart_is_refused_by_name(kind, table):
    rows = [
        {"path": f"{number}.jpg", "label": "ab"[number % 2], "id": f"i{number}", "camera": "day"}
        for number in range(MAX_VALUES + 1)
    ]
    quick_look(str(table(kind, rows[:-1])), IMAGES, slice_columns=("camera", "id"))
    with pytest.raises(UserError, match=r"slice column 'id' has more than 100 values \('i0', 'i1', 'i2', …\)"):
        quick_look(str(table(kind, rows)), IMAGES, slice_columns=("camera", "id"))


@pytest.mark.parametrize("kind", WRITERS)
def test_a_column_without_any_value_is_refused(kind, table):
    rows = [{**row, "camera": ""} for row in ROWS]
    with pytest.raises(UserError, match="slice column 'camera' is empty in every row"):
        quick_look(str(table(kind, rows)), IMAGES, slice_columns=("camera",))


def test_a_json_line_that_is_broken_belongs_to_no_slice(table, tmp_path):
    path = table("jsonl", ROWS)
    path.write_text(path.read_text() + "{broken\n[1]\n")
    assert quick_look(str(path), IMAGES, slice_columns=("camera",)).classes == ("a", "b")
    items = list(IMAGES.open_source(str(path), tmp_path, slice_columns=("camera",)).items())
    assert [item.slices for item in items[-2:]] == [(None,), (None,)]


def test_a_column_of_lists_is_refused_with_its_row(table):
    rows = [*ROWS, {**ROWS[0], "tags": ["x", "y"]}]
    with pytest.raises(UserError, match=r"list\.jsonl, row 5: slice column 'tags' holds a list; name another column"):
        quick_look(str(table("jsonl", rows)), IMAGES, slice_columns=("tags",))


def test_numbers_that_a_hugging_face_table_declares_names_for_become_these_names(tmp_path):
    features = {"label": {"names": ["a", "b"]}, "camera": {"names": ["day", "night"]}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    columns = {"image": [b"1", b"2", b"3"], "label": [0, 1, 0], "camera": [1, 0, -1]}
    pq.write_table(pa.table(columns, metadata=metadata), tmp_path / "part.parquet")
    items = IMAGES.open_source(str(tmp_path / "part.parquet"), tmp_path, slice_columns=("camera",)).items()
    assert [item.slices for item in items] == [("night",), ("day",), (None,)]


def test_a_folder_of_images_has_no_columns_and_says_what_would_work(tmp_path):
    for name in ("a/1.jpg", "b/2.jpg"):
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_bytes(b"x")
    with pytest.raises(UserError, match=r"is a folder of images, which has no column 'camera'; give a \.parquet"):
        quick_look(str(tmp_path / "data"), IMAGES, slice_columns=("camera",))


@pytest.mark.parametrize(
    ("cell", "name"),
    [
        (None, None), (float("nan"), None), ("  ", None), ("a\n b", "a b"), (3, "3"), (3.0, "3"), (0.5, "0.5"),
        (True, "true"), (False, "false"), ("\ud800", "\\ud800"), ("x" * 100, "x" * 100),
    ],
)  # fmt: skip
def test_a_cell_names_a_slice_in_one_line(cell, name):
    assert slice_value(cell) == name


@pytest.mark.parametrize(
    ("cell", "words"), [([1], "holds a list"), ({"a": 1}, "holds a dict"), ("x" * 101, "101 characters, at most 100")]
)
def test_a_cell_that_is_no_name_is_refused(cell, words):
    with pytest.raises(ValueError, match=words):
        slice_value(cell)


def test_values_are_counted_by_split_and_ordered_as_numbers_and_names():
    counts = SliceCounts(("site",))
    for value, split in [("10", "train"), ("2", "train"), ("10", "test"), (None, "test"), ("b", "train")]:
        counts.add([value], split)
    found = counts.to_json(("train", "test"))["site"]
    assert list(found) == ["b", "2", "10"]
    assert found["10"] == {"train": 1, "test": 1}
    assert found["2"] == {"train": 1, "test": 0}
