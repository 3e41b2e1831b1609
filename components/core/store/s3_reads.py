"""GETs of S3 objects whose bytes the caller verifies."""

from __future__ import annotations

from http.client import HTTPException
from typing import TYPE_CHECKING, Any, cast

from botocore.exceptions import BotoCoreError
from urllib3.exceptions import HTTPError

from components.core.store.errors import StoreRefused
from components.core.store.s3_direct import Body, Direct

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# What breaks a body that is being read. Caught around the read alone, so that an OSError is the network's.
BROKEN = (BotoCoreError, HTTPError, HTTPException, OSError)


class Reads:
    """Opens objects for reading: directly, or by boto3 when that brings no bytes."""

    def __init__(self, *, direct: Direct, client: S3Client, bucket: str) -> None:
        self._direct = direct
        self._client = client
        self._bucket = bucket

    def open(self, key: str, *, start: int = 0, stop: int | None = None, etag: str | None = None) -> Body:
        """Bytes `start` to `stop` (None: to the end) of the object, if it still has the etag.

        Raises botocore's errors, and `StoreRefused` if the server does not know ranges.
        """
        wanted = {"Range": f"bytes={start}-{'' if stop is None else stop - 1}"} if start or stop is not None else {}
        body = self._direct.get(key, {**wanted, **({"If-Match": etag} if etag else {})})
        if isinstance(body, Body):
            return body
        status, body = body, self._open_by_boto3(key, {**wanted, **({"IfMatch": etag} if etag else {})})
        self._direct.learn(status)
        return body

    def _open_by_boto3(self, key: str, wanted: dict[str, str]) -> Body:
        answer = cast(Any, self._client).get_object(Bucket=self._bucket, Key=key, **wanted)
        body = answer["Body"]
        if "Range" in wanted and "ContentRange" not in answer:
            body.close()
            raise StoreRefused(f"{self._client.meta.endpoint_url} does not answer requests for a part of an object")

        def readinto(buffer: memoryview) -> int:
            data = body.read(len(buffer))
            buffer[: len(data)] = data
            return len(data)

        return Body(etag=answer["ETag"], num_bytes=answer["ContentLength"], readinto=readinto, close=body.close)
