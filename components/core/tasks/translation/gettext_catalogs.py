"""Gettext catalogs, `.po` and `.mo`: message and translation; contexts are dropped, fuzzy entries are counted.

An entry with a plural gives two pairs: the singular with the first form, the plural with the last. A language with one
form has the second pair only. The GNU gettext manual, "PO Files" and "MO Files".
"""

import codecs
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from components.core.data.ingestion.items import Rejection
from components.core.errors import UserError
from components.core.tasks.translation.pairs import Pair

FUZZY = "fuzzy"
REASONS = {FUZZY: "the catalog marks the translation as a guess"}
_MAGICS = {b"\xde\x12\x04\x95": "<", b"\x95\x04\x12\xde": ">"}
_CHARSET = re.compile(rb"charset=([\w.:-]+)", re.IGNORECASE)
_KEYWORD = re.compile(r'(msgctxt|msgid_plural|msgid|msgstr)(?:\[(\d+)\])?\s*(".*")$')
_ESCAPE = re.compile(r"\\(?:([0-7]{1,3})|x([0-9a-fA-F]{1,2})|(.))")
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_MAX_BYTES = 200_000_000
_CHARSETS = re.compile(r"utf-8|ascii|(iso8859|koi8|cp|gb|hz|big5|euc|shift_jis|johab|tis|mac|ptcp)[\w-]*")
"""By Python's names, those that catalogs come in; others take quadratic time, or decode to what is no text."""


@dataclass
class _Entry:
    """An entry as read so far: its texts by keyword, forms as "msgstr0", "msgstr1"."""

    line: int
    fuzzy: bool = False
    parts: dict[str, list[str]] = field(default_factory=dict)

    @property
    def texts(self) -> dict[str, str]:
        """The texts by keyword, their lines joined."""
        return {keyword: "".join(parts) for keyword, parts in self.parts.items()}


def catalog_pairs(path: Path) -> Iterator[Pair]:
    """The pairs of a catalog, told by its first bytes.

    Raises:
        UserError: cannot be read, damaged (with the line or the place), or without an entry.
    """
    try:
        data = path.read_bytes() if path.stat().st_size <= _MAX_BYTES else None
    except OSError as error:
        raise UserError(f"cannot read {path.name}: {(error.strerror or type(error).__name__).lower()}") from error
    if data is None:
        raise UserError(
            f"{path.name} is larger than {_MAX_BYTES} bytes; split it, since a catalog is read in one piece"
        )
    binary = data[:4] in _MAGICS
    empty = True
    for pair in _mo_pairs(data, path.name) if binary else _po_pairs(data, path.name):
        empty = False
        yield pair
    if empty:
        raise UserError(f"{path.name} is a catalog without an entry")


# .po


def _po_pairs(data: bytes, name: str) -> Iterator[Pair]:
    lines = _decoded(data, name).removeprefix("\ufeff").split("\n")
    for entry in _po_entries(lines, name):
        texts = entry.texts
        forms = [texts[f"msgstr{n}"] for n in range(len(texts)) if f"msgstr{n}" in texts]
        if texts.get("msgid"):
            yield from _pairs(f"line {entry.line}", texts["msgid"], texts.get("msgid_plural"), forms, fuzzy=entry.fuzzy)


def _po_entries(lines: list[str], name: str) -> Iterator[_Entry]:
    entry, last = _Entry(line=1), ""
    for number, raw in enumerate(lines, 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            # A comment after a translation belongs to the next entry; "#~" marks what is obsolete.
            if any(key.startswith("msgstr") for key in entry.parts):
                yield entry
                entry, last = _Entry(line=number), ""
            entry.fuzzy |= line.startswith("#,") and "fuzzy" in line
            continue
        if line.startswith('"') and last:
            entry.parts[last].append(_unquoted(line, name, number))
            continue
        found = _KEYWORD.match(line)
        if found is None:
            raise UserError(f'{name}, line {number}: neither a keyword with a "text" nor a comment: {line[:60]!r}')
        keyword, form, text = found.groups()
        if keyword in ("msgctxt", "msgid") and any(key.startswith("msgstr") for key in entry.parts):
            yield entry
            entry = _Entry(line=number)
        last = f"msgstr{form or 0}" if keyword == "msgstr" else keyword
        if last in entry.parts:
            raise UserError(f"{name}, line {number}: {keyword} twice in one entry")
        if keyword == "msgid":
            entry.line = number
        entry.parts[last] = [_unquoted(text, name, number)]
    if entry.parts:
        yield entry


def _unquoted(text: str, name: str, number: int) -> str:
    if len(text) < 2 or not text.endswith('"'):
        raise UserError(f"{name}, line {number}: the text does not end with a quote")

    def replaced(found: re.Match[str]) -> str:
        octal, hexadecimal, character = found.groups()
        if octal or hexadecimal:
            return chr(int(octal, 8) if octal else int(hexadecimal, 16))
        return _ESCAPED.get(character, character)

    return _ESCAPE.sub(replaced, text[1:-1])


# .mo


def _mo_pairs(data: bytes, name: str) -> Iterator[Pair]:
    order = _MAGICS[data[:4]]
    if len(data) < 28:
        raise UserError(f"{name} is a catalog cut off in its header")
    _, count, originals, translations = struct.unpack_from(f"{order}4I", data, 4)
    for start in (originals, translations):
        if start + 8 * count > len(data):
            raise UserError(f"{name} states {count} entries, more than the file has")
    charset = _charset(data)
    left = len(data)
    for number in range(count):
        texts = []
        for table in (originals, translations):
            length, offset = struct.unpack_from(f"{order}2I", data, table + 8 * number)
            if offset + length > len(data):
                raise UserError(f"{name}, entry {number + 1}: the text lies outside the file")
            left -= length
            if left < 0:
                raise UserError(f"{name}, entry {number + 1}: its texts overlap")
            texts.append(_text(data[offset : offset + length], charset, f"{name}, entry {number + 1}"))
        message, _, plural = texts[0].rpartition("\x04")[2].partition("\0")
        if message:
            yield from _pairs(f"entry {number + 1}", message, plural or None, texts[1].split("\0"), fuzzy=False)


# Both


def _pairs(name: str, message: str, plural: str | None, forms: list[str], *, fuzzy: bool) -> Iterator[Pair]:
    problem = Rejection(FUZZY, message[:80]) if fuzzy else None
    if plural is None or len(forms) > 1:
        yield Pair(name=name, source=message, target=forms[0] if forms else None, problem=problem)
    if plural is not None:
        yield Pair(name=f"{name} (plural)", source=plural, target=forms[-1] if forms else None, problem=problem)


def _charset(data: bytes) -> str:
    found = _CHARSET.search(data)
    name = found.group(1).decode("ascii") if found else "utf-8"
    # Templates say CHARSET.
    if name.upper() == "CHARSET":
        return "utf-8"
    try:
        known = codecs.lookup(name).name
    except LookupError:
        known = ""
    return known if _CHARSETS.fullmatch(known) else name


def _decoded(data: bytes, name: str) -> str:
    return _text(data, _charset(data), name)


def _text(data: bytes, charset: str, where: str) -> str:
    if not _CHARSETS.fullmatch(charset):
        raise UserError(f"{where}: the catalog states the unknown charset {charset[:40]!r}")
    try:
        return data.decode(charset)
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: byte {error.start + 1} is not valid {charset}, which the catalog states") from error
