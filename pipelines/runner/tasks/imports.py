"""Artifacts from outside a run: files of this machine, which stay where they are, and objects in a bucket, which come.

A component must find its input under `artifact.path`, as behind KFP's launcher. So what lies in a bucket is downloaded
into the run's folder, whole, before the artifact is handed on; what lies on this machine is used in place.
"""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from components.core.errors import UserError
from components.core.results.payload import content_digest, payload_at
from components.core.store import NotFound, StoreError, open_objects
from components.core.store.backends.objects import Listed, Objects
from components.core.store.concurrency import run_all
from pipelines.runner.tasks.cloud_storage import CloudStorageObjects

KNOWN_SOURCES = "a path, file:///path, s3://bucket/key or gs://bucket/key"


class ImportStopped(Exception):  # noqa: N818  (it is how a download ended)
    """The run was stopped while objects were downloaded."""


@dataclass(frozen=True, kw_only=True)
class Remote:
    """Objects in a bucket: one, whose key is then its name, or all under a prefix, with keys relative to it."""

    uri: str
    objects: Objects | CloudStorageObjects
    files: tuple[Listed, ...]
    is_folder: bool

    def facts(self) -> list[list[Any]]:
        """Facts that change when an object does: equal facts, equal bytes."""
        return [[file.key, file.size, file.stamp] for file in self.files]


def is_in_bucket(uri: str) -> bool:
    """Whether the URI names objects that have to be downloaded."""
    return uri.startswith(("s3://", "gs://"))


def import_local(uri: str, artifact: Mapping[str, Any]) -> dict[str, Any]:
    """The artifact with the bytes at a path of this machine, and the digest of what lies there now.

    Raises:
        UserError: nothing is there, it cannot be read, or the URI has a scheme that is not known here.
    """
    path = local_source(uri)
    try:
        payload = payload_at(path)
        if payload.kind == "none":
            raise UserError(f"there is no file or folder {path}")
        found = {**artifact, "uri": str(path)}
        return {**found, "content": content_digest(found, payload)}
    except OSError as error:
        raise UserError(f"{error.filename or path} cannot be read: {error.strerror}") from None


def local_source(uri: str) -> Path:
    """The path of this machine that a URI names. `UserError`: it is empty, or of another scheme."""
    if not uri.strip():
        raise UserError(f"the URI is empty; it must be {KNOWN_SOURCES}")
    scheme, separator, rest = uri.partition("://")
    if not separator:
        try:
            return Path(uri).expanduser().absolute()
        except RuntimeError:  # ~nobody
            raise UserError(f"{uri!r} names an unknown home folder; it must be {KNOWN_SOURCES}") from None
    host, slash, path = rest.partition("/")
    if scheme != "file":
        raise UserError(f"{uri!r} cannot be fetched by the local runner; it takes {KNOWN_SOURCES}")
    if host not in ("", "localhost") or not slash:
        raise UserError(f"{uri!r} is not a file URI of this machine; it needs three slashes: file:///path")
    return Path("/" + unquote(path))


def find_remote(uri: str) -> Remote:
    """The objects under an s3:// or gs:// URI: the object of this key, else the objects under this prefix.

    Raises:
        UserError: nothing is there, or the bucket does not answer or refuses.
    """
    try:
        scheme, _, place = uri.partition("://")
        bucket, _, key = place.partition("/")
        parent, _, name = key.rpartition("/")
        if name:
            objects = _open(f"{scheme}://{bucket}/{parent}")
            try:
                return Remote(uri=uri, objects=objects, files=(objects.stat(name),), is_folder=False)
            except NotFound:
                pass  # then it is a prefix, or nothing
        objects = _open(uri)
        files = tuple(sorted(objects.walk(), key=lambda file: file.key))
    except StoreError as error:
        raise UserError(str(error)) from None
    if not files:
        raise UserError(f"there is no object {uri}, and none below it")
    return Remote(uri=uri, objects=objects, files=files, is_folder=True)


def _open(uri: str) -> Objects | CloudStorageObjects:
    return CloudStorageObjects(uri) if uri.startswith("gs://") else open_objects(uri)


def download(
    remote: Remote, artifact: Mapping[str, Any], place: Path, is_stopped: Callable[[], bool] = lambda: False
) -> dict[str, Any]:
    """The artifact with the objects' bytes at `place`. What lay there before is replaced.

    Raises:
        UserError: an object is gone or changed meanwhile, the bucket does not answer, or the disk takes no more.
        ImportStopped: `is_stopped` said so between two chunks.
    """
    try:
        _clear(place)
        run_all(lambda file: _fetch(remote, file, place, is_stopped), remote.files)
    except StoreError as error:
        raise UserError(str(error)) from None
    except OSError as error:
        raise UserError(f"cannot bring {remote.uri} to {place}: {error.strerror}") from None
    return import_local(str(place), artifact)


def _fetch(remote: Remote, file: Listed, place: Path, is_stopped: Callable[[], bool]) -> None:
    path = place / file.key if remote.is_folder else place
    path.parent.mkdir(parents=True, exist_ok=True)
    size = 0
    with path.open("wb") as out:
        for chunk in remote.objects.stream(file.key):
            if is_stopped():
                raise ImportStopped
            size += out.write(chunk)
    if size != file.size:
        raise StoreError(f"{remote.objects.address(file.key)} changed while it was read")


def _clear(place: Path) -> None:
    if place.is_dir():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)
