"""S3 over a network that fails: what is retried, what goes on where it stopped, what is given up."""

from __future__ import annotations

import hashlib
import os
import random
import uuid
from pathlib import Path

import pytest
from fault_proxy import FaultProxy

from components.core.store import PreconditionFailed, Store, StoreError, StoreRefused, StoreUnavailable
from components.core.store.backends.s3.objects import S3Objects

pytestmark = pytest.mark.s3
LARGE = random.Random(3).randbytes(5 << 20)


@pytest.fixture
def objects(faulty: FaultProxy) -> S3Objects:
    return S3Objects(bucket="artifacts", prefix=uuid.uuid4().hex)


@pytest.mark.parametrize("fault", [(503, "SlowDown"), (500, "InternalError"), 0, "lose the answer"])
def test_a_fault_that_passes_is_not_noticed(faulty: FaultProxy, objects: S3Objects, fault: object) -> None:
    faulty.faults.extend([fault, fault])
    objects.put("a", b"bytes")
    faulty.faults.extend([fault, fault])
    assert objects.get("a").data == b"bytes"
    faulty.faults.extend([fault, fault])
    assert [listed.key for listed in objects.walk()] == ["a"]


@pytest.mark.parametrize("broken", ["the start", "a part", "the end"])
@pytest.mark.parametrize("fault", [(503, "SlowDown"), 0, "lose the answer"])
def test_a_fault_in_a_large_upload_leaves_it_whole_or_absent(
    faulty: FaultProxy, objects: S3Objects, broken: str, fault: object
) -> None:
    objects = S3Objects(
        bucket="artifacts",
        prefix=uuid.uuid4().hex,
        multipart_bytes=len(LARGE),
        part_bytes=len(LARGE),
        range_bytes=len(LARGE),
    )
    faulty.faults.extend([None] * ["the start", "a part", "the end"].index(broken) + [fault])  # type: ignore[list-item]
    try:
        objects.put("a", LARGE, if_absent=True)
    except StoreError:
        assert len(list(objects.walk())) in (0, 1)
        objects.put("a", LARGE)
    assert objects.get("a").data == LARGE


def test_a_listing_that_breaks_is_not_an_empty_one(faulty: FaultProxy, objects: S3Objects) -> None:
    objects.put("runs/1/record", b"bytes")
    faulty.faults.extend([0, 100, 0])
    assert objects.folders("runs") == ["1"]
    faulty.always = 0
    with pytest.raises(StoreUnavailable):
        list(objects.walk())


def test_a_server_that_stays_out_of_order_is_given_up_in_one_line(faulty: FaultProxy, objects: S3Objects) -> None:
    faulty.always = (503, "SlowDown")
    for use in (
        lambda: objects.put("a", b"bytes"),
        lambda: objects.get("a"),
        lambda: list(objects.stream("a")),
        lambda: list(objects.walk()),
    ):
        with pytest.raises(StoreUnavailable, match=r"answers 503") as caught:
            use()
        assert len(str(caught.value).splitlines()) == 1


def test_a_download_that_breaks_goes_on_where_it_stopped(
    faulty: FaultProxy, objects: S3Objects, tmp_path: Path
) -> None:
    store = Store(objects)
    digest = store.blobs.put(LARGE)
    faulty.faults.extend([1_200_000, 0, 2_000_000, 700_000])
    store.blobs.fetch(digest, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == LARGE
    assert not faulty.faults


def test_a_download_that_never_gets_on_is_given_up(faulty: FaultProxy, objects: S3Objects, tmp_path: Path) -> None:
    store = Store(objects)
    digest = store.blobs.put(LARGE)
    faulty.always = 0
    with pytest.raises(StoreUnavailable):
        store.blobs.fetch(digest, tmp_path / "copy")
    with pytest.raises(StoreUnavailable):
        objects.get(f"blobs/sha256/{digest[:2]}/{digest}")
    assert list(tmp_path.iterdir()) == []


def test_an_object_that_changes_under_a_broken_download_is_not_mixed(faulty: FaultProxy, objects: S3Objects) -> None:
    objects.put("a", LARGE)
    faulty.faults.append(2_000_000)
    stream = objects.stream("a")
    next(stream)
    objects.put("a", bytes(len(LARGE)))
    with pytest.raises(PreconditionFailed):
        list(stream)


def test_a_write_whose_answer_is_lost_is_not_taken_for_someone_elses(faulty: FaultProxy, objects: S3Objects) -> None:
    store = Store(objects)
    faulty.faults.append("lose the answer")
    first = store.refs.move("champion", {"version": "1"}, expected=None)
    faulty.faults.append("lose the answer")
    second = store.refs.move("champion", {"version": "2"}, expected=first)
    assert store.refs.read("champion") == second
    for lost in range(6):  # each request of a publication in its turn
        faulty.faults.extend([*[None] * lost, "lose the answer"])
        store.releases.publish("model", f"{lost}", {"a": b"a", "b": b"b"})
        faulty.faults.clear()
        assert store.releases.read("model", f"{lost}", "a") == b"a"


def test_conditional_writes_that_meet_are_asked_again(faulty: FaultProxy, objects: S3Objects) -> None:
    faulty.faults.extend([(409, "ConditionalRequestConflict")] * 2)
    objects.put("a", b"bytes", if_absent=True)
    assert objects.get("a").data == b"bytes"
    faulty.always = (409, "ConditionalRequestConflict")
    with pytest.raises(PreconditionFailed):
        objects.put("a", b"other", if_absent=True)


def test_what_a_server_does_not_support_is_said(faulty: FaultProxy, objects: S3Objects) -> None:
    faulty.always = (501, "NotImplemented")
    with pytest.raises(StoreUnavailable, match="NotImplemented"):
        objects.put("a", b"bytes", if_absent=True)
    faulty.always = (400, "InvalidRequest")
    with pytest.raises(StoreRefused, match="InvalidRequest"):
        objects.put("a", b"bytes", if_absent=True)


def test_a_bucket_in_another_region_is_said(faulty: FaultProxy, objects: S3Objects) -> None:
    faulty.faults += [(301, "PermanentRedirect")] * 2  # the quick way, and boto3's
    with pytest.raises(StoreUnavailable, match="AWS_REGION"):
        objects.put("a", b"bytes")


@pytest.mark.parametrize("status", [400, 403])
def test_a_question_that_is_refused_for_once_is_answered_by_a_read(
    faulty: FaultProxy, objects: S3Objects, status: int
) -> None:
    etag = objects.put("a", b"bytes")
    objects.put("empty", b"")
    for key, size in (("a", 5), ("empty", 0)):
        faulty.faults.append((status, ""))
        assert objects.size(key) == size
    faulty.faults.append((status, ""))
    assert objects.etag("a") == etag


def test_small_transfers_share_a_connection(faulty: FaultProxy, objects: S3Objects, tmp_path: Path) -> None:
    body = b"bytes" * 1000
    objects.put("a", body)
    faulty.requests.clear()
    for number in range(3):
        objects.put(f"b{number}", body)
        objects.fetch("a", tmp_path / "copy", sha256=hashlib.sha256(body).hexdigest())
    assert {seen.headers["User-Agent"] for seen in faulty.requests} == {"trimtab"}
    assert len({seen.connection for seen in faulty.requests}) == 1


def test_a_small_write_that_is_refused_once_is_done_by_boto3(faulty: FaultProxy, objects: S3Objects) -> None:
    faulty.faults.append((400, "AuthorizationHeaderMalformed"))
    objects.put("a", b"bytes", if_absent=True)
    objects.put("b", b"bytes")
    assert "trimtab" in faulty.requests[0].headers["User-Agent"]
    assert all("Boto3" in seen.headers["User-Agent"] for seen in faulty.requests[1:])
    with pytest.raises(PreconditionFailed):
        objects.put("a", b"others", if_absent=True)
    assert objects.get("a").data == b"bytes"


@pytest.mark.parametrize("status", [400, 404, 405])
def test_what_is_no_object_store_is_not_writable(faulty: FaultProxy, objects: S3Objects, status: int) -> None:
    faulty.always = (status, "")
    with pytest.raises(StoreUnavailable) as caught:
        objects.check_writable()
    assert len(str(caught.value).splitlines()) == 1


def test_a_probe_asks_once_for_a_person_waits(faulty: FaultProxy, objects: S3Objects) -> None:
    faulty.always = (503, "SlowDown")
    with pytest.raises(StoreUnavailable, match="answers 503"):
        objects.check_writable()
    assert len(faulty.requests) == 1


def test_a_forked_child_opens_connections_of_its_own(faulty: FaultProxy, objects: S3Objects) -> None:
    def there_and_back() -> bool:
        objects.put("a", b"bytes")  # the quick way
        return objects.get("a").data == b"bytes"  # boto3's

    assert there_and_back()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if there_and_back() else 1
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert there_and_back()
    connections = [seen.connection for seen in faulty.requests]
    before, in_child, after = connections[:2], connections[2:4], connections[4:]
    assert before == after
    assert not {*before} & {*in_child}


def test_an_endpoint_of_ones_own_is_addressed_by_path(faulty: FaultProxy, objects: S3Objects) -> None:
    # By host name, `artifacts.127.0.0.1` could not be reached at all.
    objects.check_writable()
