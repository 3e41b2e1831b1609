"""Folders and tables that are made to take hours: refused, or read in the time that their size takes."""

import contextlib
import os
import threading

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.core.data.ingestion.columns import Columns
from components.core.data.ingestion.labels import MOST_CHARACTERS, label_of, twins
from components.core.data.ingestion.locations import UnreadableError, open_location
from components.core.data.ingestion.tables import table_rows
from components.core.errors import UserError
from components.core.tasks import get_task

MARKS = "\u0316\u0300" * 500_000


def test_a_link_to_itself_is_a_file_that_cannot_be_read(tmp_path):
    (tmp_path / "a.png").write_bytes(b"x")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "there").symlink_to("back")
    (tmp_path / "back").symlink_to("there")
    location = open_location(str(tmp_path))
    assert {file.name: file.size for file in location.walk()} == {"a.png": 1, "back": 0, "loop": 0, "there": 0}
    assert location.folders() == []
    with pytest.raises(UnreadableError):
        location.read("loop", 10)


def test_a_file_that_is_read_for_ever_is_not_waited_for(tmp_path, monkeypatch):
    """As /proc/kmsg is: a file like others to who looks at it, and without an end. A pipe stands for it here."""
    os.mkfifo(tmp_path / "a.png")
    held = os.open(tmp_path / "a.png", os.O_RDWR)
    monkeypatch.setattr(type(tmp_path), "is_file", lambda path: True)
    said = []

    def read():
        try:
            open_location(str(tmp_path)).read("a.png", 10)
        except UnreadableError as error:
            said.append(str(error))

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(20)
    os.write(held, b"x" * 20)  # lets it go on, where it waits
    os.close(held)
    assert said == ["it has no bytes yet, as a device or a pipe"]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("leave", [os.mkfifo, os.mkdir])
@pytest.mark.parametrize(
    ("task", "name"),
    [
        ("classification", "metadata.csv"), ("classification", "labels.jsonl"),
        ("segmentation", "classes.json"), ("segmentation", "coco.json"), ("translation", "pairs.tmx"),
        ("translation", "messages.po"), ("translation", "pairs.csv"),
    ],
)  # fmt: skip
def test_a_list_that_never_ends_is_not_waited_for(tmp_path, task, name, leave):
    """As the data set itself, and in a folder with others, where it is refused or counts for nothing."""
    folder, scratch = tmp_path / "data", tmp_path / "scratch"
    for place in (folder / "images", folder / "masks", scratch):
        place.mkdir(parents=True)
    (folder / "a.en").write_text("one\n")
    (folder / "a.pt").write_text("um\n")
    leave(folder / name)
    rows = get_task(task).rows
    for dataset in (folder, folder / name):
        with contextlib.suppress(UserError):
            found = list(rows.open_source(str(dataset), scratch).items())
            assert not any(len(item.read(10)) for item in found if item.rejection is None)


@pytest.mark.parametrize("target", ["/dev/zero", "/proc/kmsg", "/sys/kernel/uevent_seqnum"])
def test_a_list_that_is_a_link_to_a_device_or_the_kernel_is_not_opened(tmp_path, target):
    (tmp_path / "t.csv").symlink_to(target)
    for take in (lambda at: at.fetch("t.csv", tmp_path), lambda at: at.read("t.csv", None)):
        with pytest.raises(UnreadableError, match=r"pipe, a device|no such file"):
            take(open_location(str(tmp_path)))


def test_folders_inside_each_other_without_end_are_refused_in_one_line(tmp_path):
    at = os.open(tmp_path, os.O_RDONLY)
    for _ in range(400):
        os.mkdir("a", dir_fd=at)
        below = os.open("a", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(at)
    with pytest.raises(UserError, match="more than 100 deep"):
        list(open_location(str(tmp_path)).walk())


def test_a_row_takes_no_time_for_the_columns_that_it_lacks(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("path,label," + ",".join(f"c{n}" for n in range(300_000)) + "\n" + "a,x\n\n" * 20_000)
    columns = Columns(files={"image": ("path",)}, label=("label",))
    rows = list(table_rows(path, "table.csv", columns))
    assert len(rows) == 20_000
    assert {(row.files["image"].path, row.label) for row in rows} == {("a", "x")}
    assert (rows[0].number, rows[1].number) == (2, 4)


def test_a_label_of_marks_without_end_is_the_rows_fault(tmp_path):
    assert label_of(f"a{MARKS}") == f"a{MARKS}"
    assert twins([f"a{MARKS}", "a"]) == []
    path = tmp_path / "table.csv"
    path.write_text(f"path,label\na,{MARKS}\nb,x\n", encoding="utf-8")
    first, second = table_rows(path, "table.csv", Columns(files={"image": ("path",)}, label=("label",)))
    assert f"at most {MOST_CHARACTERS}" in first.problem
    assert second.problem is None


def test_a_value_that_many_rows_repeat_is_held_once(tmp_path):
    """16 MB in a dictionary, named by 40 rows of one batch: 640 MB if each were decoded with the others."""
    value = bytes(16 << 20)
    dictionary = pa.DictionaryArray.from_arrays(pa.array([0] * 40, pa.int32()), pa.array([value]))
    path = tmp_path / "table.parquet"
    pq.write_table(pa.table({"image": dictionary, "label": ["x"] * 40}), path, compression="zstd", store_schema=False)
    before, held = pa.total_allocated_bytes(), 0
    for row in table_rows(path, "table.parquet", Columns(files={"image": ("image",)}, label=("label",))):
        assert len(row.files["image"].data) == len(value)
        held = max(held, pa.total_allocated_bytes() - before)
    assert held < 5 * len(value)
