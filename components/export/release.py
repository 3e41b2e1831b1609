"""The files of a release, its digest, and its publication in the store."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from components.core.bundles.release_files import serving_names
from components.core.store import ReleaseExists, canonical_json

if TYPE_CHECKING:
    from components.core.store import Store

VERSION_DIGITS = 12


@dataclass(frozen=True, kw_only=True)
class Published:
    """Where the release is; `kept_evidence` is true when these very serving files had been released before."""

    uri: str
    kept_evidence: bool


def release_digest(files: Mapping[str, bytes]) -> str:
    """sha256 over the canonical JSON of `{name: sha256}` of the serving files among `files`.

    Evidence (timings, host) is left out, so the same network has the same digest wherever it was measured and stored.
    """
    return hashlib.sha256(canonical_json({name: _sha256(files[name]) for name in serving_names(files)})).hexdigest()


def checksums(files: Mapping[str, bytes]) -> bytes:
    """The content of SHA256SUMS, for `sha256sum --check SHA256SUMS`."""
    return "".join(f"{_sha256(files[name])}  {name}\n" for name in sorted(files)).encode()


def publish_release(store: "Store", name: str, version: str, files: Mapping[str, bytes]) -> Published:
    """Whole or not at all: `releases/name/version/` in the store.

    The version names the serving files, so a second run that makes the same ones finds them published, with the
    evidence of the first; that evidence is kept, since a release never changes.

    Raises:
        ReleaseExists: the version exists with other serving files.
    """
    contents: dict[str, bytes | Path] = dict(files)
    try:
        return Published(uri=store.releases.publish(name, version, contents), kept_evidence=False)
    except ReleaseExists as error:
        if serving_names(error.differing):
            raise
    there = store.releases.files(name, version)
    same: dict[str, bytes | Path] = {file: store.releases.read(name, version, file) for file in there}
    return Published(uri=store.releases.publish(name, version, same), kept_evidence=True)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
