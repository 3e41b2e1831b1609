"""Objects of Google Cloud Storage, for importers of `gs://`: read only, through google-cloud-storage.

Credentials are Google's application default credentials, as on a cluster; without any, requests are anonymous, which is
enough for public buckets.
"""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from components.core.store import AccessDenied, NotFound, StoreError, StoreUnavailable
from components.core.store.backends.objects import Listed

_SLICE_BYTES = 8 << 20
_SECONDS = (5.0, 60.0)  # to connect, and between two answers
_RETRY_SECONDS = 30.0
_CREDENTIALS = "credentials: gcloud auth application-default login, or GOOGLE_APPLICATION_CREDENTIALS"


class CloudStorageObjects:
    """The objects under a `gs://` URI, by keys relative to it."""

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/")
        bucket, _, prefix = self.uri.removeprefix("gs://").partition("/")
        if not bucket:
            raise StoreUnavailable(f"{uri!r} names no bucket: it must be gs://bucket/key")
        self._root = f"{prefix}/" if prefix else ""
        # Imported here: it takes a second, and only importers of gs:// need it.
        from google.cloud.storage.retry import DEFAULT_RETRY

        self._bucket = _client().bucket(bucket)
        self._how: dict[str, Any] = {"timeout": _SECONDS, "retry": DEFAULT_RETRY.with_timeout(_RETRY_SECONDS)}

    def address(self, key: str) -> str:
        """The URI of an object."""
        return f"{self.uri}/{key}"

    def stat(self, key: str) -> Listed:
        """Size and times of the object. `NotFound`."""
        with _translated(self.address(key)):
            return self._listed(self._blob(key))

    def walk(self) -> Iterator[Listed]:
        """Every object below the URI, but for hidden ones and the empty ones that stand for folders."""
        with _translated(self.uri):
            for blob in self._bucket.client.list_blobs(self._bucket, prefix=self._root, **self._how):
                listed = self._listed(blob)
                if not any(part == "" or part.startswith(".") for part in listed.key.split("/")):
                    yield listed

    def stream(self, key: str) -> Iterator[bytes]:
        """The object in chunks, all of one state of it. `NotFound`; `StoreError` if they are not what was stored."""
        import google_crc32c

        with _translated(self.address(key)):
            blob, found = self._blob(key), google_crc32c.Checksum()
            for start in range(0, blob.size, _SLICE_BYTES):
                chunk = blob.download_as_bytes(
                    start=start, end=min(start + _SLICE_BYTES, blob.size) - 1, checksum=None, raw_download=True,
                    if_generation_match=blob.generation, **self._how,
                )  # fmt: skip
                found.update(chunk)
                yield chunk
        if blob.crc32c and base64.b64encode(found.digest()).decode() != blob.crc32c:
            raise StoreError(f"{self.address(key)} was received with bytes that do not match its checksum (crc32c)")

    def _blob(self, key: str) -> Any:
        blob = self._bucket.get_blob(f"{self._root}{key}", **self._how)
        if blob is None:
            raise NotFound(f"there is no object {self.address(key)}")
        return blob

    def _listed(self, blob: Any) -> Listed:
        return Listed(
            key=blob.name.removeprefix(self._root), size=blob.size, stamp=str(blob.generation),
            modified=blob.updated.timestamp(),
        )  # fmt: skip


def _client() -> Any:
    from google.auth.exceptions import DefaultCredentialsError
    from google.cloud import storage

    try:
        return storage.Client()
    except (DefaultCredentialsError, OSError):  # no credentials; or none that name a project, which reading needs not
        return storage.Client.create_anonymous_client()


@contextmanager
def _translated(address: str) -> Iterator[None]:
    """Google's errors as the store's."""
    from google.api_core import exceptions
    from google.auth.exceptions import GoogleAuthError
    from requests.exceptions import RequestException

    try:
        yield
    except exceptions.NotFound:
        raise NotFound(f"there is no object {address}, or no such bucket") from None
    except exceptions.PreconditionFailed:
        raise StoreError(f"{address} changed while it was read") from None
    except (exceptions.Forbidden, exceptions.Unauthorized, GoogleAuthError):
        raise AccessDenied(f"{address} was refused; {_CREDENTIALS}") from None
    except (exceptions.GoogleAPIError, RequestException) as error:
        said = " ".join(str(error).split())[:200]
        raise StoreUnavailable(f"{address} cannot be read: {type(error).__name__}: {said}") from None
