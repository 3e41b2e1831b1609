"""Progress inside a stage, found again after preemption."""

from __future__ import annotations

import logging
import tempfile
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.core.store.backends.objects import Objects, measure
from components.core.store.concurrency import run_all
from components.core.store.errors import Damaged, NotFound
from components.core.store.files import write_new
from components.core.store.names import check_name, check_path
from components.core.store.records import decode, encode

_INDEX = "index.json"

log = logging.getLogger(__name__)


class Checkpoints:
    """One set of files per key. Atomic: a set appears whole or not at all, in place of the one before.

    Every save writes its files into a folder of its own and then, last, the index that points there.
    """

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def save(self, key: str, files: Mapping[str, bytes | Path]) -> None:
        """Atomic: replaces the checkpoint whole. Killed at any moment, the one before still loads."""
        folder = _folder(key)
        for name in files:
            check_path(name, what="checkpoint file")
        before = self._index(key)
        generation = uuid.uuid4().hex

        def send(item: tuple[str, bytes | Path]) -> tuple[str, str]:
            name, body = item
            _, digest = measure(body)
            self._objects.put(f"{folder}/{generation}/{name}", body, sha256=digest)
            return name, digest

        digests = dict(run_all(send, list(files.items())))
        index = {"format": 1, "generation": generation, "files": digests}
        self._objects.put(f"{folder}/{_INDEX}", encode(index, what=f"the checkpoint {key!r}"))
        # Only the generation that we replaced: another may belong to a writer that is at work.
        # What a killed writer left goes with `clear`.
        if before is not None:
            for name in before["files"]:
                self._objects.delete(f"{folder}/{before['generation']}/{name}")

    def load(self, key: str, folder: Path) -> bool:
        """Writes the checkpoint's files, all of them and verified, into `folder`; False if there is none to use.

        A damaged checkpoint counts as none (with a warning): it costs time, not correctness, to begin again.
        """
        for _ in range(5):
            index = self._index(key)
            if index is None:
                return False
            try:
                self._fetch(key, index, folder)
            except NotFound:
                continue  # replaced or cleared while we read
            except Damaged as error:
                log.warning("checkpoint %s is not used: %s", key, error)
                return False
            return True
        log.warning("checkpoint %s is not used: its files are missing", key)
        return False

    def clear(self, key: str) -> None:
        """Removes the checkpoint and all that killed writers left of it."""
        folder = _folder(key)
        self._objects.delete(f"{folder}/{_INDEX}")  # first, so that no index points at what is gone
        run_all(self._objects.delete, [listed.key for listed in self._objects.walk(folder)])

    def _index(self, key: str) -> dict[str, Any] | None:
        path = f"{_folder(key)}/{_INDEX}"
        try:
            return decode(self._objects.get(path).data, objects=self._objects, key=path)
        except NotFound:
            return None

    def _fetch(self, key: str, index: Mapping[str, Any], folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        source = f"{_folder(key)}/{index['generation']}"
        with tempfile.TemporaryDirectory(prefix=".checkpoint-", dir=folder) as aside:
            for name, digest in index["files"].items():
                target = Path(aside, check_path(name, what="checkpoint file"))
                target.parent.mkdir(parents=True, exist_ok=True)
                if write_new(target, self._objects.stream(f"{source}/{name}")) != digest:
                    raise Damaged(f"{self._objects.address(f'{source}/{name}')} is damaged: its sha256 does not match")
            for name in index["files"]:
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                Path(aside, name).replace(target)


def _folder(key: str) -> str:
    return f"checkpoints/{check_name(key, what='checkpoint key')}"
