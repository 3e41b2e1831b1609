"""From a file into a bucket in parts, several at once; an interrupted upload continues with the parts it has."""

from __future__ import annotations

import base64
import hashlib
import threading
import zlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from components.core.store.backends.objects import chunks_of, size_of
from components.core.store.backends.s3.direct import UNSIGNED, Direct
from components.core.store.backends.s3.errors import ChangedOnTheWay, ErrorTranslator, UploadGone
from components.core.store.errors import Damaged, PreconditionFailed, StoreError, StoreRefused

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MAX_PARTS = 10_000
NUM_SEND_ATTEMPTS = 3  # of a part that was changed on its way; all else botocore retries
STALE_AFTER = timedelta(days=7)


@dataclass(frozen=True, kw_only=True)
class Upload:
    """One body, on its way to one key."""

    client: S3Client
    direct: Direct
    errors: ErrorTranslator
    bucket: str
    root: str  # the store's prefix in the bucket
    key: str  # in the bucket
    address: str  # for messages
    body: bytes | Path
    sha256: str
    part_bytes: int
    slots: threading.BoundedSemaphore  # how many parts are under way, and in memory, in the whole store
    num_at_once: int

    def send(self, condition: dict[str, Any]) -> str:
        """Atomic: completes the object under the condition and returns its etag.

        An error that may pass (the network, the server, a killed process) leaves the parts for the next call with the
        same bytes. Parts of other bytes are never touched, for another writer may be at work.
        """
        upload_id, kept = self._interrupted()
        try:
            return self._complete(upload_id or self._start(), kept, condition)
        except UploadGone:
            # Another writer of the same bytes went on with these parts and was first, or somebody cleaned up.
            return self._complete(self._start(), {}, condition)
        except StoreRefused:
            if not kept:
                raise
            # Begun by another program, with other checksums than ours.
            return self._complete(self._start(), {}, condition)

    def _start(self) -> str:
        with self.errors.translated(self.address):
            started = self.client.create_multipart_upload(Bucket=self.bucket, Key=self.key, ChecksumAlgorithm="CRC32")
        return started["UploadId"]

    def _complete(self, upload_id: str, kept: dict[int, dict[str, Any]], condition: dict[str, Any]) -> str:
        try:
            parts, actual = self._send_parts(upload_id, kept)
            if actual != self.sha256:
                raise Damaged(f"the source of {self.address} changed while it was sent")
            with self.errors.translated(self.address):
                answer = self.client.complete_multipart_upload(
                    **self._where(upload_id), MultipartUpload={"Parts": cast(Any, parts)}, **condition
                )
        except (Damaged, PreconditionFailed):
            self._abort(self.key, upload_id)
            raise
        return answer["ETag"]

    def _send_parts(self, upload_id: str, kept: dict[int, dict[str, Any]]) -> tuple[list[dict[str, Any]], str]:
        actual = hashlib.sha256()
        done: dict[int, dict[str, Any]] = dict(kept)
        sent: list[Future[dict[str, Any]]] = []
        with ThreadPoolExecutor(self.num_at_once, thread_name_prefix="store-part") as pool:
            for number, part in enumerate(_parts_of(self.body, self._part_bytes()), start=1):
                actual.update(part)
                if number in kept:
                    continue
                self.slots.acquire()
                if any(future.done() and future.exception() for future in sent):
                    self.slots.release()
                    break
                future = pool.submit(self._send_part, upload_id, number, part)
                future.add_done_callback(lambda _: self.slots.release())
                sent.append(future)
        done |= {part["PartNumber"]: part for part in (future.result() for future in sent)}
        return [done[number] for number in sorted(done)], actual.hexdigest()

    def _send_part(self, upload_id: str, number: int, part: bytes) -> dict[str, Any]:
        crc32 = _crc32(part)
        query = {"partNumber": str(number), "uploadId": upload_id}
        headers = {"x-amz-checksum-crc32": crc32}
        status = self.direct.put(self.key, part, sha256=UNSIGNED, headers=headers, query=query)
        if isinstance(status, str):
            return _part(number, {"ETag": status, "ChecksumCRC32": crc32})
        sent = self._send_part_by_boto3(upload_id, number, part)
        self.direct.learn(status)
        return sent

    def _send_part_by_boto3(self, upload_id: str, number: int, part: bytes) -> dict[str, Any]:
        for attempt in range(1, NUM_SEND_ATTEMPTS + 1):
            try:
                with self.errors.translated(self.address):
                    answer = self.client.upload_part(
                        **self._where(upload_id), PartNumber=number, Body=part, ChecksumAlgorithm="CRC32"
                    )
                return _part(number, cast(Any, answer))
            except ChangedOnTheWay:
                if attempt == NUM_SEND_ATTEMPTS:
                    raise
        raise AssertionError("unreachable")

    def _interrupted(self) -> tuple[str | None, dict[int, dict[str, Any]]]:
        """The newest unfinished upload of these very bytes, and its parts; aborts what is stale in the whole store."""
        # Going on is a saving. Who may not list uploads, or whose server cannot, begins again.
        with suppress(StoreError), self.errors.translated(self.address):
            pages = self.client.get_paginator("list_multipart_uploads").paginate(Bucket=self.bucket, Prefix=self.root)
            uploads = [upload for page in pages for upload in page.get("Uploads", [])]
            uploads.sort(key=lambda upload: upload["Initiated"], reverse=True)
            oldest = datetime.now(UTC) - STALE_AFTER
            for upload in uploads:
                if upload["Initiated"] < oldest:
                    self._abort(upload["Key"], upload["UploadId"])
                elif upload["Key"] == self.key and (kept := self._matching_parts(upload["UploadId"])):
                    return upload["UploadId"], kept
        return None, {}

    def _matching_parts(self, upload_id: str) -> dict[int, dict[str, Any]]:
        """The parts that arrived, if each has the size and the MD5 of ours; else none, for they are someone else's.

        Under SSE-KMS an ETag is no MD5: nothing matches, and the upload begins again.
        """
        matching: dict[int, dict[str, Any]] = {}
        for page in cast(Any, self.client.get_paginator("list_parts")).paginate(**self._where(upload_id)):
            for part in page.get("Parts", []):
                number = part["PartNumber"]
                ours = _part_of(self.body, number, self._part_bytes())
                if part["Size"] != len(ours) or part["ETag"].strip('"') != _md5(ours):
                    return {}
                # Not every server lists a part's checksum, but to complete an upload every part's is needed.
                matching[number] = _part(number, {"ChecksumCRC32": _crc32(ours), **part})
        return matching

    def _abort(self, key: str, upload_id: str) -> None:
        with suppress(StoreError), self.errors.translated(self.address):
            self.client.abort_multipart_upload(Bucket=self.bucket, Key=key, UploadId=upload_id)

    def _where(self, upload_id: str) -> dict[str, Any]:
        return {"Bucket": self.bucket, "Key": self.key, "UploadId": upload_id}

    def _part_bytes(self) -> int:
        return max(self.part_bytes, -(-size_of(self.body) // MAX_PARTS))


def _part(number: int, answer: dict[str, Any]) -> dict[str, Any]:
    checksum = {"ChecksumCRC32": answer["ChecksumCRC32"]} if "ChecksumCRC32" in answer else {}
    return {"PartNumber": number, "ETag": answer["ETag"], **checksum}


def _parts_of(body: bytes | Path, part_bytes: int) -> Iterator[bytes]:
    if isinstance(body, bytes):
        for start in range(0, len(body), part_bytes):
            yield body[start : start + part_bytes]
    else:
        with body.open("rb") as file:
            yield from chunks_of(file, part_bytes)


def _part_of(body: bytes | Path, number: int, part_bytes: int) -> bytes:
    start = (number - 1) * part_bytes
    if isinstance(body, bytes):
        return body[start : start + part_bytes]
    with body.open("rb") as file:
        file.seek(start)
        return file.read(part_bytes)


def _crc32(data: bytes) -> str:
    return base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()
