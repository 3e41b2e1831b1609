"""Plain files for the serving side."""

from __future__ import annotations

import builtins
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.core.errors import UserError
from components.core.store.backends.objects import Objects, digest_of, measure
from components.core.store.concurrency import run_all
from components.core.store.errors import Damaged, NotFound, PreconditionFailed, ReleaseExists
from components.core.store.files import write_new
from components.core.store.names import check_name, check_path
from components.core.store.records import decode, encode

MARKER = "release.json"
SIGNATURE = f"{MARKER}.minisig"


class Releases:
    """Files per (name, version). Immutable, and whole or not at all: a release exists once its marker does.

    The marker `release.json`, written last, lists every file with size and sha256; `read` verifies against it. Two who
    publish different bytes under one version at the same moment: at most one succeeds. In the milliseconds between his
    last look and his marker the other may still overwrite a file; then that file reads as `Damaged`, never as right.
    """

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def publish(self, name: str, version: str, files: Mapping[str, bytes | Path]) -> str:
        """Atomic: publishes the files whole or not at all, and returns the URI of the release's folder.

        The same bytes again change nothing. What an interrupted publisher left is completed or overwritten.

        Raises:
            ReleaseExists: the version is published with other files; `differing` names them.
            UserError: no files, or a file name that is not usable.
        """
        folder = _folder(name, version)
        index = _index(files)
        if self._published_already(name, version, index):
            return self._objects.address(folder)
        etags = run_all(lambda file: self._send(name, version, file, files[file], index), sorted(files))
        marker = encode({"format": 1, "name": name, "version": version, "files": index}, what=f"the marker of {folder}")
        for file, etag in zip(sorted(files), etags, strict=True):
            # Two publishers of different bytes may have met in a folder without a marker; the later one owns the file.
            if self._objects.etag(f"{folder}/{file}") != etag:
                raise _contended(name, version, file)
        try:
            self._objects.put(f"{folder}/{MARKER}", marker, if_absent=True)
        except PreconditionFailed:
            self._published_already(name, version, index)
        return self._objects.address(folder)

    def read(self, name: str, version: str, file: str) -> bytes:
        """One file, verified against the marker. `NotFound`, `Damaged`."""
        folder = _folder(name, version)
        index = self._published(name, version)
        if index is None or file not in index:
            raise NotFound(f"there is no release file {self._objects.address(f'{folder}/{file}')}")
        data = self._objects.get(f"{folder}/{file}").data
        if digest_of(data) != index[file]["sha256"]:
            raise Damaged(f"{self._objects.address(f'{folder}/{file}')} is damaged: its sha256 does not match")
        return data

    def files(self, name: str, version: str) -> builtins.list[str]:
        """Names of the release's files without the marker, sorted. `NotFound`."""
        index = self._published(name, version)
        if index is None:
            raise NotFound(f"there is no release {self._objects.address(_folder(name, version))}")
        return sorted(index)

    def verify(
        self, name: str, version: str, *, marker: bytes | None = None, to: Path | None = None
    ) -> builtins.list[str]:
        """Reads every file: all that the marker lists are there, no other is, and each has the sha256 that it says.

        Args:
            name: of the release.
            version: of the release.
            marker: what to hold the files against; read from the store if None. Whoever checks a signature gives the
                bytes that were signed: what is read a second time may be another marker.
            to: an empty folder; the files are written there as they are verified.

        Returns:
            The names of the files, sorted.

        Raises:
            NotFound: no such release.
            Damaged: a file is missing, not listed or another than the marker says.
        """
        folder = _folder(name, version)
        data = self.marker(name, version) if marker is None else marker
        index = self._index_in(data, f"{folder}/{MARKER}")
        known = {f"{folder}/{file}" for file in (*index, MARKER, SIGNATURE)}
        present = [listed.key for listed in self._objects.walk(folder)]
        for key in (*present, *self._objects.hidden(folder)):
            if key not in known:
                raise Damaged(f"{self._objects.address(key)} is not in the list of the release's files")

        def check(file: str) -> None:
            key = f"{folder}/{file}"
            try:
                if to is None:
                    digest = self._digest(key)
                else:
                    digest = write_new(to / check_path(file, what="release file"), self._objects.stream(key))
            except NotFound:
                raise Damaged(f"{self._objects.address(key)} is missing") from None
            if digest != index[file]["sha256"]:
                raise Damaged(f"{self._objects.address(key)} is damaged: its sha256 does not match")

        run_all(check, sorted(index))
        return sorted(index)

    def marker(self, name: str, version: str) -> bytes:
        """The marker's bytes, which say of themselves that they are this release's. `NotFound`, `Damaged`."""
        key = f"{_folder(name, version)}/{MARKER}"
        data = self._objects.get(key).data
        record = decode(data, objects=self._objects, key=key)
        if (record.get("name"), record.get("version")) != (name, version):
            # A whole folder of another release, copied here, would otherwise pass with a good signature.
            raise Damaged(f"{self._objects.address(key)} is the marker of another release")
        return data

    def signature(self, name: str, version: str) -> bytes | None:
        """The signature that lies beside the marker, unchecked; None if there is none."""
        try:
            return self._objects.get(f"{_folder(name, version)}/{SIGNATURE}").data
        except NotFound:
            return None

    def put_signature(self, name: str, version: str, signature: bytes) -> bool:
        """Atomic: puts it beside the marker. False if another one is there, which stays."""
        try:
            self._objects.put(f"{_folder(name, version)}/{SIGNATURE}", signature, if_absent=True)
        except PreconditionFailed:
            return self.signature(name, version) == signature
        return True

    def list(self) -> builtins.list[tuple[str, str]]:
        """(name, version) of every release that is whole, sorted."""
        markers = (listed.key.split("/") for listed in self._objects.walk("releases"))
        return sorted((parts[1], parts[2]) for parts in markers if len(parts) == 4 and parts[3] == MARKER)

    def _published(self, name: str, version: str) -> dict[str, Any] | None:
        key = f"{_folder(name, version)}/{MARKER}"
        try:
            stored = self._objects.get(key)
        except NotFound:
            return None
        return self._index_in(stored.data, key)

    def _index_in(self, marker: bytes, key: str) -> dict[str, Any]:
        index = decode(marker, objects=self._objects, key=key).get("files")
        if not isinstance(index, dict) or not all(
            isinstance(item, dict) and "sha256" in item for item in index.values()
        ):
            raise Damaged(f"{self._objects.address(key)} is damaged: it lists no files")
        return index

    def _published_already(self, name: str, version: str, index: Mapping[str, Any]) -> bool:
        published = self._published(name, version)
        if published is None:
            return False
        differing = sorted(file for file in published.keys() | index.keys() if published.get(file) != index.get(file))
        if differing:
            raise ReleaseExists(
                f"{name} {version} is published already with other bytes in {', '.join(differing)}; "
                "a release never changes, publish another version",
                differing,
            )
        return True

    def _send(self, name: str, version: str, file: str, body: bytes | Path, index: Mapping[str, Any]) -> str:
        """Writes one file and returns its etag."""
        key = f"{_folder(name, version)}/{file}"
        sha256 = index[file]["sha256"]
        try:
            return self._objects.put(key, body, sha256=sha256, if_absent=True)
        except PreconditionFailed:
            # Of a publisher that was interrupted, or of one at work, or ours from a try whose answer was lost.
            etag = self._objects.etag(key)
        if self._digest(key) == sha256:
            return etag
        self._published_already(name, version, index)  # raises if one has just finished: overwrite nothing of his
        try:
            return self._objects.put(key, body, sha256=sha256, if_match=etag)
        except PreconditionFailed as error:
            raise _contended(name, version, file) from error

    def _digest(self, key: str) -> str:
        digest = hashlib.sha256()
        for chunk in self._objects.stream(key):
            digest.update(chunk)
        return digest.hexdigest()


def _folder(name: str, version: str) -> str:
    return f"releases/{check_name(name, what='release')}/{check_name(version, what='version')}"


def _contended(name: str, version: str, file: str) -> ReleaseExists:
    return ReleaseExists(f"{name} {version} is being published by someone else with another {file}", [file])


def _index(files: Mapping[str, bytes | Path]) -> dict[str, dict[str, Any]]:
    if not files:
        raise UserError("a release needs at least one file")
    for file in files:
        check_path(file, what="release file")
        if file in (MARKER, SIGNATURE):
            raise UserError(
                f"a release file cannot be called {file}: that name is reserved for the file that marks a release as "
                "complete"
            )
    measured = {file: measure(body) for file, body in files.items()}
    return {file: {"bytes": size, "sha256": digest} for file, (size, digest) in measured.items()}
