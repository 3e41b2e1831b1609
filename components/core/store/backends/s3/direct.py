"""Transfers from and to S3 without boto3's layers, which take more time than a small object does on its way.

Signed by botocore, with boto3's credentials, region, endpoint and certificates; sent over connections of its own. It
does one thing, the answer that nearly always comes. Whatever else happens is told by a status, for boto3 to be asked,
which retries, follows a bucket to its region, passes proxies, and has the errors' names.
"""

from __future__ import annotations

import os
import ssl
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import botocore.session
import certifi
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.exceptions import BotoCoreError
from botocore.utils import get_environ_proxies, percent_encode

from components.core.store.backends.s3.http import Answer, BadAnswerError, HttpConnection, Server

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

NO_ANSWER = 0
UNSIGNED = "UNSIGNED-PAYLOAD"
_NO_BYTES = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"  # their sha256
_OTHERS_WANTED = (301, 307, 400)  # another region, or signature


@dataclass(frozen=True, kw_only=True)
class Body:
    """An answer of which no byte has been read.

    `readinto(buffer)` brings up to its length of bytes, and none at the end or when it broke.
    """

    etag: str
    num_bytes: int  # of this answer, which may be a range
    size: int  # of the object, in bytes
    readinto: Callable[[memoryview], int]
    close: Callable[[], None]


def size_of_object(num_bytes: int | None, content_range: str | None) -> int | None:
    """Bytes of the object that an answer is of, or of which it is a range; None if the answer does not say it."""
    if content_range is None:
        return num_bytes
    size = content_range.rpartition("/")[2]
    return int(size) if size.isdecimal() else None


class Direct:
    """GETs and PUTs of a bucket's objects. Safe to use from many threads, which share the open connections."""

    def __init__(self, *, session: botocore.session.Session, client: S3Client, bucket: str, config: Config) -> None:
        self._session = session
        self._client = client
        self._bucket = bucket
        self._limits = cast(Any, config)  # botocore's attributes, which its stubs do not know
        self._idle: deque[HttpConnection] = deque(maxlen=self._limits.max_pool_connections)
        self._bucket_is_at: _Where | None = None
        self._is_understood = not get_environ_proxies(client.meta.endpoint_url)
        self._certificates = session.get_config_variable("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE")
        self._context: ssl.SSLContext | None = None

    def get(self, key: str, headers: Mapping[str, str]) -> Body | int:
        """The answer, or the status of one that does not bring the bytes. A server may answer a range with all."""
        sent = self._send("GET", key, headers)
        if isinstance(sent, int):
            return sent
        connection, answer = sent
        etag, size = answer.headers.get("etag"), size_of_object(answer.num_bytes, answer.headers.get("content-range"))
        if answer.status not in (200, 206) or not etag or answer.num_bytes is None or size is None:
            connection.close()
            return answer.status
        return Body(
            etag=etag, num_bytes=answer.num_bytes, size=size, readinto=answer.readinto,
            close=lambda: self._release(connection, answer),
        )  # fmt: skip

    def put(
        self, key: str, data: bytes, *, sha256: str, headers: Mapping[str, str], query: Mapping[str, str] | None = None
    ) -> str | int:
        """The etag of what was written, or the status of an answer that does not say so; it may be written still.

        Args:
            sha256: of the data, in hex; or `UNSIGNED`, when a header has a checksum, for all headers are signed.
        """
        sent = self._send("PUT", key, headers, data, sha256, query or {})
        if isinstance(sent, int):
            return sent
        connection, answer = sent
        self._release(connection, answer)
        return answer.headers.get("etag") or NO_ANSWER if answer.status == 200 else answer.status

    def learn(self, status: int) -> None:
        """boto3 did what was refused to us. Who wants another region or signature wants it every time."""
        self._is_understood = self._is_understood and status not in _OTHERS_WANTED

    def _send(
        self,
        method: str,
        key: str,
        headers: Mapping[str, str],
        data: bytes = b"",
        sha256: str = _NO_BYTES,
        query: Mapping[str, str] = MappingProxyType({}),
    ) -> tuple[HttpConnection, Answer] | int:
        if not self._is_understood:
            return NO_ANSWER
        connection: HttpConnection | None = None
        try:
            credentials = self._session.get_credentials()
            if credentials is None:
                return NO_ANSWER
            where = self._where()
            path = where.path + percent_encode(key, safe="/~")
            if query:
                path += "?" + "&".join(f"{name}={percent_encode(value)}" for name, value in query.items())
            named = {**headers, "Host": where.host, "User-Agent": "trimtab"}
            if method == "PUT":
                named["Content-Length"] = str(len(data))
            request = AWSRequest(method, where.origin + path, headers=named)
            signer = _Signer(credentials.get_frozen_credentials(), "s3", self._client.meta.region_name)
            signer.sha256 = sha256
            signer.add_auth(request)
            connection = self._connection()
            signed = {**dict(request.headers.items()), "Accept-Encoding": "identity"}
            return connection, connection.ask(method, path, signed, data)
        except (BotoCoreError, BadAnswerError, OSError):
            if connection is not None:
                connection.close()
            return NO_ANSWER

    def _connection(self) -> HttpConnection:
        try:
            return self._idle.pop()
        except IndexError:
            return HttpConnection(self._server())

    def _release(self, connection: HttpConnection, answer: Answer) -> None:
        if not answer.left and not answer.is_last and len(self._idle) < (self._idle.maxlen or 0):
            self._idle.append(connection)
        else:
            connection.close()

    def _server(self) -> Server:
        where = self._where()
        if where.is_secure and self._context is None:
            self._context = ssl.create_default_context(cafile=self._certificates or certifi.where())
        return Server(
            host=where.host_name, port=where.port, tls=self._context,
            connect_timeout=self._limits.connect_timeout, read_timeout=self._limits.read_timeout,
        )  # fmt: skip

    def _where(self) -> _Where:
        if self._bucket_is_at is None:
            # The one public place where botocore says where a bucket is: by path, by host name, at an access point.
            url = self._client.generate_presigned_url("get_object", Params={"Bucket": self._bucket, "Key": "key"})
            parts = urlsplit(url)
            self._bucket_is_at = _Where(
                is_secure=parts.scheme == "https",
                host_name=parts.hostname or "",
                port=parts.port or (443 if parts.scheme == "https" else 80),
                host=parts.netloc.rpartition("@")[2].removesuffix(":443" if parts.scheme == "https" else ":80"),
                path=parts.path.removesuffix("key"),
            )
        return self._bucket_is_at


@dataclass(frozen=True, kw_only=True)
class _Where:
    """Where a bucket is: all that an object's URL has before its key."""

    is_secure: bool
    host_name: str
    port: int
    host: str  # as signed: without a port that goes without saying
    path: str

    @property
    def origin(self) -> str:
        return f"{'https' if self.is_secure else 'http'}://{self.host}"


class _Signer(S3SigV4Auth):
    """Signs a body by a digest that is known already, or not at all."""

    sha256 = _NO_BYTES

    def payload(self, request: AWSRequest) -> str:
        return self.sha256
