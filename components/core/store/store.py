"""The store as the rest of trimtab sees it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from components.core.errors import UserError
from components.core.store.backends.layered_objects import LayeredObjects
from components.core.store.backends.local_objects import LocalObjects
from components.core.store.backends.objects import Objects
from components.core.store.contents.blobs import Blobs
from components.core.store.contents.champions import Champions
from components.core.store.contents.checkpoints import Checkpoints
from components.core.store.contents.journal import Journal
from components.core.store.contents.refs import Refs
from components.core.store.contents.releases import Releases
from components.core.store.contents.results import Results
from components.core.store.names import check_key

ENVIRONMENT_VARIABLE = "TRIMTAB_STORE"
DEFAULT_FOLDER = "trimtab-out/store"
CHANGES_VARIABLE = "TRIMTAB_STORE_CHANGES"
"""Set by the runner for a task in a container, which may read the store and write to this folder only."""

_USAGE = "name a folder, file:///folder or s3://bucket/prefix"
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


class Store:
    """All that is in a store, over one `Objects`. Safe to use from many threads."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self.uri = objects.uri
        self.blobs = Blobs(objects)
        self.results = Results(objects)
        self.checkpoints = Checkpoints(objects)
        self.releases = Releases(objects)
        self.refs = Refs(objects)
        self.champions = Champions(objects)
        self.journal = Journal(objects)

    def check_writable(self) -> None:
        """Writes and removes a probe object. `StoreUnavailable`, in one line and within 3 seconds, if it cannot."""
        self._objects.check_writable()

    def __repr__(self) -> str:
        return f"Store({self.uri!r})"


def open_store(uri: str) -> Store:
    """The store at `uri`. Nothing is contacted or created yet; `Store.check_writable` does that.

    Args:
        uri: a folder (`/abs/dir`, `relative/dir`, `file:///dir`) or `s3://bucket/prefix`. Credentials, region and a
            custom endpoint come from boto3's own chain (`AWS_ENDPOINT_URL`, `AWS_PROFILE`, a pod's identity, ...).

    Raises:
        UserError: another scheme, no bucket, or credentials inside the URI.
    """
    return Store(open_objects(uri))


def open_objects(uri: str) -> Objects:
    """The plain objects at `uri`, without a store's layout: for reading a data set that someone else put there."""
    scheme, separator, rest = uri.partition("://")
    if not uri.strip():
        raise UserError(f"the store's URI is empty; {_USAGE}")
    if not separator:
        return LocalObjects(_absolute(uri))
    if scheme == "file":
        parts = urlsplit(uri)
        if parts.netloc not in ("", "localhost") or not parts.path:
            raise UserError(f"a file URI has three slashes and an absolute path, file:///folder; {_USAGE}")
        return LocalObjects(_absolute(unquote(parts.path)))
    if scheme == "s3":
        return _open_s3(rest)
    raise UserError(f"unknown store scheme {scheme[:20]!a}; {_USAGE}")


def store_from_environment() -> Store:
    """The store at `$TRIMTAB_STORE`, else in `trimtab-out/store` under the current folder.

    What is written goes to the folder `$TRIMTAB_STORE_CHANGES` if that is set (`LayeredObjects`).
    """
    uri, changes = os.environ.get(ENVIRONMENT_VARIABLE) or DEFAULT_FOLDER, os.environ.get(CHANGES_VARIABLE)
    if not changes:
        return open_store(uri)
    return Store(LayeredObjects(LocalObjects(_absolute(uri)), LocalObjects(_absolute(changes))))


def _absolute(path: str) -> Path:
    # Made absolute now: a later change of the current folder must not move the store.
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError as error:  # ~nobody
        raise UserError(f"the store {path!a} names an unknown home folder; {_USAGE}") from error


def _open_s3(rest: str) -> Objects:
    if "@" in rest or "?" in rest or "#" in rest:
        # Not repeated in the message: it may be a secret.
        raise UserError(
            "an s3:// URI holds a bucket and a prefix only (no @, ?, #); credentials come from the environment"
        )
    bucket, _, prefix = rest.partition("/")
    if not _BUCKET.fullmatch(bucket):
        raise UserError(
            f"{bucket[:70]!a} is not a bucket name: 3 to 63 lower-case letters, digits, dots and hyphens; {_USAGE}"
        )
    prefix = prefix.rstrip("/")
    if prefix:
        check_key(prefix)

    # boto3 takes a third of a second and is needed for this scheme only.
    from components.core.store.backends.s3.objects import S3Objects

    return S3Objects(bucket=bucket, prefix=prefix)
