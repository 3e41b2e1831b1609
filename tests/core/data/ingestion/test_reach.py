"""Files that the rows of a table from elsewhere can read: those beside the table, and those that its user allows."""

import json
from pathlib import Path

import pytest

import components.core.data.ingestion.locations as places
from components.core.data.ingestion.items import Item
from components.core.data.ingestion.locations import UnreadableError
from components.core.data.ingestion.reach import leaves
from components.core.data.ingestion.sources import quick_look, source_state
from components.core.errors import UserError
from components.core.tasks.classification.rows import ClassificationRows
from components.core.tasks.segmentation.rows import SegmentationRows

IMAGES, MASKS = ClassificationRows(), SegmentationRows()
SECRET = b"secret"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A table's place in a folder, beside which a secret lies."""
    (tmp_path / "set" / "sub").mkdir(parents=True)
    (tmp_path / "set" / "a.jpg").write_bytes(b"own")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "secret.jpg").write_bytes(SECRET)
    return tmp_path / "set" / "list.jsonl"


def write(table: Path, *paths: str) -> str:
    rows = [{"path": path, "label": "xy"[number % 2]} for number, path in enumerate(paths)]
    table.write_text("\n".join(map(json.dumps, rows)))
    return str(table)


def content(item: Item) -> bytes | str:
    if item.rejection is not None:
        return item.rejection.detail
    try:
        return item.read(1000)
    except UnreadableError as error:
        return str(error)


def contents(dataset: str, scratch: Path, **options: list[str]) -> list[bytes | str]:
    return [content(item) for item in IMAGES.open_source(dataset, scratch, **options).items()]  # type: ignore[arg-type]


def ways_out(tmp_path: Path) -> list[str]:
    """Ways to say the path of the secret."""
    (tmp_path / "set" / "link").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    return [
        f"{tmp_path}/secret.jpg",
        f"file://{tmp_path}/secret.jpg",
        f"file://localhost{tmp_path}/set/%2e%2e/secret.jpg",
        "../secret.jpg",
        "sub/../../secret.jpg",
        "..\\secret.jpg",
        "sub\\..\\..\\secret.jpg",
        f"{tmp_path}/set/../secret.jpg",
        f"{tmp_path}/set\\..\\..\\secret.jpg",
    ]


def test_a_table_reads_no_file_outside_of_its_folder(table: Path, tmp_path: Path) -> None:
    paths = ways_out(tmp_path)
    for path, found in zip(paths, contents(write(table, *paths), tmp_path), strict=True):
        assert found != SECRET, path
    # What is checked is what is opened, also where a link precedes "..".
    (found,) = contents(write(table, f"{tmp_path}/set/link/../secret.jpg"), tmp_path)
    assert found == "no such file"


def test_a_table_reads_no_other_bucket_with_the_runners_credentials(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(places, "open_objects", lambda uri: asked.append(uri))
    (found,) = contents(write(table, "s3://other/private/x.jpg"), tmp_path)
    assert found == "it lies outside of the table's own bucket; the parameter allow_paths can allow it"
    assert asked == []


@pytest.mark.parametrize("address", ["s3://name", "s3://", "s3:///", "S3://name"])
def test_an_address_without_a_key_is_that_rows_fault_and_no_local_folder(
    table: Path, tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(table.parent)
    for folder in (table.parent, tmp_path):
        (folder / "s3:" / "name").mkdir(parents=True)
        (folder / "s3:" / "name" / "x.jpg").write_bytes(SECRET)
    wrong, right = contents(write(table, address, "a.jpg"), tmp_path)
    assert right == b"own"
    assert isinstance(wrong, str)
    assert "s3:" in wrong.lower()


def test_what_the_user_allows_is_read(table: Path, tmp_path: Path) -> None:
    paths = [
        f"{tmp_path}/secret.jpg",
        "../secret.jpg",
        f"file://{tmp_path}/secret.jpg",
        "a.jpg",
        f"{table.parent}/a.jpg",
    ]
    dataset = write(table, *paths)
    assert contents(dataset, tmp_path, allow_paths=[str(tmp_path)]) == [SECRET, SECRET, SECRET, b"own", b"own"]
    state = source_state(dataset, IMAGES, allow_paths=[str(tmp_path)])
    (tmp_path / "secret.jpg").write_bytes(b"another")
    assert source_state(dataset, IMAGES, allow_paths=[str(tmp_path)]) != state
    quick_look(dataset, IMAGES, allow_paths=[str(tmp_path)])
    # A folder whose name only begins alike is another one.
    assert "outside" in str(contents(dataset, tmp_path, allow_paths=[f"{tmp_path}/sec"])[0])


def test_a_folder_may_be_named_by_its_own_name_or_by_a_link(table: Path, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(table.parent, target_is_directory=True)
    write(table, f"{tmp_path}/alias/a.jpg", f"{table.parent}/a.jpg")
    assert contents(f"{tmp_path}/alias/list.jsonl", tmp_path) == [b"own", b"own"]
    assert contents(str(table), tmp_path) == [b"own", b"own"]


def test_a_table_that_names_files_elsewhere_is_refused_before_anything_is_read(table: Path, tmp_path: Path) -> None:
    dataset = write(table, "/data/my photos/1/a.jpg", "/data/my photos/2/b.jpg", "s3://scans/c.jpg", "a.jpg")
    with pytest.raises(UserError) as caught:
        quick_look(dataset, IMAGES)
    assert str(caught.value) == (
        "3 of 4 rows name files outside of the table's folder or bucket; "
        f"first: {dataset}, row 1: /data/my photos/1/a.jpg; to read them, "
        "give -p allow_paths='s3://scans,/data/my photos'"
    )
    quick_look(dataset, IMAGES, allow_paths=["s3://scans", "/data/my photos"])


def test_one_row_among_many_does_not_stop_a_table(table: Path, tmp_path: Path) -> None:
    dataset = write(table, *["a.jpg"] * 199, "/etc/x.jpg")
    assert quick_look(dataset, IMAGES).classes == ("x", "y")
    outside = "it lies outside of the table's folder; the parameter allow_paths can allow it"
    assert contents(dataset, tmp_path)[-1] == outside


@pytest.mark.parametrize("entry", ["", " ", "s3://", "https://host/x"])
def test_an_entry_that_is_no_folder_and_no_bucket_is_refused(table: Path, tmp_path: Path, entry: str) -> None:
    with pytest.raises(UserError, match=r"allow_paths must name folders|cannot read https"):
        contents(write(table, "a.jpg"), tmp_path, allow_paths=[entry])


def test_masks_are_held_to_the_same(table: Path, tmp_path: Path) -> None:
    table.write_text(json.dumps({"image": "a.jpg", "mask": "../secret.jpg"}))
    (item,) = MASKS.open_source(str(table), tmp_path).items()
    assert "the parameter allow_paths can allow it" in str(
        item.target.mask(size=(1, 1), max_bytes=1000, ignore_index=255)
    )
    with pytest.raises(UserError, match="1 of 1 rows name files outside"):
        quick_look(str(table), MASKS)


@pytest.mark.parametrize("name", ["../../secret.jpg", "..\\..\\secret.jpg", "sub\\..\\..\\..\\secret.jpg"])
def test_a_coco_file_reads_no_image_outside_of_its_folders(tmp_path: Path, name: str) -> None:
    (tmp_path / "x" / "set" / "sub").mkdir(parents=True)
    (tmp_path / "secret.jpg").write_bytes(SECRET)
    (tmp_path / "x" / "set" / "a.jpg").write_bytes(b"own")
    images = [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": name}]
    document = {"images": images, "annotations": [], "categories": [{"id": 1, "name": "thing"}]}
    (tmp_path / "x" / "set" / "list.json").write_text(json.dumps(document))
    found = [content(item) for item in MASKS.open_source(str(tmp_path / "x" / "set" / "list.json"), tmp_path).items()]
    assert found == [b"own", "the file's name leaves the folder"]


@pytest.mark.parametrize(
    ("name", "out"),
    [
        *((name, False) for name in ("a/b", "a/../b", "..a/b", "a\\b", "")),
        *((name, True) for name in ("..", "../a", "a/../../b", "a\\..\\..\\b", "/a", "~/a")),
    ],
)
def test_a_name_that_leads_out_is_known_in_any_spelling(name: str, out: bool) -> None:
    assert leaves(name) is out
