"""Objects in an S3 bucket, or in any server that speaks S3 with conditional writes."""

from __future__ import annotations

import base64
import os
import random
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from botocore.exceptions import BotoCoreError, FlexibleChecksumError

from components.core.store.backends.objects import CHUNK_BYTES, Listed, Stored, digest_of, size_of
from components.core.store.backends.s3.connection import NUM_AT_ONCE, Connection, connect, connect_to_probe
from components.core.store.backends.s3.downloads import Download
from components.core.store.backends.s3.errors import ChangedOnTheWay, ErrorTranslator, WriteConflict
from components.core.store.backends.s3.uploads import Upload
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

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import HeadObjectOutputTypeDef

MULTIPART_BYTES = 64 << 20
# Of uploads; eight in flight, in memory: 64 MB for the whole store. With 16 MiB the benchmark takes a tenth longer.
PART_BYTES = 8 << 20
RANGE_BYTES = 16 << 20  # of downloads, which are not held in memory; smaller ones are more work for the server
NUM_READ_ATTEMPTS = 5
NUM_PUT_ATTEMPTS = 5
NUM_FETCH_ATTEMPTS = 3

DIRECT_BYTES = 1 << 20  # up to this size, boto3's layers take longer than the bytes
_CONDITION_HEADERS = {"IfNoneMatch": "If-None-Match", "IfMatch": "If-Match"}
_PROBE = "checks/writable"


class S3Objects:
    """Objects in a bucket under a prefix. Atomic: S3 shows an object when its last byte and its checksum have arrived.

    Credentials, region and endpoint come from boto3's chain; an endpoint of one's own is addressed by path
    (`https://host/bucket/key`). Large objects go in parts, several at once, both ways, and an interrupted transfer goes
    on with the parts that had arrived. What may pass is retried with backoff and jitter, a bounded number of times.
    """

    def __init__(
        self,
        *,
        bucket: str,
        prefix: str = "",
        multipart_bytes: int = MULTIPART_BYTES,
        part_bytes: int = PART_BYTES,
        range_bytes: int = RANGE_BYTES,
        page_size: int = 1000,
        read_timeout_s: float = 60,
    ) -> None:
        self.uri = f"s3://{bucket}/{prefix}" if prefix else f"s3://{bucket}"
        self._bucket = bucket
        self._root = f"{prefix}/" if prefix else ""
        self._multipart_bytes = multipart_bytes
        self._part_bytes = part_bytes
        self._range_bytes = range_bytes
        self._page_size = page_size
        self._read_timeout_s = read_timeout_s
        self._owner = 0
        self._lock = threading.Lock()
        self._connection: Connection | None = None

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
            for attempt in range(1, NUM_PUT_ATTEMPTS):
                try:
                    return send(key, body, digest, condition)
                except (WriteConflict, ChangedOnTheWay):
                    time.sleep(random.uniform(0, 0.1 * 2**attempt))
            return send(key, body, digest, condition)
        except NotFound as error:
            if if_match is not None:  # S3 answers 404 to a condition on an object that is gone
                raise PreconditionFailed(f"{self.address(key)} is gone since it was read") from error
            raise StoreRefused(f"the server answers 404 to a write of {self.address(key)}") from error
        except OSError as error:
            raise StoreError(f"cannot read {error.filename}: {error.strerror}") from error

    def get(self, key: str) -> Stored:
        # Small: one request, so that the etag belongs to these very bytes.
        for attempt in range(1, NUM_READ_ATTEMPTS + 1):
            with self._errors().translated(self.address(key)):
                answer = self._client().get_object(Bucket=self._bucket, Key=self._key(key))
                try:
                    with closing(answer["Body"]) as body:
                        return Stored(data=body.read(), etag=answer["ETag"])
                except BotoCoreError:  # broken off, or not of the checksum that the server announced
                    if attempt == NUM_READ_ATTEMPTS:
                        raise
            time.sleep(random.uniform(0, 0.1 * 2**attempt))
        raise AssertionError("unreachable")

    def stream(self, key: str) -> Iterator[bytes]:
        offset, failures = 0, 0
        pin: dict[str, Any] = {}
        while True:
            wanted = {**pin, "Range": f"bytes={offset}-"} if offset else pin
            with self._errors().translated(self.address(key)):
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
            time.sleep(random.uniform(0, 0.1 * 2**failures))

    def fetch(self, key: str, path: Path, *, sha256: str) -> None:
        connection = self._connected()
        download = Download(
            reads=connection.reads,
            errors=self._errors(),
            key=self._key(key),
            address=self.address(key),
            range_bytes=self._range_bytes,
            slots=connection.range_slots,
            num_at_once=NUM_AT_ONCE,
        )
        for _ in range(1, NUM_FETCH_ATTEMPTS):
            try:
                download.to(path, sha256)
                return
            except (Damaged, PreconditionFailed):
                continue  # bytes changed on their way, or the object was replaced, by the same bytes, while we read
        download.to(path, sha256)

    def size(self, key: str) -> int:
        return self._head(key)["ContentLength"]

    def stat(self, key: str) -> Listed:
        found = self._head(key)
        return Listed(
            key=key, size=found["ContentLength"], stamp=found["ETag"], modified=found["LastModified"].timestamp()
        )

    def etag(self, key: str) -> str:
        return self._head(key)["ETag"]

    def walk(self, folder: str = "") -> Iterator[Listed]:
        for page in self._pages(folder):
            for item in page.get("Contents", []):
                key = item["Key"].removeprefix(self._root)
                if not _is_hidden(key):
                    yield Listed(
                        key=key,
                        size=item["Size"],
                        stamp=item.get("ETag", ""),
                        modified=item["LastModified"].timestamp(),
                    )

    def hidden(self, folder: str) -> list[str]:
        keys = [
            item["Key"] for page in self._pages(folder) for item in page.get("Contents", []) if not _is_folder(item)
        ]
        return sorted(key for key in (key.removeprefix(self._root) for key in keys) if _is_hidden(key))

    def folders(self, folder: str) -> list[str]:
        prefixes = [
            item["Prefix"] for page in self._pages(folder, Delimiter="/") for item in page.get("CommonPrefixes", [])
        ]
        names = [prefix.removeprefix(self._prefix(folder)).rstrip("/") for prefix in prefixes]
        return sorted(name for name in names if name and not name.startswith("."))

    def delete(self, key: str) -> None:
        with self._errors().translated(self.address(key)), suppress(NotFound):
            self._client().delete_object(Bucket=self._bucket, Key=self._key(key))

    def check_writable(self) -> None:
        client = connect_to_probe(self.uri, self._bucket)
        where: dict[str, Any] = {"Bucket": self._bucket, "Key": self._key(_PROBE)}
        errors = self._errors(client)
        try:
            # A server may make a bucket on the first write into it: a mistyped name must not become a bucket.
            # Refused (403, 400) proves nothing, and a HEAD has no body to say why: the write will tell.
            with suppress(AccessDenied, StoreRefused), errors.translated(self.uri):
                client.head_bucket(Bucket=self._bucket)
        except NotFound as error:
            raise errors.no_bucket() from error
        try:
            with errors.translated(self.address(_PROBE)):
                client.put_object(**where, Body=b"probe")
        except (NotFound, StoreRefused) as error:  # the right answer of another kind of server
            raise StoreUnavailable(f"the store {self.uri} cannot be used: {error}") from error
        # A store that may be written but not cleaned is still writable.
        with suppress(AccessDenied, StoreRefused), errors.translated(self.address(_PROBE)):
            client.delete_object(**where)

    def _head(self, key: str) -> HeadObjectOutputTypeDef:
        client = self._client()
        where: Any = {"Bucket": self._bucket, "Key": self._key(key)}
        try:
            with self._errors().translated(self.address(key)):
                return client.head_object(**where)
        except (AccessDenied, StoreRefused):
            # The refusal of a HEAD has no body to say whether it is a right, the clock or an expired token. A GET's
            # has, and what a GET that is not refused brings says all that a HEAD does.
            with self._errors().translated(self.address(key)):
                answer = client.get_object(**where)
            answer["Body"].close()
            return cast(Any, answer)

    def _pages(self, folder: str, **options: str) -> Iterator[dict[str, Any]]:
        with self._errors().translated(f"{self.uri}/{folder}"):
            yield from cast(Any, self._client().get_paginator("list_objects_v2")).paginate(
                Bucket=self._bucket,
                Prefix=self._prefix(folder),
                PaginationConfig={"PageSize": self._page_size},
                **options,
            )

    def _put_whole(self, key: str, body: bytes | Path, digest: str, condition: dict[str, Any]) -> str:
        if isinstance(body, bytes) and len(body) <= DIRECT_BYTES:
            return self._put_small(key, body, digest, condition)
        return self._put_by_boto3(key, body, digest, condition)

    def _put_small(self, key: str, body: bytes, digest: str, condition: dict[str, Any]) -> str:
        headers = {_CONDITION_HEADERS[name]: value for name, value in condition.items()}
        headers["x-amz-checksum-sha256"] = _base64(digest)
        direct = self._connected().direct
        with self._errors().translated(self.address(key)):
            status = direct.put(self._key(key), body, sha256=digest, headers=headers)
        if isinstance(status, str):
            return status
        if status == 412:
            raise PreconditionFailed(f"{self.address(key)} is not in the state that the write expects")
        etag = self._put_by_boto3(key, body, digest, condition)
        direct.learn(status)
        return etag

    def _put_by_boto3(self, key: str, body: bytes | Path, digest: str, condition: dict[str, Any]) -> str:
        with ExitStack() as stack:
            data = body if isinstance(body, bytes) else stack.enter_context(body.open("rb"))
            stack.enter_context(self._errors().translated(self.address(key)))
            answer = self._client().put_object(
                Bucket=self._bucket,
                Key=self._key(key),
                Body=data,
                # The server refuses what does not have it: a change on the way, or of the file since it was hashed.
                ChecksumSHA256=_base64(digest),
                **condition,
            )
        return answer["ETag"]

    def _put_parts(self, key: str, body: bytes | Path, digest: str, condition: dict[str, Any]) -> str:
        connection = self._connected()
        upload = Upload(
            client=connection.client,
            direct=connection.direct,
            errors=self._errors(),
            bucket=self._bucket,
            root=self._root,
            key=self._key(key),
            address=self.address(key),
            body=body,
            sha256=digest,
            part_bytes=self._part_bytes,
            slots=connection.part_slots,
            num_at_once=NUM_AT_ONCE,
        )
        return upload.send(condition)

    def _key(self, key: str) -> str:
        return self._root + check_key(key)

    def _prefix(self, folder: str) -> str:
        return f"{self._root}{check_key(folder)}/" if folder else self._root

    def _connected(self) -> Connection:
        # A child that was forked must not speak on its parent's sockets, nor wait for a lock a parent's thread held.
        if self._owner != os.getpid():
            self._owner, self._lock, self._connection = os.getpid(), threading.Lock(), None
        with self._lock:
            if self._connection is None:
                self._connection = connect(self.uri, self._bucket, read_timeout_s=self._read_timeout_s)
            return self._connection

    def _client(self) -> S3Client:
        return self._connected().client

    def _errors(self, client: S3Client | None = None) -> ErrorTranslator:
        endpoint = (client or self._client()).meta.endpoint_url
        return ErrorTranslator(uri=self.uri, bucket=self._bucket, endpoint=endpoint)


def _base64(digest: str) -> str:
    return base64.b64encode(bytes.fromhex(digest)).decode()


def _is_hidden(key: str) -> bool:
    """Whether it is none that a store can name."""
    return any(part == "" or part.startswith(".") for part in key.split("/"))


def _is_folder(item: Mapping[str, Any]) -> bool:
    """Consoles make empty objects that end in `/` to show a folder."""
    return bool(item["Key"].endswith("/") and not item["Size"])
