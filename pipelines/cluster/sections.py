"""One mapping of a file that a person wrote: what is not known is refused with the nearest name that is."""

import difflib
import math
from collections.abc import Mapping
from typing import Any

from components.core.errors import UserError

_NEEDED: Any = object()


class Section:
    """Typed access to a mapping. `where` is its place for messages (`values.yaml: stages.prune`), `refused` are keys
    that people write and that cannot be honoured, each with what to do instead.

    Every accessor remembers its key as known; `finish` refuses the keys that nobody asked for.
    """

    def __init__(self, content: Any, where: str, *, refused: Mapping[str, str] | None = None) -> None:
        if content is None:  # `limits:` with nothing after it
            content = {}
        if not isinstance(content, dict):
            raise UserError(f"{where} must be a mapping of names to values; got {_show(content)}")
        for key in content:
            if not isinstance(key, str):
                raise UserError(f"{where}: the key {key!r} is not text; put it in quotes")
        self.where = where
        self._content: dict[str, Any] = content
        self._refused = refused or {}
        self._known: list[str] = []

    def at(self, key: str) -> str:
        """The place of a key, for messages."""
        return f"{self.where}.{key}" if not self.where.endswith(": ") else f"{self.where}{key}"

    def has(self, key: str) -> bool:
        """Whether the key has a value; an explicit null is none."""
        self._known.append(key)
        return self._content.get(key) is not None

    def take(self, key: str, default: Any = _NEEDED) -> Any:
        """The value as it is, or the default if it is not there."""
        if self.has(key):
            return self._content[key]
        if default is _NEEDED:
            raise UserError(f"{self.where}: {key!r} is missing")
        return default

    def rest(self) -> dict[str, Any]:
        """All of it: for mappings whose keys are the user's own names."""
        self._known.extend(self._content)
        return self._content

    def text(self, key: str, *, default: Any = _NEEDED) -> str:
        """A string."""
        found = self.take(key, default)
        if not isinstance(found, str):
            raise UserError(f"{self.at(key)} must be text; got {_show(found)} (put it in quotes)")
        return found

    def choice(self, key: str, choices: tuple[str, ...], *, default: Any = _NEEDED) -> str:
        """One of the choices."""
        found = self.take(key, default)
        if found not in choices and found != default:
            raise UserError(
                f"{self.at(key)} must be one of {', '.join(choices)}; got {_show(found)}{near(found, choices)}"
            )
        return str(found)

    def flag(self, key: str) -> bool:
        """A boolean."""
        found = self.take(key)
        if not isinstance(found, bool):
            raise UserError(f"{self.at(key)} must be true or false; got {_show(found)}")
        return found

    def number(self, key: str, *, least: float, default: Any = _NEEDED) -> float:
        """A finite number of at least `least`."""
        found = self.take(key, default)
        if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found) or found < least:
            raise UserError(f"{self.at(key)} must be a number of at least {least:g}; got {_show(found)}")
        return float(found)

    def integer(self, key: str, *, least: int, default: Any = _NEEDED) -> int:
        """An integer of at least `least`."""
        found = self.take(key, default)
        if isinstance(found, bool) or not isinstance(found, int) or found < least:
            raise UserError(f"{self.at(key)} must be an integer of at least {least}; got {_show(found)}")
        return found

    def items(self, key: str) -> list[Any]:
        """A list."""
        found = self.take(key)
        if not isinstance(found, list):
            raise UserError(f"{self.at(key)} must be a list; got {_show(found)}")
        return found

    def section(self, key: str) -> "Section":
        """A mapping, empty if it is not there."""
        return Section(self.take(key, {}), self.at(key), refused=self._refused)

    def sections(self, key: str) -> list["Section"]:
        """A list of mappings."""
        return [
            Section(item, f"{self.at(key)}[{index}]", refused=self._refused)
            for index, item in enumerate(self.items(key))
        ]

    def texts(self, key: str) -> dict[str, str]:
        """A mapping of text to text."""
        part = self.section(key)
        return {name: part.text(name) for name in part.rest()}

    def finish(self) -> None:
        """Refuses the keys that nobody asked for."""
        for key in self._content:
            if key in self._known:
                continue
            if key in self._refused:
                raise UserError(f"{self.at(key)}: {self._refused[key]}")
            known = list(dict.fromkeys(self._known))
            raise UserError(f"{self.at(key)}: unknown key{near(key, known)} (known: {', '.join(known)})")


def near(wanted: Any, known: tuple[str, ...] | list[str]) -> str:
    """`; did you mean 'x'?` if something like it is known, whatever its case."""
    folded = {name.lower().replace("_", "").replace("-", ""): name for name in known}
    close = difflib.get_close_matches(str(wanted).lower().replace("_", "").replace("-", ""), folded, n=1)
    return f"; did you mean {folded[close[0]]!r}?" if close else ""


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
