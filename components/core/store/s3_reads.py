"""GETs of S3 objects whose bytes the caller verifies, at half the CPU time of boto3's."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import botocore.session
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.exceptions import BotoCoreError
from botocore.httpsession import URLLib3Session
from botocore.utils import get_environ_proxies, percent_encode
from urllib3.exceptions import HTTPError

from components.core.store.errors import StoreRefused

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# What breaks a body that is being read. Caught around the read alone, so that an OSError is the network's.
BROKEN = (BotoCoreError, HTTPError, OSError)


@dataclass(frozen=True, kw_only=True)
class Body:
    """An answer of which no byte has been read. `read(n)` gives up to n bytes, and none at the end or when it broke."""

    etag: str
    num_bytes: int  # of this answer, which may be a range
    read: Callable[[int], bytes]
    close: Callable[[], None]


class Reads:
    """Opens objects for reading.

    A request is signed by botocore and sent by botocore's HTTP session, with its credentials, certificates and proxies,
    but without the layers between, which cost more than a small object's transfer. Whatever is not answered with the
    bytes goes once more through boto3, which retries, follows a bucket to its region and has the errors' names.
    """

    def __init__(self, *, session: botocore.session.Session, client: S3Client, bucket: str, config: Config) -> None:
        self._session = session
        self._client = client
        self._bucket = bucket
        endpoint = client.meta.endpoint_url
        limits = cast(Any, config)  # botocore's attributes, which its stubs do not know
        self._http = cast(Any, URLLib3Session)(
            verify=session.get_config_variable("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE", True),
            proxies=get_environ_proxies(endpoint),
            timeout=(limits.connect_timeout, limits.read_timeout),
            max_pool_connections=limits.max_pool_connections,
        )
        self._base = ""
        self._is_understood = True

    def open(self, key: str, *, start: int = 0, stop: int | None = None, etag: str | None = None) -> Body:
        """Bytes `start` to `stop` (None: to the end) of the object, if it still has the etag.

        Raises botocore's errors, and `StoreRefused` if the server does not know ranges.
        """
        wanted = {"Range": f"bytes={start}-{'' if stop is None else stop - 1}"} if start or stop is not None else {}
        status = 0
        if self._is_understood:
            direct = self._open_directly(key, {**wanted, **({"If-Match": etag} if etag else {})})
            if isinstance(direct, Body):
                return direct
            status = direct
        body = self._open_by_boto3(key, {**wanted, **({"IfMatch": etag} if etag else {})})
        # Refused to us and answered to boto3: a bucket that wants another region or signature wants it every time.
        self._is_understood = self._is_understood and status not in (301, 307, 400)
        return body

    def _open_directly(self, key: str, headers: dict[str, str]) -> Body | int:
        """The answer, or the status of one that does not bring the bytes (0: none at all)."""
        try:
            credentials = self._session.get_credentials()
            if credentials is None:
                return 0
            request = AWSRequest(
                "GET", self._url(key), headers={**headers, "User-Agent": "trimtab"}, stream_output=True
            )
            S3SigV4Auth(credentials.get_frozen_credentials(), "s3", self._client.meta.region_name).add_auth(request)
            answer = self._http.send(request.prepare())
        except BotoCoreError:
            return 0
        names_its_state = "ETag" in answer.headers and "Content-Length" in answer.headers
        if answer.status_code != (206 if "Range" in headers else 200) or not names_its_state:
            answer.raw.close()
            return answer.status_code
        num_bytes = int(answer.headers["Content-Length"])
        return Body(etag=answer.headers["ETag"], num_bytes=num_bytes, read=answer.raw.read, close=answer.raw.close)

    def _open_by_boto3(self, key: str, wanted: dict[str, str]) -> Body:
        answer = cast(Any, self._client).get_object(Bucket=self._bucket, Key=key, **wanted)
        body = answer["Body"]
        if "Range" in wanted and "ContentRange" not in answer:
            body.close()
            raise StoreRefused(f"{self._client.meta.endpoint_url} does not answer requests for a part of an object")
        return Body(etag=answer["ETag"], num_bytes=answer["ContentLength"], read=body.read, close=body.close)

    def _url(self, key: str) -> str:
        if not self._base:
            # The one public place where botocore says where a bucket is: by path, by host name, at an access point.
            url = self._client.generate_presigned_url("get_object", Params={"Bucket": self._bucket, "Key": "key"})
            self._base = url.partition("?")[0].removesuffix("key")
        return self._base + percent_encode(key, safe="/~")
