"""Tables as spreadsheets, pandas and other tools write them."""

import base64
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.core.data.ingestion.items import Item
from components.core.data.ingestion.labels import joined, twins
from components.core.data.ingestion.sources import quick_look
from components.core.errors import UserError
from components.core.tasks.classification.rows import ClassificationRows

IMAGES = ClassificationRows()


def items(table: Path, tmp_path: Path, rows: ClassificationRows = IMAGES) -> list[Item]:
    return list(rows.open_source(str(table), tmp_path).items())


@pytest.mark.parametrize(
    "text",
    [
        "path;label\n1.jpg;cat\n2.jpg;dog\n",
        "path\tlabel\n1.jpg\tcat\n2.jpg\tdog\n",
        "path, label\n1.jpg, cat\n2.jpg, dog\n",
        *(f"{image},label\n1.jpg,cat\n2.jpg,dog\n" for image in ("img", "image_path", "file", "filename", "file_name")),
        *(
            f"path,{label}\n1.jpg,cat\n2.jpg,dog\n"
            for label in ("labels", "Label", "class", "target", "category", "fine_label", "Class Name")
        ),
    ],
)
def test_delimiters_and_names_of_columns(text: str, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(text)
    assert quick_look(str(tmp_path / "list.csv"), IMAGES).classes == ("cat", "dog")
    assert [(item.name, item.label) for item in items(tmp_path / "list.csv", tmp_path)] == [
        ("1.jpg", "cat"),
        ("2.jpg", "dog"),
    ]


def test_a_column_that_was_taken_under_another_name_is_said(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("filename,species,label\n1.jpg,cat,0\n")
    assert IMAGES.open_source(str(tmp_path / "list.csv"), tmp_path).facts() == {"column of the image": "filename"}


def test_the_user_may_name_the_columns(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("label,foto,art,hund\nx,1.jpg,cat,A\nx,2.jpg,dog,B\n")
    rows = IMAGES.with_options({"image_column": "foto", "label_column": "art", "group_column": "hund"})
    found = items(tmp_path / "list.csv", tmp_path, rows)
    assert [(item.name, item.label, item.group) for item in found] == [("1.jpg", "cat", "A"), ("2.jpg", "dog", "B")]
    with pytest.raises(UserError, match=r"has no label column; expected 'arts'; did you mean 'art'\?"):
        items(tmp_path / "list.csv", tmp_path, IMAGES.with_options({"image_column": "foto", "label_column": "arts"}))


def test_several_labels_in_one_cell_are_known_by_their_parts() -> None:
    assert joined(["bag", "boot", "bag|boot", "boot; bag", "bag|coat", "black|white", "a,b"]) == [
        "bag|boot",
        "boot; bag",
    ]
    assert joined(["red, blue", "red and blue"]) == []


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("photos.zip", r"unpack the \.zip file, then give "),
        ("list.csv.gz", r"unpack the \.gz file, then give "),
        ("list.xlsx", r"save the \.xlsx file as CSV, then give "),
        ("list.txt", r"is a file of an unknown kind; give "),
    ],
)
def test_a_file_of_another_kind_is_refused_with_what_would_work(name: str, hint: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(UserError, match=hint):
        quick_look(str(tmp_path / name), IMAGES)


def test_a_table_without_a_line_of_names_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("img/1.jpg,cat\nimg/2.jpg,dog\n")
    with pytest.raises(UserError, match=r"'img/1\.jpg' looks like a file: the first line must name the columns"):
        quick_look(str(tmp_path / "list.csv"), IMAGES)


@pytest.mark.parametrize("missing", ["", " ", "NaN", "nan", "None", "null", "-1", "<NA>"])
def test_what_stands_for_no_label_is_no_class(missing: str, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(f"path,label\n1.jpg,cat\n2.jpg,{missing}\n")
    assert [item.label for item in items(tmp_path / "list.csv", tmp_path)] == ["cat", None]


def test_labels_have_one_form(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("path,label\n1.jpg,T\u00fcr\n2.jpg, Tu\u0308r \n", encoding="utf-8")
    assert [item.label for item in items(tmp_path / "list.csv", tmp_path)] == ["T\u00fcr", "T\u00fcr"]


def test_names_that_look_the_same_are_found() -> None:
    names = ["Bag", "bag", "bag ", "0", "0.0", "1", "10", "blue jay", "blue_jay", "shoe"]
    assert twins(names) == [["0", "0.0"], ["Bag", "bag", "bag "], ["blue jay", "blue_jay"]]


def test_numbers_that_were_stored_as_floats_mean_the_declared_names(tmp_path: Path) -> None:
    features = {"label": {"names": ["ape", "zebra"], "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    table = pa.table({"image": [b"1", b"2", b"3"], "label": [1.0, 0.0, None]}, metadata=metadata)
    pq.write_table(table, tmp_path / "a.parquet")
    assert [item.label for item in items(tmp_path / "a.parquet", tmp_path)] == ["zebra", "ape", None]


def test_the_classes_of_a_column_with_another_name_are_found(tmp_path: Path) -> None:
    features = {"fine_label": {"names": ["ape", "zebra"], "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(pa.table({"img": [b"1", b"2"], "fine_label": [1, 0]}, metadata=metadata), tmp_path / "a.parquet")
    source = IMAGES.open_source(str(tmp_path / "a.parquet"), tmp_path)
    assert (source.classes, [item.label for item in source.items()]) == (["ape", "zebra"], ["zebra", "ape"])


@pytest.mark.parametrize("prefix", ["", "data:image/jpeg;base64,"])
def test_pictures_in_base64_are_read(prefix: str, tmp_path: Path) -> None:
    data = b"\xff\xd8\xff\xe0" + bytes(200_000)
    row = prefix + base64.b64encode(data).decode()
    (tmp_path / "list.csv").write_text(f'image,label\n"{row}",cat\n')
    (item,) = items(tmp_path / "list.csv", tmp_path)
    assert (item.name, item.read(10**6)) == ("list.csv:2", data)


def test_a_cell_that_is_no_path_is_named_shortly(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(f"image,label\n{'x' * 200_000},cat\n")
    (item,) = items(tmp_path / "list.csv", tmp_path)
    assert item.rejection is not None
    assert item.rejection.detail == "the cell is no path: it has 200,000 characters"


def test_the_line_of_a_bad_byte_is_named(tmp_path: Path) -> None:
    lines = [b"path,label", *(b"%d.jpg,cat" % number for number in range(3000)), b"\xff.jpg,dog"]
    (tmp_path / "list.csv").write_bytes(b"\n".join(lines))
    with pytest.raises(UserError, match=r"list\.csv, line 3002: not valid CSV in UTF-8"):
        items(tmp_path / "list.csv", tmp_path)


@pytest.mark.parametrize("written", ["sub\\1 ü.jpg", "sub/1 u\u0308.jpg", "{uri}"])
def test_paths_as_other_systems_write_them(written: str, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "1 \u00fc.jpg").write_bytes(b"picture")
    path = written.format(uri=(tmp_path / "sub" / "1 \u00fc.jpg").as_uri())
    (tmp_path / "list.csv").write_text(f"path,label\n{path},cat\n", encoding="utf-8")
    (item,) = items(tmp_path / "list.csv", tmp_path)
    assert item.read(100) == b"picture"


def test_a_split_may_be_a_column_or_the_names_of_the_tables(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("path,label,split\n1.jpg,a,TRAIN\n2.jpg,a,valid\n3.jpg,a,\n4.jpg,a,fold1\n")
    found = items(tmp_path / "list.csv", tmp_path)
    assert [item.split for item in found] == ["train", "validation", None, "fold1"]
    assert IMAGES.open_source(str(tmp_path / "list.csv"), tmp_path).split_from == "the column 'split'"
    (tmp_path / "list.jsonl").write_text('{"img": "1.jpg", "class": "a", "subset": "holdout"}\n{broken\n')
    lines = IMAGES.open_source(str(tmp_path / "list.jsonl"), tmp_path)
    assert (lines.split_from, [item.split for item in lines.items()]) == ("the column 'subset'", ["test", None])
    assert lines.facts() == {"column of the image": "img", "column of the label": "class"}
    both = tmp_path / "both"
    both.mkdir()
    for name in ("train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001"):
        pq.write_table(pa.table({"image": [name.encode()], "label": ["a"]}), both / f"{name}.parquet")
    source = IMAGES.open_source(str(both), tmp_path)
    assert sorted((item.name[:11], item.split) for item in source.items()) == [
        ("test-00000-", "test"),
        ("train-00000", "train"),
        ("train-00001", "train"),
    ]
    assert source.split_from.startswith("the tables test-00000-of-00001.parquet, train-")
