"""One process's connection to a bucket."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3.session
import botocore.session
from botocore.config import Config
from botocore.model import OperationModel
from botocore.utils import determine_content_length

from components.core.store.backends.s3.direct import Direct
from components.core.store.backends.s3.errors import ErrorTranslator
from components.core.store.backends.s3.reads import Reads
from components.core.store.errors import StoreUnavailable

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

NUM_AT_ONCE = 8  # parts of uploads, and ranges of downloads, under way in one process for one store
SMALL_BYTES = 1 << 20
# A question whose answer a person waits for.
_PROBE_CONFIG = Config(retries={"mode": "standard", "total_max_attempts": 1}, connect_timeout=1, read_timeout=2)


@dataclass(frozen=True, kw_only=True)
class Connection:
    """Clients of the server, and limits on concurrent transfers. Safe to use from many threads."""

    client: S3Client
    direct: Direct
    reads: Reads
    part_slots: threading.BoundedSemaphore
    range_slots: threading.BoundedSemaphore


def connect(uri: str, bucket: str, *, read_timeout_s: float) -> Connection:
    """Nothing is contacted yet. Credentials, region, endpoint, certificates and proxies come from boto3's chain."""
    config = Config(
        # Standard mode: exponential backoff with jitter, at most 20 s, on throttling, 5xx and broken connections.
        retries={"mode": "standard", "total_max_attempts": 5},
        connect_timeout=5,
        read_timeout=read_timeout_s,
        max_pool_connections=32,  # 16 small transfers and the parts of large ones
        tcp_keepalive=True,
        # Every body that is written has a checksum, in a header that is signed; hashing it once more for a signature of
        # its own, as boto3 does where there is no TLS, costs a large upload a tenth of its time.
        s3={"payload_signing_enabled": False},
    )
    session = botocore.session.Session()
    client = _client(uri, bucket, session, config)
    direct = Direct(session=session, client=client, bucket=bucket, config=config)
    return Connection(
        client=client,
        direct=direct,
        reads=Reads(direct=direct, client=client, bucket=bucket),
        part_slots=threading.BoundedSemaphore(NUM_AT_ONCE),
        range_slots=threading.BoundedSemaphore(NUM_AT_ONCE),
    )


def connect_to_probe(uri: str, bucket: str) -> S3Client:
    """A client that asks once and soon gives up."""
    return _client(uri, bucket, botocore.session.Session(), _PROBE_CONFIG)


def _client(uri: str, bucket: str, session: botocore.session.Session, config: Config) -> S3Client:
    # A session of our own: boto3's default one is shared, and not safe to use from many threads.
    with ErrorTranslator(uri=uri, bucket=bucket, endpoint="S3").translated(uri):
        try:
            client = boto3.session.Session(botocore_session=session).client("s3", config=config)
        except ValueError as error:
            raise StoreUnavailable(
                f"the store {uri} cannot be used: AWS_ENDPOINT_URL is not a URL like https://host:port"
            ) from error
    client.meta.events.register_last("before-call.s3", _send_unasked)
    for operation in ("ListObjectsV2", "CreateMultipartUpload", "CompleteMultipartUpload"):
        client.meta.events.register(f"before-parse.s3.{operation}", _refuse_an_empty_answer)
    return client


def _send_unasked(model: OperationModel, params: dict[str, Any], **_: Any) -> None:
    """Takes `Expect: 100-continue` from what is small or cannot be refused: the question costs more than the bytes."""
    body = params.get("body")
    is_small = hasattr(body, "read") and (determine_content_length(body) or 0) <= SMALL_BYTES
    if is_small or model.name == "UploadPart":
        params["headers"].pop("Expect", None)


def _refuse_an_empty_answer(response_dict: dict[str, Any], **_: Any) -> None:
    """Makes an empty success an error that is retried.

    A connection that closes after the headers gives one, and botocore would read it as a listing without objects.
    """
    if response_dict["status_code"] == 200 and not response_dict["body"]:
        response_dict["status_code"] = 500
