"""Data that lies in a bucket, read from a real S3 server."""

import csv
import io
import uuid
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.core.data.dataset import open_dataset
from components.core.data.ingestion.sources import quick_look, source_state
from components.core.store import Store, open_objects
from components.core.tasks.classification.rows import ClassificationRows
from components.data_prep.prepare import prepare
from components.data_prep.settings import Settings

IMAGES = ClassificationRows()

pytestmark = pytest.mark.s3


@pytest.fixture
def bucket_uri(object_store_server, monkeypatch) -> str:
    for name, value in object_store_server.environment.items():
        monkeypatch.setenv(name, value)
    return f"s3://{object_store_server.bucket}/{uuid.uuid4().hex}"


def upload(folder: Path, uri: str) -> None:
    objects = open_objects(uri)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            objects.put(path.relative_to(folder).as_posix(), path)


def test_a_prefix_gives_the_same_dataset_as_the_folder_it_was_copied_from(
    twenty_jpegs: Path, bucket_uri: str, tmp_path: Path, store: Store
) -> None:
    upload(twenty_jpegs, bucket_uri)
    quick_look(bucket_uri, IMAGES)
    here = prepare(Settings(rows=IMAGES, dataset=str(twenty_jpegs)), tmp_path / "here", store)
    there = prepare(Settings(rows=IMAGES, dataset=bucket_uri), tmp_path / "there", store)
    assert there.manifest.digest == here.manifest.digest
    assert len(there.quarantine.files) == 3


@pytest.mark.parametrize("name", ["C#", "user@home", "why?", "50 % off", "a+b&c"])
def test_folders_may_have_names_that_mean_something_in_a_uri(
    name: str, twenty_jpegs: Path, bucket_uri: str, tmp_path: Path, store: Store
) -> None:
    (twenty_jpegs / "cats").rename(twenty_jpegs / name)
    here = prepare(Settings(rows=IMAGES, dataset=str(twenty_jpegs)), tmp_path / "here", store)
    dataset = f"{bucket_uri}/{name}/pictures"
    for path in sorted(twenty_jpegs.rglob("*.jpg")):
        open_objects(bucket_uri).put(f"{name}/pictures/{path.relative_to(twenty_jpegs).as_posix()}", path)
    assert quick_look(dataset, IMAGES).classes == tuple(sorted((name, "dogs")))
    there = prepare(Settings(rows=IMAGES, dataset=dataset), tmp_path / "there", store)
    assert there.manifest.digest == here.manifest.digest
    (twenty_jpegs / "list.csv").write_text(f'uri,label\n"{dataset}/{name}/01.jpg",cat\n"{name}/05.jpg",dog\n')
    open_objects(bucket_uri).put(f"{name}/pictures/list.csv", twenty_jpegs / "list.csv")
    items = IMAGES.open_source(f"{dataset}/list.csv", tmp_path).items()
    assert [item.read(10**6) for item in items] == [
        (twenty_jpegs / name / file).read_bytes() for file in ("01.jpg", "05.jpg")
    ]


def test_a_table_in_a_bucket_may_point_to_objects_beside_it(
    twenty_jpegs: Path, bucket_uri: str, tmp_path: Path, store: Store
) -> None:
    upload(twenty_jpegs, bucket_uri)
    table = io.StringIO()
    rows = csv.writer(table)
    rows.writerow(["uri", "label"])
    names = sorted(path.relative_to(twenty_jpegs).as_posix() for path in twenty_jpegs.rglob("*.jpg"))
    rows.writerows((f"{bucket_uri}/{name}", name.split("/")[0]) for name in names)
    open_objects(bucket_uri).put("table.csv", table.getvalue().encode())
    prepare(Settings(rows=IMAGES, dataset=f"{bucket_uri}/table.csv"), tmp_path / "out", store)
    dataset = open_dataset(tmp_path / "out", store)
    assert sum(dataset.counts.values()) == 17
    assert dataset.classes == ["cats", "dogs"]


def test_an_object_replaced_by_one_of_the_same_size_changes_the_state(twenty_jpegs: Path, bucket_uri: str) -> None:
    upload(twenty_jpegs, bucket_uri)
    before = source_state(bucket_uri, IMAGES)
    assert source_state(bucket_uri, IMAGES) == before
    objects = open_objects(bucket_uri)
    objects.put("cats/01.jpg", bytes(objects.size("cats/01.jpg")))
    assert source_state(bucket_uri, IMAGES) != before


def parquet(columns: dict[str, list]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, compression="none")
    return buffer.getvalue()


def test_an_object_that_a_parquet_table_names_and_the_table_itself_belong_to_the_state(
    twenty_jpegs: Path, bucket_uri: str
) -> None:
    upload(twenty_jpegs, bucket_uri)
    objects, dataset = open_objects(bucket_uri), f"{bucket_uri}/list.parquet"
    names = sorted(path.relative_to(twenty_jpegs).as_posix() for path in twenty_jpegs.rglob("*.jpg"))[:3]
    states = []
    for labels in (["a", "b", "b"], ["b", "a", "b"]):
        objects.put("list.parquet", parquet({"path": names, "label": labels}))
        states.append((objects.size("list.parquet"), source_state(dataset, IMAGES)))
    size = objects.size(names[0])
    objects.put(names[0], bytes(size))
    states.append((states[-1][0], source_state(dataset, IMAGES)))
    assert states[-1][1] == source_state(dataset, IMAGES)
    # Nothing has changed its name or its size.
    assert len({size for size, _ in states}) == 1
    assert len({state for _, state in states}) == 3


def test_pictures_inside_of_a_parquet_object_belong_to_the_state(twenty_jpegs: Path, bucket_uri: str) -> None:
    objects = open_objects(bucket_uri)
    first, second = (path.read_bytes() for path in sorted((twenty_jpegs / "cats").glob("*.jpg"))[1:3])
    states = []
    for pictures in ([first, second], [second, first]):
        objects.put("train.parquet", parquet({"image": pictures, "label": ["a", "b"]}))
        states.append((objects.size("train.parquet"), source_state(f"{bucket_uri}/train.parquet", IMAGES)))
    assert states[0][0] == states[1][0]
    assert states[0][1] != states[1][1]
