"""Secrets, kept out of everything that the runner writes down: `***` in their place.

A secret is looked for as it is, without the space around it (every `echo token > file` ends in a newline), line by
line, and in the encodings in which programs print it: base64, also behind other text (`user:password` of HTTP's basic
authentication) and wrapped, hex, percent-encoded, HTML, quoted as in JSON, Python or a shell. What a program does to it
beyond that (a part of it, a hash, base64 of base64) is not found.
"""

import base64
import html
import json
import os
import re
import shlex
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

HIDDEN = "***"
SHORTEST = 4
"""Characters. What is shorter is no secret, and hiding each "1" would make a message unreadable."""

_CHUNK_BYTES = 2**20


class Redaction:
    """Takes secrets out. `values` are their bytes; falsy if there is nothing to hide."""

    def __init__(self, values: Iterable[bytes] = ()) -> None:
        forms = {form for value in values for form in _forms(value)}
        # The longest first: a line of a key must not spoil the search for the whole.
        self._forms = sorted((form for form in forms if len(form) >= SHORTEST), key=len, reverse=True)
        self._as_text = [form.decode(errors="replace") for form in self._forms]

    def __bool__(self) -> bool:
        return bool(self._forms)

    def text(self, text: str) -> str:
        """The text without the secrets."""
        for form in self._as_text:
            text = text.replace(form, HIDDEN)
        return text

    def value(self, value: Any) -> Any:
        """A JSON value without the secrets in its texts and keys."""
        if not self:
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.text(str(key)): self.value(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(item) for item in value]
        if isinstance(value, int | float) and not isinstance(value, bool) and self.text(str(value)) != str(value):
            return HIDDEN  # a PIN that came back as a number
        return value

    def file(self, path: Path) -> None:
        """Atomic: replaces a file by one without the secrets, if it holds one."""
        if not self or not path.is_file():
            return
        longest = len(self._forms[0])
        found, carried = False, b""
        descriptor, name = tempfile.mkstemp(prefix=".redacted-", dir=path.parent)
        try:
            with path.open("rb") as source, os.fdopen(descriptor, "wb") as out:
                while chunk := source.read(_CHUNK_BYTES):
                    held = carried + chunk
                    clean = self._bytes(held)
                    found = found or clean != held
                    # A secret may lie across two chunks.
                    keep = min(len(clean), longest - 1)
                    out.write(clean[: len(clean) - keep])
                    carried = clean[len(clean) - keep :]
                out.write(carried)
            if found:
                Path(name).replace(path)
        finally:
            Path(name).unlink(missing_ok=True)

    def _bytes(self, data: bytes) -> bytes:
        for form in self._forms:
            data = data.replace(form, HIDDEN.encode())
        return data


_LEAST_ENCODED = 8
"""Characters of a part of a base64 text; less could be anything."""


def _forms(value: bytes) -> set[bytes]:
    plain = {value, value.strip(), *(line.strip() for line in value.splitlines())}
    found = set(plain)
    for item in (value, value.strip()):
        if len(item) >= SHORTEST:
            found |= {form for form in _parts_of_base64(item) if len(form) >= _LEAST_ENCODED}
    for item in plain:
        if len(item) < SHORTEST:
            continue
        text = item.decode(errors="replace")
        found |= {
            base64.b64encode(item).rstrip(b"="), base64.urlsafe_b64encode(item).rstrip(b"="),
            item.hex().encode(), item.hex().upper().encode(),
            *(form.encode() for form in (
                quote(item, safe=""), quote(item), quote_plus(item), _small(quote(item, safe="")), _small(quote(item)),
                html.escape(text), repr(text)[1:-1], repr(item)[2:-1], shlex.quote(text).strip("'"),
                json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1],
            )),
        }  # fmt: skip
    return found


def _small(quoted: str) -> str:
    return re.sub("%[0-9A-F]{2}", lambda found: found[0].lower(), quoted)


def _parts_of_base64(item: bytes) -> Iterable[bytes]:
    """Base64 characters that the item alone determines: behind 0, 1 or 2 bytes of other text, or in wrapped lines."""
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for before, hidden in ((0, 0), (1, 2), (2, 3)):
            yield encode(b"\0" * before + item)[hidden : (before + len(item)) * 8 // 6]
    text = base64.b64encode(item)
    for width in (64, 76):
        if len(text) > width:
            yield from (text[at : at + width] for at in range(0, len(text), width))
