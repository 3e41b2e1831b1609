"""A bad network and a moody server, by chance: nothing is lost, nothing is wrong, and every failure says what it is."""

from __future__ import annotations

import random
import re
import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fault_proxy import FaultProxy, Seen

from components.core.store import AccessDenied, BlobMissing, Store, StoreError, StoreRefused, StoreUnavailable
from components.core.store.backends.objects import digest_of
from components.core.store.backends.s3.objects import S3Objects

pytestmark = pytest.mark.s3
TRANSIENT = [(500, "InternalError"), (503, "SlowDown"), "reset", 700, "lose the answer", "wrong bytes", "stall"]
# What no retry mends, and what each must say.
PERMANENT = {
    (400, "ExpiredToken"): r"refused the credentials \(ExpiredToken\): they have expired",
    (403, "RequestTimeTooSkewed"): r"refused the credentials \(RequestTimeTooSkewed\): this machine's clock",
    (403, "AccessDenied"): r"refused \w+ on .*; the credentials need rights",
    (404, "NoSuchKey"): r"no blob|no object|answers 404 to a write",
}
FAULTY_FRACTION = 0.1
MAX_BYTES = 64 << 20


def open_objects() -> S3Objects:
    return S3Objects(
        bucket="artifacts",
        prefix=uuid.uuid4().hex,
        multipart_bytes=6 << 20,
        part_bytes=5 << 20,
        range_bytes=5 << 20,
        read_timeout_s=2,
    )


def sizes(count: int, largest: int) -> list[int]:
    """From 1 KiB to the largest: even on a logarithmic scale, but for a power that keeps the sum small."""
    exponents = [(number / (count - 1)) ** 6 for number in range(count)]
    return [round(1024 * (largest / 1024) ** exponent) for exponent in exponents]


def until_it_succeeds(transfer: Callable[[], None], failures: list[StoreError]) -> None:
    for _ in range(30):
        try:
            transfer()
            return
        except StoreError as error:  # whatever else comes through is a failure of the test
            failures.append(error)
    pytest.fail(f"thirty times in vain, at last: {failures[-1]}")


@pytest.mark.parametrize(
    ("num_transfers", "largest"),
    [(100, 8 << 20), pytest.param(1000, MAX_BYTES, marks=[pytest.mark.e2e, pytest.mark.timeout(1800)])],
)
def test_of_many_transfers_none_is_lost_and_none_is_wrong(
    faulty: FaultProxy, tmp_path: Path, num_transfers: int, largest: int
) -> None:
    chance, injected, failures = random.Random(7), Counter[object](), list[StoreError]()
    num_kinds = len(TRANSIENT) + len(PERMANENT)

    def choose(seen: Seen) -> object:  # under the proxy's lock
        if chance.random() >= FAULTY_FRACTION:
            return None
        fault = [*TRANSIENT, *PERMANENT][injected.total() % num_kinds]
        injected[fault] += 1
        return fault

    faulty.choose = choose
    store = Store(open_objects())

    def there_and_back(item: tuple[int, int]) -> None:
        number, size = item
        body = random.Random(number).randbytes(size)
        digest, source, copy = digest_of(body), tmp_path / f"{number}", tmp_path / f"{number}-copy"
        source.write_bytes(body)
        until_it_succeeds(lambda: assert_equal(store.blobs.put(source), digest), failures)
        until_it_succeeds(lambda: store.blobs.fetch(digest, copy), failures)
        assert copy.read_bytes() == body
        source.unlink()
        copy.unlink()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(there_and_back, enumerate(sizes(num_transfers // 2, largest))))
    assert list(tmp_path.iterdir()) == []
    assert set(injected) == {*TRANSIENT, *PERMANENT}
    # What passes was not even noticed; what does not was said, with the object and the reason. A busy machine's server
    # may be silent five times in a row without our help.
    assert sum("no answer from" in str(failure) for failure in failures) <= num_transfers // 100
    reason = re.compile("|".join([*PERMANENT.values(), "no answer from .* in time"]))
    for failure in failures:
        assert reason.search(str(failure)), failure
        assert re.search(r"no blob [0-9a-f]{64}|s3://artifacts/[0-9a-f]{32}/\w+/\S+", str(failure)), failure
        assert len(str(failure).splitlines()) == 1


def assert_equal(actual: str, expected: str) -> None:
    assert actual == expected


@pytest.mark.parametrize("fault", PERMANENT, ids=lambda fault: fault[1])
def test_what_no_retry_mends_fails_at_once_and_says_so(
    faulty: FaultProxy, tmp_path: Path, fault: tuple[int, str]
) -> None:
    store = Store(open_objects())
    large = random.Random(8).randbytes(6 << 20)
    digests = store.blobs.put_many([b"small", large])
    for transfer, num_requests in (
        (lambda: store.blobs.put(b"other"), 2),  # the quick way, and boto3's, which knows why
        (lambda: store.blobs.put(large + b"other"), 3),  # is it there? why not say? an upload
        (lambda: store.blobs.fetch(digests[0], tmp_path / "copy"), 2),
        (lambda: store.blobs.fetch(digests[1], tmp_path / "copy"), 2),
    ):
        faulty.always = fault
        faulty.requests.clear()
        with pytest.raises(
            (StoreUnavailable, AccessDenied, BlobMissing, StoreRefused), match=PERMANENT[fault]
        ) as caught:
            transfer()
        assert re.search(r"[0-9a-f]{64}", str(caught.value))
        assert len(faulty.requests) <= num_requests
    faulty.always = None
    store.blobs.fetch(digests[1], tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == large


@pytest.mark.parametrize("fault", ["stall", "reset", (503, "SlowDown")], ids=str)
def test_what_never_passes_is_given_up_after_a_bounded_number_of_requests(
    faulty: FaultProxy, tmp_path: Path, fault: object
) -> None:
    objects = S3Objects(bucket="artifacts", prefix=uuid.uuid4().hex, read_timeout_s=0.2)
    store = Store(objects)
    digest = store.blobs.put(b"bytes" * 100)
    faulty.always = fault
    faulty.requests.clear()
    with pytest.raises(StoreUnavailable, match=digest):
        store.blobs.fetch(digest, tmp_path / "copy")
    assert len(faulty.requests) <= 20
    assert list(tmp_path.iterdir()) == []
