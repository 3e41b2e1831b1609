"""GETs of S3 objects whose bytes the caller verifies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from components.core.store.backends.s3.direct import Body, Direct, size_of_object
from components.core.store.backends.s3.errors import without_userinfo
from components.core.store.errors import StoreRefused

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# What breaks a body that is being read. Caught around the read alone, so that an OSError is the network's.
BROKEN = (BotoCoreError, HTTPError, OSError)


class Reads:
    """Opens objects for reading: directly, or by boto3 when that brings no bytes."""

    def __init__(self, *, direct: Direct, client: S3Client, bucket: str) -> None:
        self._direct = direct
        self._client = client
        self._bucket = bucket

    def open(self, key: str, *, start: int, stop: int, etag: str | None = None) -> Body:
        """Bytes `start` to `stop`, or to the end if that comes first, of the object, if it still has the etag.

        From the start, a server that does not know ranges brings all. Raises botocore's errors, and `StoreRefused` if
        it is such a server and the start another.
        """
        wanted = {"Range": f"bytes={start}-{stop - 1}"}
        body = self._direct.get(key, {**wanted, **({"If-Match": etag} if etag else {})})
        if not isinstance(body, Body):
            status, body = body, self._open_by_boto3(key, {**wanted, **({"IfMatch": etag} if etag else {})}, start)
            self._direct.learn(status)
        if start and body.num_bytes == body.size:
            body.close()
            at = without_userinfo(self._client.meta.endpoint_url)
            raise StoreRefused(f"{at} does not support requests for a range of an object")
        return body

    def _open_by_boto3(self, key: str, wanted: dict[str, str], start: int) -> Body:
        where = {"Bucket": self._bucket, "Key": key}
        try:
            answer = cast(Any, self._client).get_object(**where, **wanted)
        except ClientError as error:
            if start or error.response.get("Error", {}).get("Code") != "InvalidRange":
                raise
            answer = cast(Any, self._client).get_object(**where)  # an empty object has no first byte to begin at
        body, num_bytes = answer["Body"], answer.get("ContentLength")
        size = size_of_object(num_bytes, answer.get("ContentRange"))
        if size is None or num_bytes is None:
            body.close()
            at = without_userinfo(self._client.meta.endpoint_url)
            raise StoreRefused(f"{at} does not say how many bytes it sends")

        def readinto(buffer: memoryview) -> int:
            data = body.read(len(buffer))
            buffer[: len(data)] = data
            return len(data)

        return Body(etag=answer["ETag"], num_bytes=num_bytes, size=size, readinto=readinto, close=body.close)
