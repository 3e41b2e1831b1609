"""Shards that a hostile writer has put into a store, with good digests: read, or refused in one line within memory."""

import hashlib
import io
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from components.core.artifacts.entries import FileEntry
from components.core.artifacts.manifest import Manifest
from components.core.data.batch import Transform
from components.core.data.dataset import Dataset, ShardWithRows, write_dataset
from components.core.data.reading import read_batches
from components.core.data.slices import sliced_columns
from components.core.data.stored_columns import STORED
from components.core.errors import UserError
from components.core.store import open_store
from components.core.tasks import TASKS, get_task
from components.core.tasks.classification.examples import LabelledImages
from components.core.tasks.images.preprocess import Preprocess
from components.core.tasks.images.sizes import shorter_side
from components.core.tasks.segmentation.augment import Augmentation
from components.core.tasks.segmentation.examples import MaskedImages
from components.core.tasks.segmentation.masks import encode
from components.core.tasks.translation.examples import SentencePairs

PREPROCESS = Preprocess(image_size=4, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def picture(kind: str = "PNG", size: tuple[int, int] = (3, 2), mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    Image.new(mode, size, 1).save(file, kind)
    return file.getvalue()


def bomb() -> bytes:
    """A picture whose header says that it has 900 million pixels."""
    data = bytearray(picture())
    data[16:24] = struct.pack(">II", 30_000, 30_000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return bytes(data)


def mask(values: Any) -> bytes:
    return encode(np.array(values, dtype=np.uint8))


def digest(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


COMMON = {"digest": [digest(0), digest(1)], "source": ["a", "b"]}
COLUMNS: dict[str, dict[str, list[Any]]] = {
    "classification": {"image": [picture(), picture()], "label": [0, 1], **COMMON},
    "segmentation": {
        "image": [picture(), picture()],
        "mask": [mask([[0, 1, 1], [0, 255, 0]]), mask([[0, 0, 1], [1, 1, 1]])],
        **COMMON,
    },
    "translation": {"text": ["One.", "Two."], "translation": ["Um.", "Dois."], **COMMON},
}  # fmt: skip
TRANSFORMS: dict[str, Transform] = {
    "classification": LabelledImages(preprocess=PREPROCESS),
    "segmentation": MaskedImages(preprocess=PREPROCESS, augmentation=Augmentation(), classes=2),
}


def columns(task: str, **changed: Any) -> dict[str, pa.Array]:
    """The columns of two honest rows; with others in their place, which are arrays or values of the honest type."""
    found = COLUMNS[task] | changed
    return {
        name: values if isinstance(values, pa.Array) else pa.array(values, STORED.get(name))
        for name, values in found.items()
    }


def parquet(table: dict[str, pa.Array] | pa.Table, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table if isinstance(table, pa.Table) else pa.table(table), sink, **options)
    return sink.getvalue().to_pybytes()


Opened = Callable[..., Dataset]


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Opened:
    """A data set whose one training shard holds the given bytes."""
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    store = open_store(str(tmp_path / "store"))

    def found(task: str, content: bytes, rows: int = 2) -> Dataset:
        classes = [] if task == "translation" else ["a", "b"]
        shard = FileEntry(path="train-00000.parquet", bytes=len(content), sha256=store.blobs.put(content))
        counts = {"train": rows, "validation": 0, "test": 0}
        facts = {
            "task": task, "classes": classes, "counts": counts, "fingerprint": "0" * 64,
            "class_counts": {split: [rows, 0] for split in counts} if classes else {},
            "shard_rows": {"train": [rows], "validation": [], "test": []},
        }  # fmt: skip
        return Dataset(Manifest(kind="dataset", metadata=facts, files=(shard,)), store)

    return found


def refused(read: Callable[[], Any], said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        read()
    assert len(str(caught.value)) < 500
    assert str(caught.value).isprintable()
    assert str(caught.value).endswith("; prepare the data again")


@pytest.mark.parametrize("task", TASKS)
def test_an_honest_shard_reads_as_it_was_written(opened: Opened, task: str) -> None:
    table = pa.table(columns(task), schema=get_task(task).rows.schema)
    for options in ({}, {"compression": "none", "use_dictionary": False, "write_statistics": False}):
        assert list(opened(task, parquet(table, **options)).iterate("train")) == table.to_pylist()


@pytest.mark.parametrize("task", TASKS)
def test_each_column_of_a_task_has_one_type_by_its_name(task: str) -> None:
    for field in get_task(task).rows.schema:
        assert STORED.get(field.name) == field.type, "a new column of a task's rows belongs into STORED"


WRONG = [
    (task, name, values, said)
    for task, columns_of in COLUMNS.items()
    for name in columns_of
    for values, said in (
        (pa.array([1.5, 2.5]), f"its column '{name}' holds double, not "),
        (pa.array([["a"], ["b"]]), f"its column '{name}' holds list<.*>, not "),
        (pa.array([{"a" * 500: 1}, None]), f"its column '{name}' holds struct<aaa.*, not "),
        (pa.array([None, None], STORED[name]), f"row 1 has no {name}"),
        (pa.array([COLUMNS[task][name][0], None], STORED[name]), f"row 2 has no {name}"),
    )
]


@pytest.mark.parametrize(("task", "name", "values", "said"), WRONG, ids=range(len(WRONG)))
def test_a_column_of_another_type_or_with_holes_is_one_line(
    opened: Opened, task: str, name: str, values: pa.Array, said: str
) -> None:
    dataset = opened(task, parquet(columns(task, **{name: values})))
    refused(lambda: list(dataset.iterate("train")), rf"train-00000\.parquet cannot be read: {said}")
    refused(lambda: dataset.read("train", 0, columns=[name]), rf"train-00000\.parquet cannot be read: {said}")


@pytest.mark.parametrize("task", TASKS)
def test_a_column_that_is_missing_is_one_line(opened: Opened, task: str) -> None:
    names = sliced_columns(get_task(task).rows.schema, ())
    for missing in names:
        left = {name: values for name, values in columns(task).items() if name != missing}
        dataset = opened(task, parquet(left))
        refused(lambda: list(dataset.iterate("train", columns=names)), f"cannot be read: No match for .*{missing}")  # noqa: B023


@pytest.mark.parametrize(
    ("label", "said"), [(2, "the label of row 2 is 2"), (-1, "the label of row 2 is -1"), (2**31 - 1, "is 2147483647")]
)
def test_a_label_outside_of_the_classes_is_one_line(opened: Opened, label: int, said: str) -> None:
    dataset = opened("classification", parquet(columns("classification", label=[1, label])))
    refused(lambda: list(dataset.iterate("train")), rf"train-00000\.parquet .*{said}, and the data set has 2 classes")


@pytest.mark.parametrize("wrong", ["", "0" * 63, "G" * 64, "../" * 20 + "0000", "0" * 64 + "\n", "0" * 5_000_000])
def test_a_digest_that_is_none_is_one_line(opened: Opened, wrong: str) -> None:
    dataset = opened("translation", parquet(columns("translation", digest=[digest(0), wrong])))
    refused(lambda: list(dataset.iterate("train", columns=("digest",))), "the digest of row 2 is no sha256 in hex")


@pytest.mark.parametrize("wrong", ["9" * 5000, "x" * 101])
def test_a_slice_of_kilobytes_is_one_line(opened: Opened, wrong: str) -> None:
    fine = {"slice:site": pa.array(["x" * 100, None])}
    assert len(list(opened("translation", parquet(columns("translation") | fine)).iterate("train"))) == 2
    hostile = {"slice:site": pa.array([None, wrong])}
    dataset = opened("translation", parquet(columns("translation") | hostile))
    refused(lambda: list(dataset.iterate("train")), "the slice of row 2 has more than 100 characters")


def test_a_shard_of_no_bytes_is_one_line(opened: Opened) -> None:
    refused(lambda: list(opened("translation", b"").iterate("train")), r"train-00000\.parquet cannot be read: ")


def test_a_text_that_is_no_utf_8_is_one_line(opened: Opened) -> None:
    broken = pa.array([b"\xff\xfe", b"a"]).view(pa.string())
    dataset = opened("translation", parquet(columns("translation", text=broken)))
    refused(lambda: list(dataset.iterate("train")), "a value in it is damaged: .*UTF8")


def test_a_column_that_is_there_twice_is_one_line(opened: Opened) -> None:
    one = columns("classification")
    twice = pa.Table.from_arrays([*one.values(), one["label"]], names=[*one, "label"])
    dataset = opened("classification", parquet(twice))
    said = "it has the column 'label' twice|Multiple matches for .*label"
    refused(lambda: list(dataset.iterate("train")), said)
    refused(lambda: list(dataset.iterate("train", columns=("label",))), said)


def test_other_rows_than_the_manifest_says_are_one_line_before_they_are_read(opened: Opened) -> None:
    dataset = opened("translation", parquet(columns("translation")), rows=3)
    refused(lambda: list(dataset.iterate("train")), "holds 2 rows where the dataset's manifest says 3")


@contextmanager
def allocated() -> Iterator[pa.MemoryPool]:
    """Counts what Arrow takes meanwhile."""
    before, counted = pa.default_memory_pool(), pa.proxy_memory_pool(pa.default_memory_pool())
    pa.set_memory_pool(counted)
    try:
        yield counted
    finally:
        pa.set_memory_pool(before)


LARGE = [("classification", "image"), ("segmentation", "mask"), ("translation", "text"), ("translation", "source")]


def repeated(name: str, cell: bytes, rows: int) -> pa.Table:
    """As many rows as are wanted with one and the same cell, which a dictionary holds once."""
    values = pa.array([cell], pa.binary()).view(STORED[name])
    return pa.table({name: pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), values)})


@pytest.mark.parametrize(("task", "name"), LARGE)
@pytest.mark.parametrize("way", ["one cell", "a dictionary", "a common beginning"])
def test_some_kilobytes_that_decode_to_gigabytes_are_refused_before_memory_is_taken(
    opened: Opened, task: str, name: str, way: str
) -> None:
    options = {"compression": "zstd", "use_dictionary": False, "write_statistics": False, "store_schema": False}
    if way == "one cell":
        rows, content = 1, parquet({name: pa.array([b"a" * 100_000_000]).view(STORED[name])}, **options)
    elif way == "a dictionary":
        options |= {"use_dictionary": True, "dictionary_pagesize_limit": 10**7}
        rows, content = 5000, parquet(repeated(name, b"a" * 1_000_000, 5000), **options)
    else:
        options["column_encoding"] = {name: "DELTA_BYTE_ARRAY"}
        rows, content = 100, parquet({name: pa.array([b"a" * 1_000_000] * 100).view(STORED[name])}, **options)
    assert len(content) < 100_000
    dataset = opened(task, content, rows=rows)
    said = r"train-00000\.parquet cannot be read: it expands to \d{2,} MB in a file of \d+ kB, more than 4 times"
    with allocated() as counted:
        refused(lambda: list(dataset.iterate("train", columns=(name,))), said)
    assert counted.max_memory() < 4_000_000


def batches(dataset: Dataset, transform: Transform) -> list[Any]:
    with closing(read_batches(dataset, "train", transform, batch_size=2)) as read:
        return list(read)


UNDECODABLE = [b"", b"no picture", picture()[:40], b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n", bomb()]


@pytest.mark.parametrize("image", UNDECODABLE, ids=range(len(UNDECODABLE)))
@pytest.mark.parametrize("task", TRANSFORMS)
def test_an_image_that_cannot_be_decoded_is_one_line(opened: Opened, task: str, image: bytes) -> None:
    dataset = opened(task, parquet(columns(task, image=[picture(), image])))
    said = rf"the image of the row {digest(1)[:12]} in the data set cannot be used: "
    refused(lambda: batches(dataset, TRANSFORMS[task]), said)


@pytest.mark.parametrize("image", UNDECODABLE[:2], ids=range(2))
@pytest.mark.parametrize("task", TRANSFORMS)
def test_pages_and_sizes_of_images_that_cannot_be_decoded_are_one_line(opened: Opened, task: str, image: bytes) -> None:
    dataset = opened(task, parquet(columns(task, image=[picture(), image])))
    refused(lambda: shorter_side(dataset), "the image in the data set cannot be used")
    refused(lambda: get_task(task).rows.samples(dataset), "the image in the data set cannot be used")


MASKS = [
    (mask([[0, 1, 1], [0, 254, 0]]), "a pixel has the class 254, and there are 2 classes"),
    (mask([[0, 2, 1], [0, 255, 0]]), "a pixel has the class 2, and there are 2 classes"),
    (mask([[0, 1], [0, 1]]), "it has 2 x 2 pixels, the image 3 x 2"),
    (picture(), "its mode is RGB"),
    (picture("BMP", mode="L"), "cannot identify image"),
    (b"", "cannot identify image"),
    (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 3 2\n", "cannot identify image"),
]


@pytest.mark.parametrize(("hostile", "said"), MASKS, ids=range(len(MASKS)))
@pytest.mark.parametrize("options", [{}, {"native": True}, {"full_size": True}], ids=["square", "native", "full"])
def test_a_mask_of_no_class_or_of_another_form_is_one_line(
    opened: Opened, hostile: bytes, said: str, options: dict[str, bool]
) -> None:
    dataset = opened("segmentation", parquet(columns("segmentation", mask=[mask([[0, 1, 1], [0, 1, 0]]), hostile])))
    transform = MaskedImages(preprocess=PREPROCESS, augmentation=Augmentation(), classes=2, **options)
    refused(lambda: batches(dataset, transform), rf"the mask of the row {digest(1)[:12]} in the data set .*{said}")


@pytest.mark.parametrize("hostile", [MASKS[1][0], b"", picture()], ids=["class", "nothing", "colours"])
def test_masks_that_are_counted_are_looked_at_too(opened: Opened, tmp_path: Path, hostile: bytes) -> None:
    """As data preparation does, with the shards of the data set before."""
    rows = get_task("segmentation").rows
    dataset = opened("segmentation", parquet(columns("segmentation", mask=[mask([[0, 1, 1], [0, 1, 0]]), hostile])))
    held: list[ShardWithRows] = list(dataset.shards("train", columns=("digest", *rows.target_columns)))

    def write() -> None:
        write_dataset(
            tmp_path / "next", rows=rows, classes=["a", "b"], splits={}, store=open_store(str(tmp_path / "store")),
            kept={"train": held},
        )  # fmt: skip

    refused(write, "a mask of the data set cannot be used: ")
    refused(lambda: rows.mix(held[0].rows[1], 2), "a mask of the data set cannot be used: ")


@pytest.mark.parametrize("name", ["text", "translation"])
def test_a_sentence_of_megabytes_is_one_line(opened: Opened, name: str) -> None:
    pairs = columns("translation", **{name: ["One.", "a" * 1_000_001]})
    transform = SentencePairs(vocabulary=None)  # type: ignore[arg-type]
    row = list(opened("translation", parquet(pairs, use_dictionary=False, compression="none")).iterate("train"))[1]
    refused(lambda: transform.decode(row), rf"the {name} of the row {digest(1)[:12]} .* has 1,000,001 characters")
