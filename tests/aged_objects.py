"""A store that can be backdated. No S3 server lets one do that."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from components.core.store.backends.objects import Listed, Objects


class Aged:
    """A store's objects, some of which say that they were written long ago. No S3 server lets one backdate."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self.ages: dict[str, float] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._objects, name)

    def put(self, key: str, *arguments: Any, **options: Any) -> str:
        self.ages.pop(key, None)
        return self._objects.put(key, *arguments, **options)

    def delete(self, key: str) -> None:
        self.ages.pop(key, None)
        self._objects.delete(key)

    def stat(self, key: str) -> Listed:
        return self._aged(self._objects.stat(key))

    def walk(self, folder: str = "") -> Iterator[Listed]:
        return (self._aged(listed) for listed in self._objects.walk(folder))

    def age_all(self, seconds: float) -> None:
        for listed in self._objects.walk():
            self.ages[listed.key] = seconds

    def _aged(self, listed: Listed) -> Listed:
        age = self.ages.get(listed.key, 0.0)
        return Listed(key=listed.key, size=listed.size, stamp=listed.stamp, modified=listed.modified - age)
