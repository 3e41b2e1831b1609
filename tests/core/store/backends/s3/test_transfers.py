"""Large objects in parts: side by side, taken up again where they stopped, verified as a whole."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3.session
import pytest
from fault_proxy import FaultProxy, Seen
from object_store_server import ObjectStoreServer

from components.core.store import BlobDamaged, Store, StoreError, StoreUnavailable
from components.core.store.backends.objects import digest_of
from components.core.store.backends.s3.objects import S3Objects
from components.core.store.errors import StoreRefused

pytestmark = pytest.mark.s3
PART = 5 << 20  # the least that S3 allows
BODY = random.Random(5).randbytes(8 * PART + 12345)
NUM_PARTS = 9
EXPIRED = (400, "ExpiredToken")  # ends a transfer at once, as a kill does, and may be scripted


def open_objects(prefix: str) -> S3Objects:
    return S3Objects(bucket="artifacts", prefix=prefix, multipart_bytes=6 << 20, part_bytes=PART, range_bytes=PART)


@pytest.fixture
def objects(faulty: FaultProxy) -> S3Objects:
    return open_objects(uuid.uuid4().hex)


@pytest.fixture
def client(faulty: FaultProxy, object_store_server: ObjectStoreServer) -> Any:
    """Another program that uses the same bucket, and nothing goes wrong with it."""
    return boto3.session.Session().client("s3", endpoint_url=object_store_server.endpoint)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(BODY)
    return path


def key_of(digest: str) -> str:
    return f"blobs/sha256/{digest[:2]}/{digest}"


def fails_after(count: int, *, kind: str, fault: object = EXPIRED) -> Any:
    """A proxy's choice: `fault` for every request of the kind after so many of them."""
    arrived = 0

    def choose(seen: Seen) -> object:
        nonlocal arrived
        arrived += is_of(kind, seen)
        return fault if arrived > count else None

    return choose


def is_of(kind: str, seen: Seen) -> bool:
    return seen.is_part if kind == "part" else "Range" in seen.headers


def num_of(kind: str, faulty: FaultProxy) -> int:
    return sum(is_of(kind, seen) for seen in faulty.requests)


def unfinished(client: Any, objects: S3Objects) -> list[str]:
    prefix = f"{objects.uri.removeprefix('s3://artifacts/')}/"
    answer = client.list_multipart_uploads(Bucket="artifacts", Prefix=prefix)
    return [upload["Key"].removeprefix(prefix) for upload in answer.get("Uploads", [])]


def hidden(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name.startswith(".")]


def test_parts_and_ranges_are_under_way_side_by_side(
    faulty: FaultProxy, objects: S3Objects, source: Path, tmp_path: Path
) -> None:
    store = Store(objects)
    digest = store.blobs.put(source)
    assert num_of("part", faulty) == NUM_PARTS
    assert max(seen.num_under_way for seen in faulty.requests if seen.is_part) > 2
    store.blobs.fetch(digest, tmp_path / "copy")
    assert num_of("range", faulty) == NUM_PARTS
    assert max(seen.num_under_way for seen in faulty.requests if "Range" in seen.headers) > 2
    assert (tmp_path / "copy").read_bytes() == BODY
    assert hidden(tmp_path) == []


def test_a_shard_of_a_data_set_comes_in_ranges(faulty: FaultProxy, tmp_path: Path) -> None:
    store = Store(S3Objects(bucket="artifacts", prefix=uuid.uuid4().hex))
    body = random.Random(5).randbytes(40 << 20)
    store.blobs.fetch(store.blobs.put(body), tmp_path / "copy")
    ranges = sorted(seen.headers["Range"] for seen in faulty.requests if "Range" in seen.headers)
    assert ranges == ["bytes=0-16777215", "bytes=16777216-33554431", "bytes=33554432-41943039"]
    assert (tmp_path / "copy").read_bytes() == body


def test_an_interrupted_upload_sends_only_what_is_missing(
    faulty: FaultProxy, objects: S3Objects, client: Any, source: Path
) -> None:
    store = Store(objects)
    faulty.choose = fails_after(6, kind="part")
    with pytest.raises(StoreUnavailable, match="expired"):
        store.blobs.put(source)
    faulty.choose = lambda seen: None
    assert len(unfinished(client, objects)) == 1
    assert list(objects.walk()) == []

    faulty.requests.clear()
    digest = Store(open_objects(objects.uri.removeprefix("s3://artifacts/"))).blobs.put(source)
    assert 0 < num_of("part", faulty) <= NUM_PARTS - 5
    assert store.blobs.get(digest) == BODY
    assert unfinished(client, objects) == []


def test_parts_of_other_bytes_are_neither_used_nor_touched(
    faulty: FaultProxy, objects: S3Objects, client: Any, source: Path
) -> None:
    prefix = objects.uri.removeprefix("s3://artifacts/")
    key = f"{prefix}/a"
    other = client.create_multipart_upload(Bucket="artifacts", Key=key)["UploadId"]
    for number in (1, 2):  # our size, the second with one byte of another
        part = BODY[(number - 1) * PART : number * PART - 1] + b"?" * number
        client.upload_part(Bucket="artifacts", Key=key, UploadId=other, PartNumber=number, Body=part[-PART:])
    before = client.list_parts(Bucket="artifacts", Key=key, UploadId=other)["Parts"]
    objects.put("a", source)
    assert b"".join(objects.stream("a")) == BODY
    assert client.list_parts(Bucket="artifacts", Key=key, UploadId=other)["Parts"] == before


def test_an_upload_whose_parts_vanish_begins_again(faulty: FaultProxy, objects: S3Objects, source: Path) -> None:
    faulty.choose = fails_after(3, kind="part")
    with pytest.raises(StoreUnavailable):
        objects.put("a", source)
    taken: list[Seen] = []

    def someone_aborts(seen: Seen) -> object:
        # The first part of the upload that goes on finds it gone.
        if seen.is_part and not taken:
            taken.append(seen)
            return (404, "NoSuchUpload")
        return None

    faulty.choose = someone_aborts
    objects.put("a", source)
    assert b"".join(objects.stream("a")) == BODY


def test_two_writers_of_one_large_blob_both_succeed(objects: S3Objects, client: Any, source: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        digests = set(pool.map(Store(objects).blobs.put, [source, source]))
    assert digests == {digest_of(BODY)}
    assert Store(objects).blobs.get(digests.pop()) == BODY
    assert unfinished(client, objects) == []


def test_a_source_that_changes_leaves_no_parts(objects: S3Objects, client: Any, source: Path) -> None:
    with pytest.raises(StoreError, match="changed while it was sent"):
        objects.put("a", source, sha256=digest_of(b"what it was before"))
    assert list(objects.walk()) == []
    assert unfinished(client, objects) == []


def test_stale_uploads_of_this_store_are_aborted_and_no_others(
    objects: S3Objects, client: Any, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = objects.uri.removeprefix("s3://artifacts/")
    for key in (f"{prefix}/old", f"{prefix}-another-store/old"):
        client.create_multipart_upload(Bucket="artifacts", Key=key)
    objects.put("a", source)
    assert unfinished(client, objects) == ["old"]  # a day is not stale, a writer may be slow
    monkeypatch.setattr("components.core.store.backends.s3.uploads.STALE_AFTER", timedelta(seconds=-1))
    objects.put("b", source)
    assert unfinished(client, objects) == []
    answer = client.list_multipart_uploads(Bucket="artifacts", Prefix=f"{prefix}-another-store/")
    assert len(answer["Uploads"]) == 1


def test_an_interrupted_download_brings_only_what_is_missing(
    faulty: FaultProxy, objects: S3Objects, source: Path, tmp_path: Path
) -> None:
    store = Store(objects)
    digest = store.blobs.put(source)
    faulty.choose = fails_after(4, kind="range")
    with pytest.raises(StoreUnavailable, match=digest):
        store.blobs.fetch(digest, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()

    faulty.choose = lambda seen: None
    faulty.requests.clear()
    store.blobs.fetch(digest, tmp_path / "copy")
    assert num_of("range", faulty) == NUM_PARTS - 4 + 1  # and the first one, which tells the size
    assert (tmp_path / "copy").read_bytes() == BODY
    assert hidden(tmp_path) == []


def interrupt_a_download(faulty: FaultProxy, store: Store, digest: str, target: Path) -> None:
    faulty.choose = fails_after(4, kind="range")
    with pytest.raises(StoreUnavailable):
        store.blobs.fetch(digest, target)
    faulty.choose = lambda seen: None
    faulty.requests.clear()


def test_what_had_arrived_is_verified_with_the_rest(
    faulty: FaultProxy, objects: S3Objects, source: Path, tmp_path: Path
) -> None:
    store = Store(objects)
    digest = store.blobs.put(source)
    interrupt_a_download(faulty, store, digest, tmp_path / "copy")
    (partial,) = tmp_path.glob(".*.partial")
    with partial.open("r+b") as file:  # as a power cut may leave it: the record says whole, the disk has zeros
        file.write(bytes(8 * PART))
    store.blobs.fetch(digest, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == BODY
    assert hidden(tmp_path) == []


@pytest.mark.parametrize("record", ["", "{}", "[]", "null", "0\n1\n", '{"finished": 7}\n0\n'])
def test_a_torn_record_of_a_download_is_not_believed(
    faulty: FaultProxy, objects: S3Objects, source: Path, tmp_path: Path, record: str
) -> None:
    store = Store(objects)
    digest = store.blobs.put(source)
    interrupt_a_download(faulty, store, digest, tmp_path / "copy")
    (ranges,) = tmp_path.glob(".*.ranges")
    ranges.write_text(record)
    (partial,) = tmp_path.glob(".*.partial")
    with partial.open("r+b") as file:
        file.truncate(len(BODY) + 1)
    store.blobs.fetch(digest, tmp_path / "copy")
    assert num_of("range", faulty) == NUM_PARTS
    assert (tmp_path / "copy").read_bytes() == BODY


def test_a_range_whose_line_in_the_record_is_torn_comes_again(
    faulty: FaultProxy, objects: S3Objects, source: Path, tmp_path: Path
) -> None:
    store = Store(objects)
    digest = store.blobs.put(source)
    interrupt_a_download(faulty, store, digest, tmp_path / "copy")
    (ranges,) = tmp_path.glob(".*.ranges")
    ranges.write_text(ranges.read_text()[:-1])
    store.blobs.fetch(digest, tmp_path / "copy")
    assert num_of("range", faulty) == NUM_PARTS - 4 + 1 + 1  # and the first one, which tells the size
    assert (tmp_path / "copy").read_bytes() == BODY


@pytest.mark.parametrize("fault", [(503, "SlowDown"), "wrong bytes", "lose the answer"], ids=str)
def test_a_part_that_does_not_arrive_is_sent_again_by_boto3(
    faulty: FaultProxy, objects: S3Objects, source: Path, fault: object
) -> None:
    faulty.choose = fails_once(kind="part", fault=fault)
    digest = Store(objects).blobs.put(source)
    agents = [seen.headers["User-Agent"].partition("/")[0] for seen in faulty.requests if seen.is_part]
    assert agents[0] == "trimtab"
    assert "Boto3" in agents
    assert len(agents) == NUM_PARTS + 1
    assert Store(objects).blobs.get(digest) == BODY


def fails_once(*, kind: str, fault: object) -> Any:
    """A proxy's choice: `fault` for the first request of the kind."""
    left = [fault]

    def choose(seen: Seen) -> object:
        return left.pop() if left and is_of(kind, seen) else None

    return choose


def test_hidden_keys_are_listed_apart(objects: S3Objects, client: Any) -> None:
    root = objects.uri.removeprefix("s3://artifacts/")
    for name in ("model.onnx", ".env", "sub/.pth", "folder/"):
        body = b"" if name.endswith("/") else b"x"
        client.put_object(Bucket="artifacts", Key=f"{root}/releases/net/1/{name}", Body=body)
    assert [listed.key for listed in objects.walk("releases/net/1")] == ["releases/net/1/model.onnx"]
    assert sorted(objects.hidden("releases/net/1")) == ["releases/net/1/.env", "releases/net/1/sub/.pth"]


def test_an_object_that_was_replaced_since_is_not_mixed_with_what_had_arrived(
    faulty: FaultProxy, objects: S3Objects, client: Any, source: Path, tmp_path: Path
) -> None:
    store = Store(objects)
    digest = store.blobs.put(source)
    interrupt_a_download(faulty, store, digest, tmp_path / "copy")
    key = f"{objects.uri.removeprefix('s3://artifacts/')}/{key_of(digest)}"
    client.put_object(Bucket="artifacts", Key=key, Body=BODY)  # the same bytes in one piece: another etag
    store.blobs.fetch(digest, tmp_path / "copy")
    assert num_of("range", faulty) == NUM_PARTS
    assert (tmp_path / "copy").read_bytes() == BODY


def test_an_object_that_is_replaced_meanwhile_is_fetched_again(
    faulty: FaultProxy, objects: S3Objects, client: Any, source: Path, tmp_path: Path
) -> None:
    store = Store(objects)
    digest = store.blobs.put(source)
    key = f"{objects.uri.removeprefix('s3://artifacts/')}/{key_of(digest)}"
    replaced: list[Seen] = []

    def replace_before_the_third_range(seen: Seen) -> object:
        if num_of("range", faulty) == 3 and not replaced:
            replaced.append(seen)
            client.put_object(Bucket="artifacts", Key=key, Body=BODY)
        return None

    faulty.choose = replace_before_the_third_range
    store.blobs.fetch(digest, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == BODY


def test_two_who_fetch_to_one_path_both_succeed(objects: S3Objects, source: Path, tmp_path: Path) -> None:
    store = Store(objects)
    digest = store.blobs.put(source)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: store.blobs.fetch(digest, tmp_path / "copy"), range(4)))
    assert (tmp_path / "copy").read_bytes() == BODY
    assert hidden(tmp_path) == []


@pytest.mark.parametrize("body", [BODY, BODY[:100_000]], ids=["large", "small"])
def test_bytes_that_change_on_their_way_are_sent_again(
    faulty: FaultProxy, objects: S3Objects, tmp_path: Path, body: bytes
) -> None:
    store = Store(objects)
    remaining, of_ranges = 2, False

    def spoil_some(seen: Seen) -> object:
        nonlocal remaining
        if not remaining or not seen.moves_bytes or (of_ranges and "Range" not in seen.headers):
            return None
        remaining -= 1
        return "wrong bytes"

    faulty.choose = spoil_some
    digest = store.blobs.put(body)
    assert not remaining
    remaining, of_ranges = 1, body is BODY  # the first answer of a large object is not read, it only tells the size
    store.blobs.fetch(digest, tmp_path / "copy")
    assert not remaining
    assert (tmp_path / "copy").read_bytes() == body
    remaining, of_ranges = 1, False
    assert store.blobs.get(digest) == body
    assert not remaining


def test_a_large_blob_that_is_damaged_is_never_handed_out(objects: S3Objects, source: Path, tmp_path: Path) -> None:
    store = Store(objects)
    digest = store.blobs.put(source)
    objects.put(key_of(digest), BODY[:-1] + b"?")
    with pytest.raises(BlobDamaged, match=digest):
        store.blobs.fetch(digest, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    assert hidden(tmp_path) == []


def test_a_range_that_breaks_goes_on_where_it_stopped(
    faulty: FaultProxy, objects: S3Objects, source: Path, tmp_path: Path
) -> None:
    store = Store(objects)
    digest = store.blobs.put(source)
    faulty.faults.extend([None, 1_200_000, "reset", "reset", 0, (503, "SlowDown")])
    store.blobs.fetch(digest, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == BODY
    ranges = [seen.headers["Range"] for seen in faulty.requests if "Range" in seen.headers]
    starts = [int(value.removeprefix("bytes=").partition("-")[0]) for value in ranges]
    assert any(start % PART for start in starts)


def test_a_server_without_ranges_brings_what_is_small(faulty: FaultProxy, objects: S3Objects, tmp_path: Path) -> None:
    store = Store(objects)
    digest = store.blobs.put(BODY[:PART])
    faulty.always = "no ranges"
    store.blobs.fetch(digest, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == BODY[:PART]


def test_a_server_without_ranges_is_refused_what_is_large(
    faulty: FaultProxy, objects: S3Objects, source: Path, tmp_path: Path
) -> None:
    store = Store(objects)
    digest = store.blobs.put(source)
    begins = "bytes=0-"
    faulty.choose = lambda seen: None if seen.headers.get("Range", begins).startswith(begins) else "no ranges"
    with pytest.raises(StoreRefused, match="does not support requests for a range of an object"):
        store.blobs.fetch(digest, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_a_server_that_does_not_say_lengths_is_refused(faulty: FaultProxy, objects: S3Objects, tmp_path: Path) -> None:
    store = Store(objects)
    digest = store.blobs.put(BODY[:PART])
    faulty.always = "no length"
    with pytest.raises(StoreRefused, match="does not say how many bytes it sends"):
        store.blobs.fetch(digest, tmp_path / "copy")
    assert list(tmp_path.iterdir()) == []


def test_an_empty_object_comes_where_it_has_no_range(faulty: FaultProxy, objects: S3Objects, tmp_path: Path) -> None:
    store = Store(objects)
    digest = store.blobs.put(b"")
    faulty.requests.clear()
    faulty.choose = lambda seen: (416, "InvalidRange") if "Range" in seen.headers else None  # as Amazon's answer
    store.blobs.fetch(digest, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b""


def test_the_first_answer_is_the_first_range(
    faulty: FaultProxy, objects: S3Objects, source: Path, tmp_path: Path
) -> None:
    store = Store(objects)
    digest = store.blobs.put(source)
    faulty.requests.clear()
    store.blobs.fetch(digest, tmp_path / "copy")
    assert [seen.method for seen in faulty.requests] == ["GET"] * NUM_PARTS
    assert len({seen.headers["Range"] for seen in faulty.requests}) == NUM_PARTS


KILLED = """
import sys
from pathlib import Path
from components.core.store import Store
from components.core.store.backends.s3.objects import S3Objects
direction, prefix, digest, folder = sys.argv[1:]
sizes = {"multipart_bytes": 6 << 20, "part_bytes": 5 << 20, "range_bytes": 5 << 20}
store = Store(S3Objects(bucket="artifacts", prefix=prefix, **sizes))
if direction == "up":
    store.blobs.put(Path(folder, "source"))
else:
    store.blobs.fetch(digest, Path(folder, "copy"))
"""


@pytest.mark.parametrize("direction", ["up", "down"])
def test_a_transfer_that_was_killed_goes_on(
    faulty: FaultProxy, objects: S3Objects, source: Path, tmp_path: Path, direction: str
) -> None:
    store, digest, kind = Store(objects), digest_of(BODY), "part" if direction == "up" else "range"
    if direction == "down":
        store.blobs.put(source)
        faulty.requests.clear()
    faulty.choose = fails_after(5, kind=kind, fault="stall")
    arguments = [direction, objects.uri.removeprefix("s3://artifacts/"), digest, str(tmp_path)]
    with subprocess.Popen([sys.executable, "-c", KILLED, *arguments]) as process:
        deadline = time.monotonic() + 60
        while num_of(kind, faulty) < 8 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.5)  # what arrived is written down
        process.send_signal(signal.SIGKILL)
    faulty.choose = lambda seen: None
    time.sleep(3)  # what stalls at the proxy ends
    faulty.requests.clear()
    assert store.blobs.put(source) == digest
    store.blobs.fetch(digest, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == BODY
    assert num_of(kind, faulty) <= NUM_PARTS - 3
    assert hidden(tmp_path) == []
