"""Facts of a data set's manifest, written by somebody else: usable, or refused in one line by what opens it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.core.artifacts.entries import FileEntry
from components.core.artifacts.manifest import Manifest
from components.core.data import dataset as dataset_module
from components.core.data.dataset import SPLITS, Dataset
from components.core.data.slices import slice_value
from components.core.errors import UserError
from components.core.store import open_store
from components.core.tasks.images.levels import stated_levels
from components.core.tasks.segmentation.assets import palette_of
from components.core.tasks.translation.languages import languages_of

COUNTED = {"train": [1, 1], "validation": [1, 0], "test": [0, 1]}
NONE = {split: 0 for split in SPLITS}
FACTS = {
    "task": "classification", "classes": ["a", "b"], "counts": {"train": 2, "validation": 1, "test": 1},
    "class_counts": COUNTED, "fingerprint": "0" * 64,
    "slices": {"camera": {"night": {"train": 1, "validation": 0, "test": 0}}},
}  # fmt: skip
ESCAPES = ["\x1b[2J", "two\nlines", "\x9b31m", "\u2028"]


def opened(folder: Path, **facts: Any) -> Dataset:
    return Dataset(Manifest(kind="dataset", metadata={**FACTS, **facts}, files=()), open_store(str(folder)))


def refused(folder: Path, said: str, **facts: Any) -> None:
    with pytest.raises(UserError, match=said) as caught:
        opened(folder, **facts)
    assert len(str(caught.value)) < 300
    assert str(caught.value).isprintable()


def test_facts_that_can_be_true_are_taken(tmp_path: Path) -> None:
    assert opened(tmp_path).slices["camera"]["night"]["train"] == 1
    assert opened(tmp_path, classes=["Tür " + "x" * 251, "خانه\u200cها"]).classes[1] == "خانه\u200cها"
    assert opened(tmp_path, classes=[], class_counts={}).class_counts == {}


@pytest.mark.parametrize(
    "wrong",
    [
        ["a", 5], [["a"], "b"], ["a", None], ["a", {"b": 1}], ["a", "a"], ["a", "x" * 5_000_000],
        *(["a", escape] for escape in ESCAPES),
    ],
)  # fmt: skip
def test_classes_are_different_short_names(tmp_path: Path, wrong: Any) -> None:
    refused(tmp_path, "a list of classes that is not one of different names of at most 300 characters", classes=wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {**NONE, "train": -1}, {**NONE, "train": 1.5}, {**NONE, "train": True}, {**NONE, "train": 10**400},
        {**NONE, "\x1b[2J": 1}, {"train": 1, "test": 1},
    ],
)  # fmt: skip
def test_counts_are_numbers_of_rows_of_the_splits(tmp_path: Path, wrong: Any) -> None:
    refused(tmp_path, "does not count the rows of each split", counts=wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {}, {"train": [1, 1]}, {**COUNTED, "train": 5}, {**COUNTED, "train": [1]}, {**COUNTED, "train": [1, "x"]},
        {**COUNTED, "train": [1, -1]}, {**COUNTED, "train": [1, 10**400]}, {**COUNTED, "train": [1, True]},
        {**COUNTED, "more": [1, 1]},
    ],
)  # fmt: skip
def test_class_counts_count_each_class_in_each_split(tmp_path: Path, wrong: Any) -> None:
    refused(tmp_path, "a class_counts that is not a number for each class in each split", class_counts=wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        None, 5, [], {"camera": 5}, {"camera": ["night"]}, {"camera": {"night": 5}},
        {"camera": {"night": {"train": 1}}},
        {"camera": {"night": {**NONE, "train": "x"}}}, {"camera": {"x" * 101: NONE}}, {"x" * 301: {}},
        {"camera": {str(number): NONE for number in range(101)}},
        *({"camera": {escape: NONE}} for escape in ESCAPES), *({escape: {}} for escape in ESCAPES),
    ],
)  # fmt: skip
def test_slices_count_the_rows_of_short_names(tmp_path: Path, wrong: Any) -> None:
    refused(tmp_path, "a list of slices that is not one that counts", slices=wrong)


@pytest.mark.parametrize("wrong", ["", "0" * 63, "G" * 64, "0" * 5_000_000, "\x1b[2J" + "0" * 60])
def test_a_fingerprint_is_a_sha256(tmp_path: Path, wrong: str) -> None:
    refused(tmp_path, "a fingerprint that is not a sha256 in hex", fingerprint=wrong)


def test_a_slice_of_a_table_is_named_without_a_terminal_s_escapes() -> None:
    assert slice_value("night\x1b[2J\x9b31m  shift\n") == "night [2J 31m shift"


def told(**metadata: Any) -> Any:
    return SimpleNamespace(classes=["a", "b"], manifest=SimpleNamespace(metadata=metadata))


@pytest.mark.parametrize(
    "wrong",
    [
        5, "ab", {}, [1], [1, 2, 3], ["0", "1"], [None, 1], [2, 1], [1, 1], [float("nan"), 1], [0, float("inf")],
        [0, 10**400], [True, 2], [[0], [1]],
    ],
)  # fmt: skip
def test_levels_are_two_numbers_black_below_white(wrong: Any) -> None:
    assert stated_levels(told()) is None
    assert stated_levels(told(levels=[0, 4095])) == (0.0, 4095.0)
    with pytest.raises(UserError, match="has levels that are not two numbers, black below white"):
        stated_levels(told(levels=wrong))


@pytest.mark.parametrize(
    "wrong",
    [5, "ab", {"a": 1}, [5], [[1, 2]], [[1, 2, 3, 4]], [["1", "2", "3"]], [[0, 0, 256]], [[0, 0, -1]], [[0, 0, 1.5]]],
)
def test_colours_are_three_numbers_from_0_to_255(wrong: Any) -> None:
    assert palette_of(told(palette=[[1, 2, 3], [4, 5, 6]])) == [(1, 2, 3), (4, 5, 6)]
    with pytest.raises(UserError, match=r"the dataset's manifest: .*colour"):
        palette_of(told(palette=wrong))


@pytest.mark.parametrize(
    "wrong", [None, "en", ["en"], ["en", 5], ["en", {"a": 1}], ["en", "x" * 101], ["en", "\x1b[2J"]]
)
def test_languages_are_two_short_texts(wrong: Any) -> None:
    assert languages_of(told(languages=["en", "pt-BR"])) == ("en", "pt-BR")
    with pytest.raises(UserError, match="does not state its languages"):
        languages_of(told(languages=wrong))


def with_shard(folder: Path, content: bytes, rows: int | None) -> Dataset:
    store = open_store(str(folder))
    shard = FileEntry(path="train-00000.parquet", bytes=len(content), sha256=store.blobs.put(content))
    counts = {"train": rows or 1, "validation": 0, "test": 0}
    facts = FACTS | {"counts": counts}
    if rows is not None:
        facts |= {"shard_rows": {"train": [rows], "validation": [], "test": []}}
    return Dataset(Manifest(kind="dataset", metadata=facts, files=(shard,)), store)


def test_a_shard_of_a_million_million_rows_is_refused_before_memory_is_taken_for_them(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="its shard_rows do not fit the 1 shards"):
        with_shard(tmp_path, b"x", 10**12)


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_a_shard_that_says_itself_that_it_is_so_long_is_refused(cached: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset_module, "_MOST_ROWS", 2)
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"digest": ["a", "b", "c"]}), sink)
    dataset = with_shard(cached, sink.getvalue().to_pybytes(), None)
    assert dataset.shard_rows("test") == []
    with pytest.raises(UserError, match=r"train-00000\.parquet cannot be read: it says that it has 3 rows"):
        list(dataset.iterate("train"))


@pytest.mark.parametrize("rows", [None, 1])
def test_a_shard_that_is_no_parquet_file_or_lacks_a_column_is_one_line(cached: Path, rows: int | None) -> None:
    with pytest.raises(UserError, match=r"train-00000\.parquet cannot be read: .*; prepare the data again"):
        list(with_shard(cached, b"PAR1 nothing of the kind PAR1", rows).iterate("train"))
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"other": ["a"]}), sink)
    with pytest.raises(UserError, match=r"train-00000\.parquet cannot be read: No match for .*digest"):
        list(with_shard(cached, sink.getvalue().to_pybytes(), rows).iterate("train", columns=("digest",)))
