"""Where images and masks may lie: folders, Pascal VOC, tables; here and in a bucket."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from components.core.data.ingestion import locations
from components.core.data.ingestion.items import Inspected
from components.core.data.ingestion.sources import quick_look, source_state
from components.core.errors import UserError
from components.core.store.backends.local_objects import LocalObjects
from components.core.tasks.segmentation.layouts import VOC_CLASSES
from components.core.tasks.segmentation.masks import default_palette, stored_mask
from components.core.tasks.segmentation.rows import SegmentationRows

Pairs = Callable[..., Path]
Encode = Callable[..., bytes]
ROWS = SegmentationRows()


class FakeBucket(LocalObjects):
    """A folder behind the interface of a bucket; the store's own suite tests the real protocol."""

    def folders(self, folder: str) -> list[str]:
        return sorted({listed.key.partition("/")[0] for listed in self.walk() if "/" in listed.key})


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that stands for ``s3://bucket``."""
    root = tmp_path / "bucket"
    root.mkdir()
    monkeypatch.setattr(locations, "open_objects", lambda uri: FakeBucket(tmp_path / uri.removeprefix("s3://")))
    return root


def inspected(dataset: Path | str, tmp_path: Path, rows: SegmentationRows = ROWS) -> dict[str, Inspected]:
    scratch = tmp_path / "scratch"
    scratch.mkdir(exist_ok=True)
    source = rows.open_source(str(dataset), scratch)
    return {item.name: rows.inspect(item, max_bytes=10**6) for item in source.items()}


def masks(found: dict[str, Inspected]) -> dict[str, list]:
    return {name: stored_mask(one.row["mask"]).tolist() for name, one in found.items() if one.row}


def test_folders_that_are_nested_alike_are_paired_whatever_the_suffix(pairs: Pairs, tmp_path: Path) -> None:
    folder = pairs(4, names=lambda number: f"day{number % 2}/{number}")
    (folder / "images").rename(folder / "Images")
    (folder / "masks").rename(folder / "labels")
    Image.open(folder / "Images" / "day0" / "0.png").save(folder / "Images" / "day0" / "0.jpg")
    (folder / "Images" / "day0" / "0.png").unlink()
    found = inspected(folder, tmp_path)
    assert sorted(found) == ["Images/day0/0.jpg", "Images/day0/2.png", "Images/day1/1.png", "Images/day1/3.png"]
    assert all(one.rejection is None for one in found.values())


def test_several_files_of_one_stem_are_no_pair(pairs: Pairs, tmp_path: Path) -> None:
    folder = pairs(2)
    Image.open(folder / "images" / "00.png").save(folder / "images" / "00.bmp")
    found = inspected(folder, tmp_path)
    details = {name: one.rejection.detail for name, one in found.items() if one.rejection}
    assert set(details) == {"images/00.png", "images/00.bmp", "masks/00.png"}
    assert details["images/00.png"].startswith("several files of one stem: images/00.")


@pytest.fixture
def voc(pairs: Pairs) -> Path:
    """Four pairs in the layout of VOC, two more images without masks, of which the lists name one."""
    folder = pairs(6)
    (folder / "images").rename(folder / "JPEGImages")
    (folder / "masks").rename(folder / "SegmentationClass")
    for number in (4, 5):
        (folder / "SegmentationClass" / f"{number:02d}.png").unlink()
    lists = folder / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("00\n01\n")
    (lists / "val.txt").write_text("02\n04\n")
    return folder


def test_voc_has_its_names_its_colours_and_its_lists(voc: Path, tmp_path: Path, encode: Encode) -> None:
    numbers = np.full((8, 12), 20, dtype=np.uint8)
    numbers[0] = 0
    colours = np.array(default_palette(21), dtype=np.uint8)[numbers]
    colours[1] = (224, 224, 192)
    (voc / "SegmentationClass" / "00.png").write_bytes(encode(colours))
    found = inspected(voc, tmp_path)
    numbers[1] = 255
    assert masks(found)["JPEGImages/00.png"] == numbers.tolist()
    # An image that no list names needs no mask: VOC has many for detection.
    assert sorted(found) == [f"JPEGImages/{number:02d}.png" for number in range(5)]
    assert found["JPEGImages/04.png"].rejection.reason == "no pair"
    source = ROWS.open_source(str(voc), tmp_path)
    assert source.classes == list(VOC_CLASSES)
    assert source.facts() == {"ImageSets/Segmentation": "train 2, val 2"}
    splits = {item.name: item.split for item in source.items()}
    assert [splits[f"JPEGImages/{number:02d}.png"] for number in range(4)] == ["train", "train", "validation", None]
    assert source.split_from == "the lists in ImageSets/Segmentation"


def test_a_folder_around_everything_is_passed_through(pairs: Pairs, tmp_path: Path) -> None:
    folder = pairs(2)
    (folder / "classes.txt").write_text("background\nobject\nother\n")
    for name in ("images", "masks", "classes.txt"):
        (folder / "set-1.0").mkdir(exist_ok=True)
        (folder / name).rename(folder / "set-1.0" / name)
    source = ROWS.open_source(str(folder), tmp_path)
    assert source.classes == ["background", "object", "other"]
    assert sorted(item.name for item in source.items()) == ["set-1.0/images/00.png", "set-1.0/images/01.png"]


@pytest.mark.parametrize("outside", [True, False])
def test_folders_of_splits_around_or_inside_images_and_masks_are_followed(
    outside: bool, pairs: Pairs, tmp_path: Path
) -> None:
    folder = pairs(4)
    for number in range(4):
        split = "train" if number < 3 else "test"
        for kind in ("images", "masks"):
            target = folder / split / kind if outside else folder / kind / split
            target.mkdir(parents=True, exist_ok=True)
            (folder / kind / f"{number:02d}.png").rename(target / f"{number:02d}.png")
    for kind in ("images", "masks") if outside else ():
        (folder / kind).rmdir()
    source = ROWS.open_source(str(folder), tmp_path)
    assert sorted((Path(item.name).stem, item.split) for item in source.items()) == [
        ("00", "train"), ("01", "train"), ("02", "train"), ("03", "test"),
    ]  # fmt: skip
    assert "train" in source.split_from


def test_names_beside_a_voc_folder_take_the_place_of_its_own(voc: Path, tmp_path: Path) -> None:
    (voc / "labelmap.txt").write_text("# label:color_rgb:parts:actions\nground:0,0,0::\nroad:9,9,9::\nsky:1,2,3::\n")
    assert ROWS.open_source(str(voc), tmp_path).classes == ["ground", "road", "sky"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["a/images/a.png", "a/masks/a.png", "b/images/b.png", "b/masks/b.png"],
            "holds images and masks in each of a, b: give one of them, or call them train and test",
        ),
        (["images/a.png", "imgs/b.png", "masks/a.png"], "holds images and imgs: keep one folder of images"),
        (["cats/a.png", "dogs/b.png"], "holds images but no pair of folders: put images into images/"),
        (["notes/a.txt"], r"holds no images \(1 other files\)"),
        ([], "is empty; give 'demo', a folder with images/ and masks/"),
        (["a.json", "annotations/b.json"], r"holds a\.json, annotations/b\.json: name one of these COCO files"),
    ],
)
def test_a_folder_that_cannot_work_is_refused_in_one_line(names: list[str], message: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for name in names:
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_bytes(b"x")
    with pytest.raises(UserError, match=message) as caught:
        quick_look(str(data), ROWS)
    assert "\n" not in str(caught.value)


def rows_of(pairs: Pairs) -> tuple[Path, list[dict[str, str]]]:
    folder = pairs(4)
    names = [f"{number:02d}.png" for number in range(4)]
    return folder, [{"image": f"images/{name}", "mask": f"masks/{name}", "patient": name[:2]} for name in names]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet", "bytes", "struct"])
def test_a_table_of_any_kind_gives_the_same_pairs(kind: str, pairs: Pairs, tmp_path: Path) -> None:
    folder, rows = rows_of(pairs)
    expected = [np.asarray(Image.open(folder / row["mask"])).tolist() for row in rows]
    if kind == "csv":
        table = folder / "list.csv"
        table.write_text("image,mask,patient\n" + "".join(",".join(row.values()) + "\n" for row in rows))
    elif kind == "jsonl":
        table = folder / "list.jsonl"
        table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        table = folder / "list.parquet"
        columns: dict[str, list] = {name: [row[name] for row in rows] for name in rows[0]}
        for name in ("image", "mask") if kind != "parquet" else ():
            data = [(folder / path).read_bytes() for path in columns[name]]
            columns[name] = data if kind == "bytes" else [{"bytes": one, "path": "x.png"} for one in data]
        pq.write_table(pa.table(columns), table)
    found = inspected(table, tmp_path, SegmentationRows(group_column="patient"))
    assert list(masks(found).values()) == expected
    assert [one.row["group"] for one in found.values()] == ["00", "01", "02", "03"]
    assert quick_look(str(table), ROWS).classes == ("0", "1", "2")


def test_a_row_whose_mask_is_missing_is_no_pair(pairs: Pairs, tmp_path: Path) -> None:
    folder, _ = rows_of(pairs)
    (folder / "list.csv").write_text(
        "image,mask\nimages/00.png,masks/00.png\nimages/01.png,nowhere.png\nimages/02.png,\n"
    )
    found = inspected(folder / "list.csv", tmp_path)
    rejections = [one.rejection for one in found.values()]
    assert [rejection and rejection.reason for rejection in rejections] == [None, "no pair", "no pair"]
    assert rejections[1].detail == "mask nowhere.png: no such file"
    assert rejections[2].detail == "mask list.csv:4: the row has no mask"


@pytest.mark.parametrize(
    ("header", "options", "message"),
    [
        (
            "image,label",
            {},
            "has no mask column; expected one of mask, annotation, .*; columns: image, label; name it with mask_column",
        ),
        ("mask,x", {}, "has no image column; expected one of image, path, uri"),
        (
            "image,mask,patient",
            {"group_column": "patinet"},
            "no column 'patinet' for group_column; did you mean 'patient'",
        ),
        ("image,mask", {"group_column": "mask"}, "group_column names 'mask', which holds the labels, images or texts"),
        ("image,mask", {"group_folders": True}, "group_folders needs the folders images/ and masks/"),
    ],
)
def test_a_table_that_cannot_work_is_refused(header: str, options: dict, message: str, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(f"{header}\na,b,c\n")
    with pytest.raises(UserError, match=message):
        quick_look(str(tmp_path / "list.csv"), SegmentationRows(**options))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"group_column": "patient"}, "group_column needs a table, and dataset .* has no column 'patient'"),
        ({"group_folders": True}, "images has no folders that could be groups"),
    ],
)
def test_folders_have_no_columns_and_groups_need_folders(
    options: dict, message: str, pairs: Pairs, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        SegmentationRows(**options).open_source(str(pairs(3)), tmp_path)


def test_a_list_of_classes_can_be_named(pairs: Pairs, tmp_path: Path) -> None:
    folder, _ = rows_of(pairs)
    (tmp_path / "mine.txt").write_text("a\nb\nc\n")
    (folder / "classes.txt").write_text("x\ny\nz\n")
    rows = SegmentationRows(classes_file=str(tmp_path / "mine.txt"))
    assert rows.open_source(str(folder), tmp_path).classes == ["a", "b", "c"]
    with pytest.raises(UserError, match=r"classes_file .*absent\.txt: no such file"):
        SegmentationRows(classes_file=str(tmp_path / "absent.txt")).open_source(str(folder), tmp_path)


def test_the_same_files_in_a_bucket_give_the_same_rows(pairs: Pairs, bucket: Path, tmp_path: Path) -> None:
    folder, rows = rows_of(pairs)
    (folder / "list.csv").write_text("image,mask\n" + "".join(f"{row['image']},{row['mask']}\n" for row in rows))
    shutil.copytree(folder, bucket / "set")
    for name in ("", "/list.csv"):
        local, remote = inspected(f"{folder}{name}", tmp_path), inspected(f"s3://bucket/set{name}", tmp_path)
        assert masks(remote) == masks(local)
        assert len(masks(local)) == 4
    before = source_state("s3://bucket/set", ROWS)
    (bucket / "set" / "masks" / "00.png").unlink()
    assert source_state("s3://bucket/set", ROWS) != before


@pytest.mark.parametrize("layout", ["voc", "coco", "bytes"])
def test_each_layout_in_a_bucket_gives_the_rows_of_its_folder(
    layout: str, request: pytest.FixtureRequest, bucket: Path, tmp_path: Path
) -> None:
    if layout == "coco":
        folder, name = request.getfixturevalue("coco")([{"category_id": 9, "bbox": [1, 1, 3, 2], "segmentation": [
            [1, 1, 4, 1, 4, 3, 1, 3]]}]).parent, "/annotations.json"  # fmt: skip
    elif layout == "voc":
        folder, name = request.getfixturevalue("voc"), ""
    else:
        folder, rows = rows_of(request.getfixturevalue("pairs"))
        cells = [{key: (folder / row[key]).read_bytes() for key in ("image", "mask")} for row in rows]
        shutil.rmtree(folder)
        folder.mkdir()
        pq.write_table(pa.Table.from_pylist(cells), folder / "rows.parquet")
        name = "/rows.parquet"
    shutil.copytree(folder, bucket / "set")
    local, remote = inspected(f"{folder}{name}", tmp_path), inspected(f"s3://bucket/set{name}", tmp_path)
    assert masks(remote) == masks(local)
    assert len(masks(local)) == {"voc": 4, "coco": 1, "bytes": 4}[layout]
