"""Translation memories: TMX 1.4, read as a stream. Entities of the file's own are refused, external ones never read."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.parsers import expat

from components.core.errors import UserError
from components.core.tasks.translation.pairs import Pair

_CODES = ("bpt", "ept", "ph", "it", "ut")
"""Elements in a segment that hold formatting codes, not words."""
_CHUNK = 1 << 16
_MAX_SEGMENT = 1_000_000


class _Reader:
    """Handlers of expat; `ready` fills with pairs."""

    def __init__(self, source: str, target: str) -> None:
        self._languages = (source.lower(), target.lower())
        self._segments: dict[str, str] = {}
        self._language = ""
        self._text: list[str] | None = None
        self._in_code = self._number = self._length = 0
        self.root = self.encoding = ""
        self.ready: list[Pair] = []

    def declared(self, version: str, encoding: str | None, standalone: int) -> None:
        self.encoding = encoding or ""

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self.root = self.root or name
        if name == "tu":
            self._segments, self._number = {}, self._number + 1
        elif name == "tuv":
            self._language = (attributes.get("xml:lang") or attributes.get("lang") or "").lower()
        elif name == "seg":
            self._text, self._in_code, self._length = [], 0, 0
        elif name in _CODES:
            self._in_code += 1

    def end(self, name: str) -> None:
        if name in _CODES:
            self._in_code -= 1
        elif name == "seg" and self._text is not None:
            # The first segment of a language counts; a unit may hold alternatives.
            self._segments.setdefault(self._language, re.sub(r"\s+", " ", "".join(self._text)))
            self._text = None
        elif name == "tu":
            source, target = (self._segment(language) for language in self._languages)
            self.ready.append(Pair(name=f"unit {self._number}", source=source, target=target))

    def text(self, data: str) -> None:
        if self._text is not None and not self._in_code and self._length < _MAX_SEGMENT:
            self._text.append(data)
            self._length += len(data)

    def _segment(self, language: str) -> str | None:
        if language in self._segments:
            return self._segments[language]
        # "en" is found as "en-US", and "pt-BR" as "pt".
        close = [n for n in self._segments if n.split("-")[0] == language or n == language.split("-")[0]]
        return self._segments[close[0]] if close else None


def tmx_pairs(path: Path, *, source: str, target: str) -> Iterator[Pair]:
    """Units of the file; one without a segment of a language has None there.

    Args:
        path: a local file.
        source, target: codes of the languages; "en" also finds "en-US".

    Raises:
        UserError: cannot be read, no XML (with the line), no TMX, of an encoding that is not read, or it declares
            entities.
    """
    reader = _Reader(source, target)
    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = reader.start, reader.end
    parser.CharacterDataHandler, parser.XmlDeclHandler = reader.text, reader.declared

    def refuse(*_: Any) -> None:
        raise UserError(
            f"{path.name} declares XML entities, which trimtab does not read; replace them with their texts"
        )

    parser.EntityDeclHandler = refuse
    try:
        with path.open("rb") as file:
            while True:
                chunk = file.read(_CHUNK)
                parser.Parse(chunk, not chunk)
                if reader.root not in ("", "tmx"):
                    raise UserError(f"{path.name} is not a TMX file: its root element is <{reader.root[:40]}>")
                yield from reader.ready
                reader.ready.clear()
                if not chunk:
                    return
    except OSError as error:
        raise UserError(f"cannot read {path.name}: {(error.strerror or type(error).__name__).lower()}") from error
    except UserError:
        raise
    except (LookupError, ValueError) as error:
        # Of Python's codec: expat asks for the encodings that it does not know itself.
        raise UserError(f"{path.name} states the encoding {reader.encoding[:40]!r}; save it as UTF-8") from error
    except expat.ExpatError as error:
        raise UserError(f"{path.name}, line {error.lineno}: not valid XML: {expat.ErrorString(error.code)}") from error
