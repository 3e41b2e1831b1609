"""Results of stages, found by the key of their work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from components.core.store.backends.objects import Objects
from components.core.store.contents.sweeps import is_aging
from components.core.store.errors import NotFound
from components.core.store.names import check_name
from components.core.store.records import decode, encode


class Results:
    """One record per (component, key). Atomic; two writers of one key are harmless, for they did the same work."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def load(self, component: str, key: str) -> dict[str, Any] | None:
        """The record, or None if that work was never done. `Damaged` if it is not JSON."""
        path = _path(component, key)
        try:
            return decode(self._objects.get(path).data, objects=self._objects, key=path)
        except NotFound:
            return None

    def renew(self, component: str, key: str, record: Mapping[str, Any]) -> None:
        """Makes a record that was used as young as a new one, so that it outlives the next collections."""
        try:
            if not is_aging(self._objects.stat(_path(component, key)).modified):
                return
        except NotFound:
            pass  # collected while it was used
        self.save(component, key, record)

    def save(self, component: str, key: str, record: Mapping[str, Any]) -> None:
        """Atomic: the record appears whole or not at all, in place of an older one."""
        path = _path(component, key)
        self._objects.put(path, encode(record, what=f"the result {component}/{key}"))


def _path(component: str, key: str) -> str:
    return f"results/{check_name(component, what='component')}/{check_name(key, what='result key')}.json"
