"""Artifacts on disk: what they contain, by digest, and how their bytes get into and out of the store.

A runtime artifact is a dict: `type`, `name`, `uri`, `metadata` as KFP hands it to a component, and `content`: the
sha256 of everything a consumer can see of it (type, metadata, bytes), never its place.
"""

import errno
import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from components.core.json_documents import parse_json
from components.core.store import Store, StoreError
from components.core.store.concurrency import run_all
from components.core.store.contents.listings import read_listing

MANIFEST_NAME = "manifest.json"

# KFP's backend adds them to what a component wrote: how the page calls it, and where its bytes were put.
_NOT_CONTENT = ("display_name", "store_session_info")

# At the very beginning: `/folder/x://y` is a path of this machine.
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")

_MOST_WAYS = 16
"""By which links may lead to one folder of an artifact."""

_MOST_DEPTH = 100
"""Folders inside each other, in an artifact."""

_PUT_AT_ONCE = 1000
"""Files that are stored before anybody asks again whether they are wanted."""

_MOST_MANIFEST_BYTES = 64 * 2**20


@dataclass(frozen=True, kw_only=True)
class Payload:
    """The bytes of an artifact: nothing, one file (its path is ""), or the files of a folder."""

    kind: str  # "none" | "file" | "folder"
    files: tuple[tuple[str, Path], ...] = ()


class Abandoned(Exception):  # noqa: N818  (nothing is wrong with the artifact)
    """The run was stopped, and nobody waits any longer."""

    def __init__(self) -> None:
        super().__init__("the run was stopped")


def always() -> bool:
    """Of a result that is waited for however long it takes."""
    return True


def payload_at(path: Path, is_wanted: Callable[[], bool] = always) -> Payload:
    """The files at an artifact's path. Links are followed; an empty folder counts as a folder.

    Args:
        path: of the artifact.
        is_wanted: asked at each file: a folder may have very many.

    Raises:
        OSError: links that lead around in circles, or folders inside each other without end.
        Abandoned: it is not wanted any longer.
    """
    if path.is_file():
        return Payload(kind="file", files=(("", path),))
    if not path.is_dir():
        return Payload(kind="none")
    found = []
    entered: Counter[tuple[int, int]] = Counter()
    for folder, folders, names in os.walk(path, followlinks=True):
        if len(Path(folder).relative_to(path).parts) > _MOST_DEPTH:
            raise OSError(errno.ENAMETOOLONG, f"folders inside each other, more than {_MOST_DEPTH} deep", str(path))
        state = Path(folder).stat()
        entered[state.st_dev, state.st_ino] += 1
        if entered[state.st_dev, state.st_ino] > _MOST_WAYS:
            # A few links to each other make more paths than anybody can walk.
            raise OSError(errno.ELOOP, "links lead to this folder in circles", folder)
        folders.sort()
        for name in sorted(names):
            if not is_wanted():
                raise Abandoned
            file = Path(folder, name)
            if file.is_file():
                found.append((file.relative_to(path).as_posix(), file))
    return Payload(kind="folder", files=tuple(sorted(found)))


def payload_of(artifact: Mapping[str, Any], is_wanted: Callable[[], bool] = always) -> Payload:
    """The bytes of an artifact, as `payload_at`; none if they are not on this machine's disks."""
    return Payload(kind="none") if is_remote(artifact) else payload_at(Path(local_path(artifact["uri"])), is_wanted)


def content_digest(artifact: Mapping[str, Any], payload: Payload, is_wanted: Callable[[], bool] = always) -> str:
    """sha256 over type, metadata and bytes; over the URI instead of bytes if they are not on this machine.

    `is_wanted` is asked at each file; raises `Abandoned` when it says no.
    """
    files = {name: _sha256(path, is_wanted) for name, path in payload.files}
    facts = {
        "type": artifact["type"].get("schemaTitle", ""),
        "metadata": {k: v for k, v in artifact.get("metadata", {}).items() if k not in _NOT_CONTENT},
        "payload": payload.kind,
        "files": files,
    }
    if payload.kind == "none" and is_remote(artifact):
        facts["uri"] = artifact["uri"]
    # Not canonical_json: metadata of any component may hold what it refuses (a NaN), and passes through JSON anyway.
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def is_remote(artifact: Mapping[str, Any]) -> bool:
    """Whether the URI points away from this machine's disks."""
    uri = str(artifact.get("uri", ""))
    return _SCHEME.match(uri) is not None and not uri.startswith("file://")


def _sha256(path: Path, is_wanted: Callable[[], bool]) -> str:
    if not is_wanted():
        raise Abandoned
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def manifest_of(artifact: Mapping[str, Any]) -> dict[str, Any] | None:
    """The `manifest.json` of an artifact whose bytes are blobs in the store; None for any other artifact."""
    path = Path(local_path(artifact.get("uri", "")), MANIFEST_NAME)
    try:
        if not path.is_file() or path.stat().st_size > _MOST_MANIFEST_BYTES:
            return None  # not a pipe either, which would never end
        found = parse_json(path.read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def save_payload(artifact: Mapping[str, Any], store: Store, is_wanted: Callable[[], bool] = always) -> dict[str, Any]:
    """Puts an artifact's bytes into the store and returns the record from which `restore_payload` brings it back.

    `is_wanted` is asked at each file that is looked at, and each thousand that are stored; raises `Abandoned`.
    """
    payload = payload_of(artifact, is_wanted)
    paths, digests = [path for _, path in payload.files], list[str]()
    for start in range(0, len(paths), _PUT_AT_ONCE):
        if not is_wanted():
            raise Abandoned
        digests += store.blobs.put_many(paths[start : start + _PUT_AT_ONCE])
    record = {key: artifact[key] for key in ("name", "type", "metadata", "content") if key in artifact}
    record["payload"] = payload.kind
    record["files"] = {name: digest for (name, _), digest in zip(payload.files, digests, strict=True)}
    if payload.kind == "none" and artifact.get("uri"):
        record["uri"] = artifact["uri"] if is_remote(artifact) else ""
    return record


def restore_payload(record: Mapping[str, Any], path: Path, store: Store) -> dict[str, Any]:
    """Brings a cached artifact to `path`, verified, and returns it.

    The blobs that its manifest names are checked for presence and size; their bytes are verified by whoever reads
    them.

    Raises:
        StoreError: a blob is missing or damaged.
        KeyError, TypeError, ValueError: the record is not one that `save_payload` wrote.
    """
    files: Mapping[str, str] = record["files"]
    for name in files:
        pure = PurePosixPath(name)
        if pure.is_absolute() or ".." in pure.parts:
            raise ValueError(f"a cached artifact names the path {name!r}")
    if record["payload"] == "folder":
        path.mkdir(parents=True, exist_ok=True)
    store.blobs.fetch_many({path / name if name else path: digest for name, digest in files.items()})
    artifact = {key: record[key] for key in ("name", "type", "metadata", "content") if key in record}
    # A path in a record would be another machine's, or a lie: only what lies elsewhere keeps its URI.
    artifact["uri"] = record["uri"] if is_remote(record) else str(path)
    hold_payload(artifact, store, files.values())
    return artifact


def hold_payload(artifact: Mapping[str, Any], store: Store, digests: Iterable[str] = ()) -> None:
    """Makes sure that blobs, and those that the artifact's manifest names, are there and are not collected meanwhile.

    Raises:
        StoreError: a blob is missing, or has another size than the manifest says.
    """
    manifest = manifest_of(artifact) or {}
    listings, named = _sizes(manifest.get("listings")), _sizes(manifest.get("files"))
    for files in run_all(lambda digest: read_listing(store.blobs, digest), list(listings)):
        named |= _sizes(files)
    named |= listings
    wanted = list(dict.fromkeys([*digests, *named]))
    for digest, size in zip(wanted, store.blobs.hold(wanted), strict=True):
        if named.get(digest, size) != size:
            raise StoreError(f"blob {digest} has {size} bytes instead of {named[digest]}")


def _sizes(entries: Any) -> dict[str, Any]:
    """Digest → stated size of the blobs that these entries of a manifest name."""
    return {
        entry["sha256"]: entry.get("bytes")
        for entry in (entries if isinstance(entries, list) else ())
        if isinstance(entry, Mapping) and isinstance(entry.get("sha256"), str)
    }


def local_path(uri: str) -> str:
    """Where an artifact's bytes are on this machine: `file://` is taken off, anything else is left as it is."""
    return uri.removeprefix("file://")
