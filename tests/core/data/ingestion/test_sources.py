"""Sources: what a user may hand in, and what is refused in a moment."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.core.data.ingestion import locations as places
from components.core.data.ingestion.items import Item
from components.core.data.ingestion.locations import UnreadableError
from components.core.data.ingestion.sources import display_name, quick_look, source_state
from components.core.errors import UserError
from components.core.store import StoreUnavailable
from components.core.store.backends.local_objects import LocalObjects
from components.core.tasks.classification.rows import ClassificationRows

LIMIT = 1000
IMAGES = ClassificationRows()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


class FakeBucket(LocalObjects):
    """A folder behind the interface of a bucket; the store's own suite tests the real protocol."""

    def folders(self, folder: str) -> list[str]:
        return sorted({listed.key.partition("/")[0] for listed in self.walk() if "/" in listed.key})


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that stands for ``s3://bucket``."""
    root = tmp_path / "bucket"
    root.mkdir()
    monkeypatch.setattr(places, "open_objects", lambda uri: FakeBucket(tmp_path / uri.removeprefix("s3://")))
    return root


def put(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())


def items(dataset: Path | str, tmp_path: Path) -> dict[str, Item]:
    scratch = tmp_path / "scratch"
    scratch.mkdir(exist_ok=True)
    return {item.name: item for item in IMAGES.open_source(str(dataset), scratch).items()}


def test_a_folder_gives_each_file_with_its_class(data: Path, tmp_path: Path) -> None:
    put(data, "cats/1.jpg", "cats/deep/2.PNG", "dogs/3.webp", "loose.jpg", "dogs/notes.txt")
    put(data, ".git/x.jpg", "cats/.hidden.jpg", "__MACOSX/cats/1.jpg", "dogs/Thumbs.db")
    found = items(data, tmp_path)
    assert {name: item.label for name, item in found.items()} == {
        "cats/1.jpg": "cats",
        "cats/deep/2.PNG": "cats",
        "dogs/3.webp": "dogs",
        "dogs/notes.txt": "dogs",
        "loose.jpg": None,
    }
    assert found["cats/deep/2.PNG"].read(LIMIT) == b"cats/deep/2.PNG"
    assert found["cats/1.jpg"].size == len("cats/1.jpg")
    rejection = found["dogs/notes.txt"].rejection
    assert rejection is not None
    assert rejection.reason == "unsupported"


def test_a_read_stops_one_byte_after_the_limit(data: Path, tmp_path: Path) -> None:
    put(data, "a/1.jpg", "b/1.jpg")
    (data / "a" / "1.jpg").write_bytes(b"x" * 100)
    assert items(data, tmp_path)["a/1.jpg"].read(10) == b"x" * 11


def test_linked_folders_are_followed_and_a_loop_ends(data: Path, tmp_path: Path) -> None:
    put(tmp_path / "elsewhere", "1.jpg")
    put(data, "b/2.jpg")
    (data / "a").symlink_to(tmp_path / "elsewhere")
    (data / "b" / "back").symlink_to(data)
    assert set(items(data, tmp_path)) == {"a/1.jpg", "b/2.jpg"}


def test_the_same_files_in_a_bucket_give_the_same_items(data: Path, bucket: Path, tmp_path: Path) -> None:
    names = ["cats/1.jpg", "cats/deep/2.png", "dogs/3 ü.webp", "loose.jpg", "dogs/notes.txt"]
    put(data, *names)
    put(bucket, *(f"set/{name}" for name in names))
    local, remote = items(data, tmp_path), items("s3://bucket/set/", tmp_path)
    assert {name: item.label for name, item in remote.items()} == {name: item.label for name, item in local.items()}
    assert remote["dogs/3 ü.webp"].read(LIMIT) == "set/dogs/3 ü.webp".encode()
    assert remote["cats/1.jpg"].read(3) == b"set/"
    assert quick_look("s3://bucket/set", IMAGES).classes == ("cats", "dogs")


CSV = "path,label\ncats/1.jpg,cat\n{absolute},cat\n/nowhere/secret/3.jpg,dog\nmissing.jpg,dog\n4.jpg,\n"


def test_a_csv_names_images_relative_to_itself_and_shows_no_machine_path(data: Path, tmp_path: Path) -> None:
    put(data, "cats/1.jpg", "2.jpg", "4.jpg")
    (data / "list.csv").write_text("\ufeff" + CSV.format(absolute=data / "2.jpg"), encoding="utf-8")
    found = items(data / "list.csv", tmp_path)
    assert {name: item.label for name, item in found.items()} == {
        "cats/1.jpg": "cat",
        "2.jpg": "cat",
        "3.jpg": "dog",
        "missing.jpg": "dog",
        "4.jpg": None,
    }
    assert found["cats/1.jpg"].read(LIMIT) == b"cats/1.jpg"
    assert found["2.jpg"].read(LIMIT) == b"2.jpg"
    with pytest.raises(UnreadableError) as caught:
        found["missing.jpg"].read(LIMIT)
    assert "/" not in str(caught.value)
    rejection = found["3.jpg"].rejection
    assert rejection is not None
    assert "/" not in rejection.detail


def test_jsonl_rows_that_are_broken_are_items_with_a_reason(data: Path, tmp_path: Path) -> None:
    put(data, "1.jpg")
    lines = [
        '{"uri": "1.jpg", "label": 3}',
        "{broken",
        "[1]",
        '{"label": "x"}',
        '{"uri": "http://h/1.jpg", "label": 1}',
    ]
    (data / "rows.jsonl").write_text("\n".join(lines) + "\n\n")
    found = items(data / "rows.jsonl", tmp_path)
    assert found["1.jpg"].label == "3"
    details = {name: item.rejection.detail for name, item in found.items() if item.rejection}
    assert details["rows.jsonl:2"].startswith("not valid JSON")
    assert details["rows.jsonl:3"] == "not a JSON object"
    assert details["rows.jsonl:4"] == "the row has no image"
    assert details["http://h/1.jpg"] == "cannot read http:// URIs"


def test_parquet_holds_bytes_or_paths(data: Path, tmp_path: Path) -> None:
    put(data, "1.jpg")
    pq.write_table(pa.table({"image": [b"one", None], "label": [1.0, None]}), data / "bytes.parquet")
    found = items(data / "bytes.parquet", tmp_path)
    assert (found["bytes.parquet:1"].label, found["bytes.parquet:1"].read(LIMIT)) == ("1", b"one")
    assert found["bytes.parquet:2"].label is None
    assert found["bytes.parquet:2"].rejection is not None
    pq.write_table(pa.table({"image": ["1.jpg"], "label": ["x"]}), data / "paths.parquet")
    assert items(data / "paths.parquet", tmp_path)["1.jpg"].read(LIMIT) == b"1.jpg"


def hugging_face(names: list[str]) -> dict[str, str]:
    return {"huggingface": json.dumps({"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}})}


def test_a_hugging_face_parquet_gives_class_names(data: Path, tmp_path: Path) -> None:
    table = {"image": [{"bytes": b"one", "path": "/home/someone/a.png"}] * 3, "label": [1, 0, -1]}
    pq.write_table(pa.table(table, metadata=hugging_face(["zebra", "ape"])), data / "part.parquet")
    found = items(data / "part.parquet", tmp_path)
    assert [item.label for item in found.values()] == ["ape", "zebra", None]
    assert list(found) == ["part.parquet:1 a.png", "part.parquet:2 a.png", "part.parquet:3 a.png"]
    assert IMAGES.open_source(str(data), tmp_path).classes == ["zebra", "ape"]


def test_parts_of_a_table_that_number_their_classes_differently_are_refused(data: Path, tmp_path: Path) -> None:
    table = {"image": [b"one"], "label": [0]}
    for name, classes in (("0.parquet", ["a", "b"]), ("1.parquet", ["b", "a"])):
        pq.write_table(pa.table(table, metadata=hugging_face(classes)), data / name)
    with pytest.raises(UserError, match=r"1\.parquet and .*0\.parquet declare different classes"):
        items(data, tmp_path)


def test_a_table_in_a_bucket_reads_keys_and_uris_but_no_local_file(bucket: Path, tmp_path: Path) -> None:
    put(bucket, "set/1.jpg", "other/2.jpg")
    put(tmp_path, "local.jpg")
    rows = ["1.jpg", "s3://bucket/other/2.jpg", "s3://bucket/set/1.jpg", str(tmp_path / "local.jpg"), "../other/2.jpg"]
    (bucket / "set" / "list.csv").write_text("uri,label\n" + "".join(f"{row},a\n" for row in rows))
    found = items("s3://bucket/set/list.csv", tmp_path)
    assert set(found) == {"1.jpg", "s3://bucket/other/2.jpg", "local.jpg", "../other/2.jpg"}
    assert found["s3://bucket/other/2.jpg"].read(LIMIT) == b"other/2.jpg"
    rejection = found["local.jpg"].rejection
    assert rejection is not None
    assert rejection.detail == "a table on S3 cannot point to local files"
    with pytest.raises(UnreadableError):
        found["../other/2.jpg"].read(LIMIT)


def empty(data: Path) -> None:
    pass


def one_class(data: Path) -> None:
    put(data, "cats/1.jpg", "cats/2.jpg", "notes/readme.txt")


def no_class_folders(data: Path) -> None:
    put(data, "1.jpg", "2.jpg")


def no_images(data: Path) -> None:
    put(data, "a/1.txt", "b/2.txt")


def splits(data: Path) -> None:
    put(data, "train/1.jpg", "test/2.jpg")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (empty, "is empty; give 'demo', a folder"),
        (one_class, r"has one class only \('cats'\); at least two"),
        (no_class_folders, "holds images but no class folders"),
        (no_images, r"holds no images \(2 other files\)"),
        (splits, "holds images in test, train: these are splits, not classes; put the images"),
    ],
)
def test_a_folder_that_cannot_work_is_refused_in_one_line(
    make: Callable[[Path], None], message: str, data: Path, bucket: Path
) -> None:
    make(data)
    make(bucket / "set")
    for dataset in (str(data), "s3://bucket/set"):
        with pytest.raises(UserError, match=message.replace("is empty;", "is empty.*;")) as caught:
            quick_look(dataset, IMAGES)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "path,lable\n1.jpg,a\n", "has no label column; .*; did you mean 'lable'.*; columns: path, lable"),
        ("a.csv", "foto,label\n1.jpg,a\n", "has no image column; expected one of image, .*; columns: foto, label"),
        ("a.csv", "", "has no label column; expected one of label, .*; columns: none; name it with label_column"),
        ("a.csv", "path,label\n1.jpg,a\n2.jpg,a\n", "has one class only"),
        ("a.csv", "path,label\n1.jpg,\n", "has no labelled image"),
        ("a.csv", "path,label\n\xff,a\n", "not valid CSV in UTF-8"),
        ("a.jsonl", '{"path": "1.jpg"}', "has no labelled image"),
        ("a.parquet", "no parquet", "is not a readable Parquet file"),
        ("a.zip", "zip", "is a file of an unknown kind"),
    ],
)
def test_a_table_that_cannot_work_is_refused_in_one_line(name: str, content: str, message: str, data: Path) -> None:
    (data / name).write_bytes(content.encode("latin-1"))
    with pytest.raises(UserError, match=message) as caught:
        quick_look(str(data / name), IMAGES)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ("", "no dataset is given"),
        ("/nowhere/at/all", "dataset not found: /nowhere/at/all; give 'demo', a folder"),
        ("s3://bucket/absent", "is empty or does not exist"),
        ("s3://bucket/absent.csv", r"dataset not found: s3://bucket/absent\.csv"),
        ("s3://", "names no bucket"),
        ("http://host/x", "cannot read http:// URIs"),
        ("~nobody-of-this-name/x", "unknown home folder"),
    ],
)
@pytest.mark.usefixtures("bucket")
def test_what_is_not_there_is_named(dataset: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        quick_look(dataset, IMAGES)


def test_quick_look_accepts_the_demo_and_two_classes(data: Path) -> None:
    put(data, "cats/1.jpg", "dogs/2.jpg")
    assert quick_look(str(data), IMAGES).classes == ("cats", "dogs")
    assert quick_look("demo", IMAGES).kind == "table"


def test_source_state_changes_with_any_file(data: Path) -> None:
    put(data, "a/1.jpg", "b/2.jpg")
    os.utime(data / "a" / "1.jpg", ns=(1, 1))
    states = [source_state(str(data), IMAGES)]
    assert states[0] == source_state(str(data), IMAGES)
    put(data, "b/3.jpg")
    states.append(source_state(str(data), IMAGES))
    os.utime(data / "a" / "1.jpg", ns=(2, 2))
    states.append(source_state(str(data), IMAGES))
    (data / "b" / "2.jpg").unlink()
    states.append(source_state(str(data), IMAGES))
    assert len(set(states)) == 4
    assert source_state("demo", IMAGES) == source_state("demo", IMAGES)


def test_source_state_of_a_table_looks_at_the_table_and_the_files_that_it_names(data: Path, bucket: Path) -> None:
    for folder, dataset in ((data, str(data / "list.csv")), (bucket / "set", "s3://bucket/set/list.csv")):
        put(folder, "1.jpg", "other.csv")
        (folder / "list.csv").write_text("path,label\n1.jpg,a\n2.jpg,b\n")
        states = [source_state(dataset, IMAGES)]
        put(folder, "more.csv")
        assert source_state(dataset, IMAGES) == states[0]
        (folder / "1.jpg").write_bytes(b"another picture")
        states.append(source_state(dataset, IMAGES))
        put(folder, "2.jpg")
        states.append(source_state(dataset, IMAGES))
        (folder / "list.csv").write_text("path,label\n1.jpg,a\n2.jpg,c\n")
        states.append(source_state(dataset, IMAGES))
        assert len(set(states)) == 4


def test_display_name_shows_no_machine_path(data: Path) -> None:
    assert display_name(str(data)) == "data"
    assert display_name("s3://bucket/x") == "s3://bucket/x"
    assert display_name("demo") == "demo"


def test_links_to_each_other_are_refused_and_not_walked_for_ever(data: Path) -> None:
    put(data, "cats/1.jpg", "dogs/2.jpg")
    folders = [data / f"f{number}" for number in range(12)]
    for folder in folders:
        folder.mkdir()
    for folder in folders:
        for other in folders:
            (folder / f"to-{other.name}").symlink_to(other)
    with pytest.raises(UserError, match="links lead to one folder"):
        source_state(str(data), IMAGES)


def test_one_bad_row_does_not_stop_a_data_set(data: Path, tmp_path: Path) -> None:
    put(data, "a.jpg")
    os.mkfifo(data / "pipe.jpg")
    rows = [
        {"path": "a.jpg", "label": "x"}, {"path": "~nosuchuser/x", "label": "x"}, {"path": "s3://name", "label": "x"},
        {"path": "s3://", "label": "x"}, {"path": "pipe.jpg", "label": "x"}, {"path": "a\0b", "label": "x"},
    ]  # fmt: skip
    lines = [json.dumps(row) for row in rows] + ["[" * 100_000, '{"path": ' + "[" * 100_000]
    (data / "t.jsonl").write_text("\n".join(lines))
    found = list(IMAGES.open_source(str(data / "t.jsonl"), tmp_path).items())
    assert len(found) == 8
    readable = 0
    for item in found:
        try:
            readable += item.rejection is None and bool(item.read(1000))
        except UnreadableError:
            continue
    assert readable == 1


def test_another_bucket_that_does_not_answer_is_the_rows_fault(data: Path, tmp_path: Path) -> None:
    class Silent:
        def stream(self, key: str) -> Any:
            raise StoreUnavailable("the bucket nowhere does not exist")

    put(data, "a.jpg")
    (data / "t.jsonl").write_text('{"path": "s3://nowhere/x.jpg", "label": "x"}')
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(places, "open_objects", lambda uri: Silent())
        (item,) = IMAGES.open_source(str(data / "t.jsonl"), tmp_path, allow_paths=["s3://nowhere"]).items()
        with pytest.raises(UnreadableError, match="does not exist"):
            item.read(10)


def test_a_class_name_of_megabytes_is_the_rows_fault(data: Path, tmp_path: Path) -> None:
    put(data, "a.jpg")
    rows = [{"path": "a.jpg", "label": "x" * length} for length in (200, 201, 5_000_000)]
    (data / "t.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    (data / "t.csv").write_text("path,label\n" + "".join(f"a.jpg,{'x' * length}\n" for length in (200, 100_000)))
    pq.write_table(pa.Table.from_pylist(rows), data / "t.parquet")
    for table, expected in (("t.jsonl", [200, None, None]), ("t.csv", [200, None]), ("t.parquet", [200, None, None])):
        found = list(IMAGES.open_source(str(data / table), tmp_path).items())
        usable = [len(item.label or "") if item.rejection is None else None for item in found]
        assert usable == expected, table


def test_a_parquet_cell_of_a_gigabyte_in_some_kilobytes_is_refused(data: Path, tmp_path: Path) -> None:
    rows = [{"image": b"x" * (200 * 2**20), "label": "x"}]
    pq.write_table(pa.Table.from_pylist(rows), data / "t.parquet", compression="zstd")
    with pytest.raises(UserError, match=r"row group 1 expands to 200 MB in a file of \d+ kB"):
        list(IMAGES.open_source(str(data / "t.parquet"), tmp_path).items())
