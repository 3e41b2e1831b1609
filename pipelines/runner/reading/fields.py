"""One mapping of the compiled YAML, read key by key; what was not read is refused by name."""

import re
from collections.abc import Iterator
from typing import Any

from components.core.errors import UserError

_DURATION = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,15})?)s")
_WHOLE = re.compile(r"-?[0-9]{1,250}")  # as many digits as YAML may hold


def whole(value: Any, where: str) -> Any:
    """The value; as an integer if it is the text of one, as protobuf's JSON writes 64-bit integers."""
    if not isinstance(value, str):
        return value
    if not _WHOLE.fullmatch(value):
        raise UserError(f"{where} must be a number, found {value[:60]!r}")
    return int(value)


class Fields:
    """Typed access to a mapping. `where` is its path in the file, for messages.

    Every accessor marks its key as read; `finish` refuses the keys that nobody asked for.
    """

    def __init__(self, value: Any, where: str) -> None:
        if not isinstance(value, dict):
            raise UserError(f"{where} must be a mapping, found {type(value).__name__}")
        for key in value:
            if not isinstance(key, str):
                raise UserError(f"{where} has the key {key!r}, which is not text")
        self.value: dict[str, Any] = value
        self.where = where
        self.read: set[str] = set()

    def has(self, key: str) -> bool:
        """Whether the key is written; does not mark it as read."""
        return key in self.value

    def raw(self, key: str, default: Any) -> Any:
        """The value as it is."""
        self.read.add(key)
        return self.value.get(key, default)

    def text(self, key: str) -> str:
        """A string, or "" if the key is not written."""
        return self._checked(key, "", str, "text")

    def needed(self, key: str) -> str:
        """A string that must be there and not be empty."""
        found = self.text(key)
        if not found:
            raise UserError(f"{self.where}: {key!r} is missing")
        return found

    def flag(self, key: str) -> bool:
        """A boolean, or false if the key is not written."""
        return self._checked(key, False, bool, "true or false")

    def number(self, key: str, default: float) -> float:
        """A number, or the default."""
        found = whole(self.raw(key, default), f"{self.where}.{key}")
        if isinstance(found, bool) or not isinstance(found, int | float):
            raise UserError(f"{self.where}.{key} must be a number, found {found!r}")
        return float(found)

    def integer(self, key: str) -> int:
        """A whole number that is not negative, or 0 if the key is not written."""
        found = self.number(key, 0)
        if not found.is_integer() or found < 0:
            raise UserError(f"{self.where}.{key} must be a whole number, found {found}")
        return int(found)

    def duration(self, key: str, default: float) -> float:
        """Seconds: `10s`, `1.5s`, or a bare number."""
        found = self.raw(key, None)
        if found is None:
            return default
        match = _DURATION.fullmatch(found) if isinstance(found, str) else None
        if match:
            return float(match[1])
        if isinstance(found, int | float) and not isinstance(found, bool) and found >= 0:
            return float(found)
        raise UserError(f"{self.where}.{key} must be a duration like 10s, found {found!r}")

    def strings(self, key: str) -> tuple[str, ...]:
        """A list of strings, empty if the key is not written."""
        found = self._checked(key, [], list, "a list")
        for item in found:
            if not isinstance(item, str):
                raise UserError(f"{self.where}.{key} must hold text only, found {item!r}")
        return tuple(found)

    def values(self, key: str) -> list[Any]:
        """A list of anything, empty if the key is not written."""
        return list(self._checked(key, [], list, "a list"))

    def group(self, key: str) -> "Fields":
        """A mapping inside, empty if the key is not written."""
        found = self.raw(key, None)
        return Fields({} if found is None else found, f"{self.where}.{key}")

    def groups(self, key: str) -> Iterator[tuple[str, "Fields"]]:
        """The entries of a mapping of mappings."""
        inside = self.group(key)
        for name, item in inside.value.items():
            yield name, Fields({} if item is None else item, f"{inside.where}.{name}")

    def sequence(self, key: str) -> Iterator["Fields"]:
        """The entries of a list of mappings."""
        for index, item in enumerate(self._checked(key, [], list, "a list")):
            yield Fields(item, f"{self.where}.{key}[{index}]")

    def ignore(self, *keys: str) -> None:
        """Keys that are known and change nothing on one machine."""
        self.read.update(keys)

    def refuse(self, key: str, what: str) -> None:
        """Refuses a key that would change the result."""
        self.read.add(key)
        if self.value.get(key):
            raise UserError(f"{self.where}: {what} ({key}) is not supported by the local runner")

    def finish(self) -> None:
        """Refuses every key that was not read."""
        unknown = [key for key in self.value if key not in self.read]
        if unknown:
            raise UserError(f"{self.where}: {', '.join(map(repr, unknown))} is not supported by the local runner")

    def _checked(self, key: str, default: Any, kind: type, words: str) -> Any:
        found = self.raw(key, None)
        if found is None:
            return default
        if not isinstance(found, kind):
            raise UserError(f"{self.where}.{key} must be {words}, found {found!r}"[:300])
        return found
