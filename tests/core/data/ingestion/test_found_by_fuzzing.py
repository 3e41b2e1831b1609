"""Finds of `tests/benchmarks/fuzz.py`: files that ended a process, or came through as a traceback."""

import base64
import json
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.core.artifacts.manifest import Manifest, read_manifest
from components.core.data.dataset import Dataset
from components.core.data.ingestion.locations import open_location
from components.core.errors import UserError
from components.core.models.catalog import load_catalog
from components.core.store import open_store
from components.core.tasks.classification.rows import ClassificationRows
from components.core.tasks.segmentation.class_list import parse_class_list
from components.core.tasks.segmentation.rows import SegmentationRows

# 389 bytes, one bit of which is another: whoever asks Arrow for the size of its column is ended by SIGABRT.
ABORTS = (
    "eNp9UT2LwkAQnYnrYmERg7PsQoo0LhZRTkG5wuZ6C/EfbCSg4EeM3p2CpT/JH3fNwU1QjqBiMe/BzLy3b9jJx7RHgprUHDNBAIAA4ApICCigIO"
    "a+T5JkOIQ2Jhpdo8FTj0sgVrxH9aGA4zP1UePhXm1GA9ByN5unK0cCqN7ytMjcft6Ccchr3Kjo6tIl6fLWUcKEJrYQUt0MQPrmuk88UCd1su+2"
    "Vs5qigxAHjD4TCPWS2NBsFXZ5PrGv8sF7RnLqV/5qB9UwtaYoB1lLt9+pvvOLMs6Ls8339FXmu8Wm3XUH3bfuj0T8xXFIb9cE/6AP7bMNIA="
)
READ = """
import sys
from pathlib import Path
from components.core.errors import UserError
from components.core.tasks.classification.rows import ClassificationRows
try:
    print(len(list(ClassificationRows().open_source(sys.argv[1], Path(sys.argv[2])).items())))
except UserError as error:
    print("refused:", error)
"""
COCO = {
    "images": [{"id": 1, "file_name": "a.png", "height": 2, "width": 2}],
    "categories": [{"id": 1, "name": "thing"}],
    "annotations": [{"image_id": 1, "category_id": 1, "segmentation": [[0, 0, 2, 0, 2, 2]]}],
}
FACTS = {
    "task": "classification", "classes": ["a", "b"], "counts": {"train": 2, "validation": 1, "test": 1},
    "class_counts": {"train": [1, 1], "validation": [1, 0], "test": [0, 1]}, "fingerprint": "0" * 64,
}  # fmt: skip


def test_a_parquet_file_that_ends_the_process_in_arrow_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_bytes(zlib.decompress(base64.b64decode("".join(ABORTS))))
    command = [sys.executable, "-c", READ, str(tmp_path / "t.parquet"), str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("refused:")
    assert ended.stdout.count("\n") == 1


def test_a_parquet_file_whose_names_or_texts_are_not_utf_8_is_refused_or_the_rows_fault(tmp_path: Path) -> None:
    table = pa.table({"path": ["a.png", "b.png"], "label": ["x", "y"]})
    pq.write_table(table, tmp_path / "t.parquet", compression="none", use_dictionary=False, store_schema=False)
    whole = (tmp_path / "t.parquet").read_bytes()
    (tmp_path / "t.parquet").write_bytes(whole.replace(b"a.png", b"a\xff\xfe.p"))
    found = list(ClassificationRows().open_source(str(tmp_path / "t.parquet"), tmp_path).items())
    details = [item.rejection.detail if item.rejection else "" for item in found]
    assert details == ["a text in it is not in UTF-8", ""]
    (tmp_path / "t.parquet").write_bytes(whole.replace(b"label", b"l\xff\xfeel"))
    with pytest.raises(UserError, match=r"t\.parquet is not a readable Parquet file"):
        ClassificationRows().open_source(str(tmp_path / "t.parquet"), tmp_path)


@pytest.mark.parametrize("names", ["5", '{"a": 1}', '"abc"', "[" * 50_000])
def test_class_names_of_another_form_in_a_parquet_file_are_none(tmp_path: Path, names: str) -> None:
    said = f'{{"info": {{"features": {{"label": {{"names": {names}}}}}}}}}'
    table = pa.table({"path": ["a.png"], "label": [0]}).replace_schema_metadata({"huggingface": said})
    pq.write_table(table, tmp_path / "t.parquet")
    assert ClassificationRows().open_source(str(tmp_path / "t.parquet"), tmp_path).classes == []


def test_a_class_name_of_megabytes_that_a_parquet_file_declares_is_refused(tmp_path: Path) -> None:
    said = {"info": {"features": {"label": {"names": ["x", "y" * 5_000_000]}}}}
    table = pa.table({"path": ["a.png"], "label": [0]}).replace_schema_metadata({"huggingface": json.dumps(said)})
    pq.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(UserError, match=r"t\.parquet has a class name of 5000000 characters .*at most 200"):
        ClassificationRows().open_source(str(tmp_path / "t.parquet"), tmp_path)


def coco(folder: Path, key: str, change: dict[str, Any]) -> str:
    document = {**COCO, key: [{**COCO[key][0], **change}]}  # type: ignore[dict-item]
    (folder / "x.json").write_text(json.dumps(document))
    (folder / "a.png").write_bytes(b"")
    return str(folder / "x.json")


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("images", {"id": []}),
        ("categories", {"id": {}}),
        ("annotations", {"category_id": [1]}),
        ("annotations", {"image_id": {"a": 1}}),
    ],
)
def test_a_coco_file_with_other_kinds_of_ids_is_refused(tmp_path: Path, key: str, change: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="must be a number or a text"):
        SegmentationRows().open_source(coco(tmp_path, key, change), tmp_path)


@pytest.mark.parametrize(
    "shape", [{"size": 0.5, "counts": "1"}, [[0, 0, 10**400, 0, 2, 2]], [[0, 0, 1e308, 1, -1e308, 2]]]
)
def test_a_coco_shape_of_another_form_is_the_items_fault(tmp_path: Path, shape: Any) -> None:
    (item,) = SegmentationRows().open_source(coco(tmp_path, "annotations", {"segmentation": shape}), tmp_path).items()
    assert "damaged mask" in item.target.mask(size=(2, 2), max_bytes=100, ignore_index=255)


@pytest.mark.parametrize("value", [".inf", "1e999", ".nan"])
def test_a_catalog_with_endless_numbers_is_one_line(tmp_path: Path, value: str) -> None:
    path = tmp_path / "catalog.yaml"
    path.write_text(f"backbones: {{resnet18: {{parameters: {value}}}}}")
    with pytest.raises(UserError, match=r"catalog\.yaml: backbone 'resnet18': "):
        load_catalog(path)


@pytest.mark.parametrize("data", [b"[" * 100_000, b'{"a": ' + b"9" * 5000 + b"}", b"5"])
def test_a_list_of_classes_that_is_no_list_is_one_line(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(UserError, match=r"classes\.json is not a list of classes"):
        parse_class_list("classes.json", data)
    (tmp_path / "x.json").write_bytes(data)
    with pytest.raises(UserError, match=r"not valid JSON|not in COCO's format"):
        SegmentationRows().open_source(str(tmp_path / "x.json"), tmp_path)


def test_a_list_of_a_hundred_thousand_values_is_refused_at_once() -> None:
    names = {f"c{number}": number for number in range(60_000)}
    with pytest.raises(UserError, match="60000 classes are declared"):
        parse_class_list("classes.json", json.dumps(names).encode())


def test_a_small_file_takes_no_more_memory_than_it_has_however_much_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    script = (
        "import resource, sys; from components.core.data.ingestion.locations import open_location; "
        "resource.setrlimit(resource.RLIMIT_AS, (600_000_000, 600_000_000)); "
        "print(open_location(sys.argv[1]).read('a', 1_000_000_000))"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert ended.stdout == "b'abc'\n", ended.stderr
    assert [open_location(str(tmp_path)).read("a", limit) for limit in (None, 0, 1, 2, 3)] == [
        b"abc", b"a", b"ab", b"abc", b"abc",
    ]  # fmt: skip


@pytest.mark.parametrize("name", [*FACTS])
def test_a_data_sets_manifest_without_what_it_must_say_is_refused(tmp_path: Path, name: str) -> None:
    store = open_store(str(tmp_path))
    assert Dataset(Manifest(kind="dataset", metadata=FACTS, files=()), store).counts["train"] == 2
    for wrong in ({key: value for key, value in FACTS.items() if key != name}, {**FACTS, name: 5}):
        with pytest.raises(UserError, match=f"has no {name}, or another kind of it"):
            Dataset(Manifest(kind="dataset", metadata=wrong, files=()), store)
    with pytest.raises(UserError, match="does not count the rows of each split"):
        Dataset(Manifest(kind="dataset", metadata={**FACTS, "counts": {"train": 2}}, files=()), store)


@pytest.mark.parametrize("name", ["description", "licence"])
@pytest.mark.parametrize(
    "wrong", [5, None, [], {"a": 1}, "two\nlines", "\x1b[2J", "turned \u202e round", "x" * 301, "x" * 5_000_000]
)
def test_a_remark_on_the_data_is_one_short_line(tmp_path: Path, name: str, wrong: object) -> None:
    store = open_store(str(tmp_path))
    said = Dataset(Manifest(kind="dataset", metadata={**FACTS, "description": "<b>é</b>"}, files=()), store).description
    assert said == "<b>é</b>"  # pages escape it
    with pytest.raises(UserError, match=f"a {name} that is not one line of at most 300 characters") as refused:
        Dataset(Manifest(kind="dataset", metadata={**FACTS, name: wrong}, files=()), store)
    assert len(str(refused.value)) < 200


def test_a_manifest_of_endless_brackets_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes(b'{"files": ' + b"[" * 100_000)
    with pytest.raises(UserError, match="is not valid JSON"):
        read_manifest(tmp_path)


def test_a_message_can_be_read_whatever_it_quotes(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(",".join(f"{'9' * 5000}{number}" for number in range(10)) + "\n")
    with pytest.raises(UserError) as caught:
        ClassificationRows().open_source(str(tmp_path / "t.csv"), tmp_path)
    assert len(str(caught.value)) < 3000
    assert str(caught.value).endswith("name it with label_column")
