"""Pointers that move by compare-and-swap."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from components.core.store.backends.objects import Objects, Stored
from components.core.store.errors import Damaged, NotFound, PreconditionFailed, RefConflict
from components.core.store.names import check_path
from components.core.store.records import decode, encode


@dataclass(frozen=True, kw_only=True)
class Ref:
    """A pointer as it was read: the value, and the tag of that very state, which `Refs.move` expects."""

    name: str
    value: dict[str, Any]
    etag: str


class Refs:
    """Named pointers. Compare-and-swap: of all that move a ref from one state, exactly one succeeds."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def names(self) -> list[str]:
        """The refs that there are, sorted."""
        keys = (listed.key for listed in self._objects.walk("refs"))
        return sorted(key.removeprefix("refs/").removesuffix(".json") for key in keys if key.endswith(".json"))

    def read(self, name: str) -> Ref | None:
        """The ref as it is now, or None."""
        try:
            stored = self._objects.get(_key(name))
        except NotFound:
            return None
        return Ref(name=name, value=self._document(name, stored)["value"], etag=stored.etag)

    def move(self, name: str, value: Mapping[str, Any], *, expected: Ref | None) -> Ref:
        """Atomic: points the ref at `value` if it still is in the state `expected` (None: if there is none yet).

        Raises:
            RefConflict: somebody else moved it; read it again and decide again.
        """
        # A nonce makes every state unique. It tells a lost race from a retry after our own write whose answer was
        # lost, and a ref that was moved there and back from one that never moved.
        nonce = uuid.uuid4().hex
        data = encode({"format": 1, "value": dict(value), "nonce": nonce}, what=f"the ref {name!r}")
        key = _key(name)
        try:
            if expected is None:
                etag = self._objects.put(key, data, if_absent=True)
            else:
                etag = self._objects.put(key, data, if_match=expected.etag)
        except (PreconditionFailed, NotFound) as error:
            stored = self._present(key)
            if stored is None or self._document(name, stored)["nonce"] != nonce:
                raise RefConflict(
                    f"the ref {name!r} was moved by someone else; read it again before you decide"
                ) from error
            etag = stored.etag
        return Ref(name=name, value=dict(value), etag=etag)

    def _present(self, key: str) -> Stored | None:
        try:
            return self._objects.get(key)
        except NotFound:
            return None

    def _document(self, name: str, stored: Stored) -> dict[str, Any]:
        document = decode(stored.data, objects=self._objects, key=_key(name))
        if not isinstance(document.get("value"), dict) or not isinstance(document.get("nonce"), str):
            raise Damaged(f"{self._objects.address(_key(name))} is damaged: not a ref")
        return document


def _key(name: str) -> str:
    return f"refs/{check_path(name, what='ref')}.json"
