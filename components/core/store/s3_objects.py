"""Objects in an S3 bucket, or in any server that speaks S3 with conditional writes."""

from __future__ import annotations

import base64
import hashlib
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import boto3.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, FlexibleChecksumError

from components.core.store.errors import (
    AccessDenied,
    Damaged,
    NotFound,
    PreconditionFailed,
    StoreError,
    StoreRefused,
    StoreUnavailable,
)
from components.core.store.names import check_key
from components.core.store.objects import CHUNK_BYTES, Listed, Stored, chunks_of, digest_of, size_of
from components.core.store.s3_errors import Place, WriteConflict

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MULTIPART_BYTES = 64 << 20
PART_BYTES = 16 << 20  # eight parts in flight: 128 MB of memory for the whole store
MAX_PARTS = 10_000
NUM_PART_SLOTS = 8
NUM_READ_ATTEMPTS = 5
NUM_CONFLICT_ATTEMPTS = 5

_PROBE = "checks/writable"
# Standard mode: exponential backoff with jitter, at most 20 s, on throttling, 5xx and broken connections.
_CONFIG = Config(
    retries={"mode": "standard", "total_max_attempts": 5},
    connect_timeout=5,
    read_timeout=60,
    max_pool_connections=32,
)
# A question whose answer a person waits for.
_PROBE_CONFIG = Config(retries={"mode": "standard", "total_max_attempts": 1}, connect_timeout=1, read_timeout=2)


@dataclass(frozen=True, kw_only=True)
class _Connection:
    client: S3Client
    part_slots: threading.BoundedSemaphore


class S3Objects:
    """Objects in a bucket under a prefix. Atomic: S3 shows an object when its last byte and its checksum have arrived.

    Credentials, region and endpoint come from boto3's chain; an endpoint of one's own is addressed by path
    (`https://host/bucket/key`). Large files go up in parallel parts. Server errors are retried with backoff, a download
    that breaks goes on where it stopped.
    """

    def __init__(
        self,
        *,
        bucket: str,
        prefix: str = "",
        multipart_bytes: int = MULTIPART_BYTES,
        part_bytes: int = PART_BYTES,
        page_size: int = 1000,
    ) -> None:
        self.uri = f"s3://{bucket}/{prefix}" if prefix else f"s3://{bucket}"
        self._bucket = bucket
        self._root = f"{prefix}/" if prefix else ""
        self._multipart_bytes = multipart_bytes
        self._part_bytes = part_bytes
        self._page_size = page_size
        self._owner = 0
        self._lock = threading.Lock()
        self._connection: _Connection | None = None

    def address(self, key: str) -> str:
        return f"{self.uri}/{key}"

    def put(
        self,
        key: str,
        body: bytes | Path,
        *,
        sha256: str | None = None,
        if_absent: bool = False,
        if_match: str | None = None,
    ) -> str:
        condition: dict[str, Any] = {}
        if if_absent:
            condition["IfNoneMatch"] = "*"
        elif if_match is not None:
            condition["IfMatch"] = if_match
        try:
            digest = sha256 or digest_of(body)
            send = self._put_parts if size_of(body) >= self._multipart_bytes else self._put_whole
            for attempt in range(1, NUM_CONFLICT_ATTEMPTS):
                try:
                    return send(key, body, digest, condition)
                except WriteConflict:
                    time.sleep(0.05 * 2**attempt)
            return send(key, body, digest, condition)
        except NotFound as error:
            if if_match is not None:  # S3 answers 404 to a condition on an object that is gone
                raise PreconditionFailed(f"{self.address(key)} is gone since it was read") from error
            raise
        except OSError as error:
            raise StoreError(f"cannot read {error.filename}: {error.strerror}") from error

    def get(self, key: str) -> Stored:
        # Small: one request, so that the etag belongs to these very bytes.
        for attempt in range(1, NUM_READ_ATTEMPTS + 1):
            with self._place().translated(self.address(key)):
                answer = self._client().get_object(Bucket=self._bucket, Key=self._key(key))
                try:
                    with closing(answer["Body"]) as body:
                        return Stored(data=body.read(), etag=answer["ETag"])
                except FlexibleChecksumError:
                    raise
                except BotoCoreError:
                    if attempt == NUM_READ_ATTEMPTS:
                        raise
        raise AssertionError("unreachable")

    def stream(self, key: str) -> Iterator[bytes]:
        offset, failures = 0, 0
        pin: dict[str, Any] = {}
        while True:
            wanted = {**pin, "Range": f"bytes={offset}-"} if offset else pin
            with self._place().translated(self.address(key)):
                answer = cast(Any, self._client()).get_object(Bucket=self._bucket, Key=self._key(key), **wanted)
                pin = {"IfMatch": answer["ETag"]}  # the rest must be of the same object
                with closing(answer["Body"]) as body:
                    try:
                        for chunk in body.iter_chunks(CHUNK_BYTES):
                            yield chunk
                            offset += len(chunk)
                            failures = 0
                        return
                    except FlexibleChecksumError:
                        raise
                    except BotoCoreError:
                        failures += 1
                        if failures == NUM_READ_ATTEMPTS:
                            raise
            time.sleep(0.1 * 2**failures)

    def size(self, key: str) -> int:
        with self._place().translated(self.address(key)):
            return self._client().head_object(Bucket=self._bucket, Key=self._key(key))["ContentLength"]

    def stat(self, key: str) -> Listed:
        with self._place().translated(self.address(key)):
            found = self._client().head_object(Bucket=self._bucket, Key=self._key(key))
        return Listed(
            key=key, size=found["ContentLength"], stamp=found["ETag"], modified=found["LastModified"].timestamp()
        )

    def etag(self, key: str) -> str:
        with self._place().translated(self.address(key)):
            return self._client().head_object(Bucket=self._bucket, Key=self._key(key))["ETag"]

    def walk(self, folder: str = "") -> Iterator[Listed]:
        for page in self._pages(folder):
            for item in page.get("Contents", []):
                key = item["Key"].removeprefix(self._root)
                # Consoles make empty objects that end in `/` to show a folder; a hidden one no key can name.
                if not any(part == "" or part.startswith(".") for part in key.split("/")):
                    yield Listed(
                        key=key,
                        size=item["Size"],
                        stamp=item.get("ETag", ""),
                        modified=item["LastModified"].timestamp(),
                    )

    def folders(self, folder: str) -> list[str]:
        prefixes = [
            item["Prefix"] for page in self._pages(folder, Delimiter="/") for item in page.get("CommonPrefixes", [])
        ]
        names = [prefix.removeprefix(self._prefix(folder)).rstrip("/") for prefix in prefixes]
        return sorted(name for name in names if name and not name.startswith("."))

    def delete(self, key: str) -> None:
        with self._place().translated(self.address(key)), suppress(NotFound):
            self._client().delete_object(Bucket=self._bucket, Key=self._key(key))

    def check_writable(self) -> None:
        client = self._connect(_PROBE_CONFIG)
        where: dict[str, Any] = {"Bucket": self._bucket, "Key": self._key(_PROBE)}
        place = self._place(client)
        try:
            # A server may make a bucket on the first write into it: a mistyped name must not become a bucket.
            # Refused (403, 400) proves nothing, and a HEAD has no body to say why: the write will tell.
            with suppress(AccessDenied, StoreRefused), place.translated(self.uri):
                client.head_bucket(Bucket=self._bucket)
        except NotFound as error:
            raise place.no_bucket() from error
        try:
            with place.translated(self.address(_PROBE)):
                client.put_object(**where, Body=b"probe")
        except (NotFound, StoreRefused) as error:  # the right answer of another kind of server
            raise StoreUnavailable(f"the store {self.uri} cannot be used: {error}") from error
        # A store that may be written but not cleaned is still writable.
        with suppress(AccessDenied, StoreRefused), place.translated(self.address(_PROBE)):
            client.delete_object(**where)

    def _pages(self, folder: str, **options: str) -> Iterator[dict[str, Any]]:
        with self._place().translated(f"{self.uri}/{folder}"):
            yield from cast(Any, self._client().get_paginator("list_objects_v2")).paginate(
                Bucket=self._bucket,
                Prefix=self._prefix(folder),
                PaginationConfig={"PageSize": self._page_size},
                **options,
            )

    def _put_whole(self, key: str, body: bytes | Path, digest: str, condition: dict[str, Any]) -> str:
        with ExitStack() as stack:
            data = body if isinstance(body, bytes) else stack.enter_context(body.open("rb"))
            stack.enter_context(self._place().translated(self.address(key)))
            answer = self._client().put_object(
                Bucket=self._bucket,
                Key=self._key(key),
                Body=data,
                # The server refuses what does not have it: a change on the way, or of the file since it was hashed.
                ChecksumSHA256=base64.b64encode(bytes.fromhex(digest)).decode(),
                **condition,
            )
        return answer["ETag"]

    def _put_parts(self, key: str, body: bytes | Path, digest: str, condition: dict[str, Any]) -> str:
        client = self._client()
        where: dict[str, Any] = {"Bucket": self._bucket, "Key": self._key(key)}
        with self._place().translated(self.address(key)):
            started = client.create_multipart_upload(**where, ChecksumAlgorithm="CRC32")
            where["UploadId"] = started["UploadId"]
            try:
                parts, actual = self._send_parts(where, body)
                if actual != digest:
                    raise Damaged(f"the source of {self.address(key)} changed while it was sent")
                answer = client.complete_multipart_upload(
                    **where, MultipartUpload={"Parts": cast(Any, parts)}, **condition
                )
            except BaseException:
                with suppress(StoreError), self._place().translated(self.address(key)):
                    client.abort_multipart_upload(**where)
                raise
        return answer["ETag"]

    def _send_parts(self, where: dict[str, Any], body: bytes | Path) -> tuple[list[dict[str, Any]], str]:
        client, slots = self._client(), self._connected().part_slots
        part_bytes = max(self._part_bytes, -(-size_of(body) // MAX_PARTS))
        actual = hashlib.sha256()

        def send(number: int, part: bytes) -> dict[str, Any]:
            answer = client.upload_part(**where, PartNumber=number, Body=part, ChecksumAlgorithm="CRC32")
            done: dict[str, Any] = {"PartNumber": number, "ETag": answer["ETag"]}
            if "ChecksumCRC32" in answer:
                done["ChecksumCRC32"] = answer["ChecksumCRC32"]
            return done

        sent: list[Future[dict[str, Any]]] = []
        with ThreadPoolExecutor(NUM_PART_SLOTS) as pool:
            for number, part in enumerate(_parts_of(body, part_bytes), start=1):
                if any(future.done() and future.exception() for future in sent):
                    break
                actual.update(part)
                slots.acquire()
                future = pool.submit(send, number, part)
                future.add_done_callback(lambda _: slots.release())
                sent.append(future)
        return [future.result() for future in sent], actual.hexdigest()

    def _key(self, key: str) -> str:
        return self._root + check_key(key)

    def _prefix(self, folder: str) -> str:
        return f"{self._root}{check_key(folder)}/" if folder else self._root

    def _connected(self) -> _Connection:
        # A child that was forked must not speak on its parent's sockets, nor wait for a lock a parent's thread held.
        if self._owner != os.getpid():
            self._owner, self._lock, self._connection = os.getpid(), threading.Lock(), None
        with self._lock:
            if self._connection is None:
                self._connection = _Connection(
                    client=self._connect(_CONFIG), part_slots=threading.BoundedSemaphore(NUM_PART_SLOTS)
                )
            return self._connection

    def _client(self) -> S3Client:
        return self._connected().client

    def _connect(self, config: Config) -> S3Client:
        # A session of our own: boto3's default one is shared, and not safe to use from many threads.
        with Place(uri=self.uri, bucket=self._bucket, endpoint="S3").translated(self.uri):
            try:
                client = boto3.session.Session().client("s3", config=config)
            except ValueError as error:
                raise StoreUnavailable(
                    f"the store {self.uri} cannot be used: AWS_ENDPOINT_URL is not a URL like https://host:port"
                ) from error
        for operation in ("ListObjectsV2", "CreateMultipartUpload", "CompleteMultipartUpload"):
            client.meta.events.register(f"before-parse.s3.{operation}", _refuse_an_empty_answer)
        return client

    def _place(self, client: S3Client | None = None) -> Place:
        endpoint = (client or self._client()).meta.endpoint_url
        return Place(uri=self.uri, bucket=self._bucket, endpoint=endpoint)


def _refuse_an_empty_answer(response_dict: dict[str, Any], **_: Any) -> None:
    """Makes an empty success an error that is retried.

    A connection that closes after the headers gives one, and botocore would read it as a listing without objects.
    """
    if response_dict["status_code"] == 200 and not response_dict["body"]:
        response_dict["status_code"] = 500


def _parts_of(body: bytes | Path, part_bytes: int) -> Iterator[bytes]:
    if isinstance(body, bytes):
        for start in range(0, len(body), part_bytes):
            yield body[start : start + part_bytes]
    else:
        with body.open("rb") as file:
            yield from chunks_of(file, part_bytes)
