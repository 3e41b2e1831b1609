"""Objects of a folder that may only be read, and beside it a folder with what was written since."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from components.core.store.backends.local_objects import LocalObjects
from components.core.store.backends.objects import Listed, Stored
from components.core.store.errors import NotFound, PreconditionFailed


class LayeredObjects:
    """Reads `changes` before `base`, and writes to `changes` only. Atomic as `LocalObjects`, which it is made of.

    For a task in a container: whoever runs it looks at `changes` before anything of it comes into the store. So it
    cannot delete what is in `base`, and a compare-and-swap holds against what `base` says at that moment.
    """

    def __init__(self, base: LocalObjects, changes: LocalObjects) -> None:
        self._base = base
        self._changes = changes
        self.uri = base.uri

    def address(self, key: str) -> str:
        return self._base.address(key)

    def put(
        self,
        key: str,
        body: bytes | Path,
        *,
        sha256: str | None = None,
        if_absent: bool = False,
        if_match: str | None = None,
    ) -> str:
        if not self._is_changed(key):
            if if_absent and self._is_in_base(key):
                raise PreconditionFailed(f"{self.address(key)} exists already")
            if if_match is not None:
                if not self._is_in_base(key) or self._base.etag(key) != if_match:
                    raise PreconditionFailed(f"{self.address(key)} has changed since it was read")
                return self._changes.put(key, body, sha256=sha256, if_absent=True)
        return self._changes.put(key, body, sha256=sha256, if_absent=if_absent, if_match=if_match)

    def get(self, key: str) -> Stored:
        return self._layer(key).get(key)

    def stream(self, key: str) -> Iterator[bytes]:
        return self._layer(key).stream(key)

    def fetch(self, key: str, path: Path, *, sha256: str) -> None:
        self._layer(key).fetch(key, path, sha256=sha256)

    def size(self, key: str) -> int:
        return self._layer(key).size(key)

    def stat(self, key: str) -> Listed:
        return self._layer(key).stat(key)

    def etag(self, key: str) -> str:
        return self._layer(key).etag(key)

    def walk(self, folder: str = "") -> Iterator[Listed]:
        changed = {listed.key: listed for listed in self._changes.walk(folder)}
        yield from changed.values()
        yield from (listed for listed in self._base.walk(folder) if listed.key not in changed)

    def hidden(self, folder: str) -> list[str]:
        return sorted({*self._changes.hidden(folder), *self._base.hidden(folder)})

    def folders(self, folder: str) -> list[str]:
        return sorted({*self._changes.folders(folder), *self._base.folders(folder)})

    def delete(self, key: str) -> None:
        self._changes.delete(key)

    def check_writable(self) -> None:
        self._changes.check_writable()

    def _layer(self, key: str) -> LocalObjects:
        return self._changes if self._is_changed(key) else self._base

    def _is_changed(self, key: str) -> bool:
        return _has(self._changes, key)

    def _is_in_base(self, key: str) -> bool:
        return _has(self._base, key)


def _has(objects: LocalObjects, key: str) -> bool:
    try:
        objects.stat(key)
    except NotFound:
        return False
    return True
