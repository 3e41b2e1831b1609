"""Rules for keys, names and digests. A store is shared: a name must not lead out of its folder."""

from __future__ import annotations

import re

from components.core.errors import UserError

MAX_KEY_BYTES = 900  # S3 allows 1,024 for prefix and key together
MAX_SEGMENT_BYTES = 200  # most file systems allow 255; the rest is for the name of a temporary file

_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*")
_UNSAFE = re.compile(r"[\\\x00-\x1f\x7f-\x9f]")
_NO_CHARACTER = re.compile(r"[\ud800-\udfff]")  # half of one
_DIGEST = re.compile(r"[0-9a-f]{64}")


def check_key(key: str) -> str:
    """Returns `key` if it is safe: relative, no empty, hidden or `..` segment, no backslash, no control character.

    Spaces and letters of any language pass, for objects that were not written by trimtab.
    """
    segments = key.split("/")
    reason = None
    if not key:
        reason = "it is empty"
    elif key.startswith("/"):
        reason = "it is absolute"
    elif any(segment.startswith(".") for segment in segments):
        reason = "a part of it begins with a dot"
    elif not all(segments):
        reason = "a part of it is empty"
    elif _UNSAFE.search(key):
        reason = "it contains a backslash or a control character"
    elif _NO_CHARACTER.search(key):
        reason = "it is not valid Unicode"
    elif len(key.encode()) > MAX_KEY_BYTES:
        reason = f"it is longer than {MAX_KEY_BYTES} bytes"
    elif any(len(segment.encode()) > MAX_SEGMENT_BYTES for segment in segments):
        reason = f"a part of it is longer than {MAX_SEGMENT_BYTES} bytes"
    if reason:
        raise UserError(f"{_shown(key)} cannot name an object in a store: {reason}")
    return key


def check_name(name: str, *, what: str) -> str:
    """Returns `name` if it is one path segment of letters, digits and `. _ + -`, not beginning with `. + -`."""
    if not _SEGMENT.fullmatch(name) or len(name) > MAX_SEGMENT_BYTES:
        raise UserError(
            f"{what} {_shown(name)} is not a usable name: give at most {MAX_SEGMENT_BYTES} letters, digits and . "
            "_ + -, and begin with a letter, a digit or _"
        )
    return name


def check_path(path: str, *, what: str) -> str:
    """Returns `path` if it is a relative path each of whose segments passes `check_name`."""
    for segment in path.split("/"):
        if not _SEGMENT.fullmatch(segment):
            raise UserError(
                f"{what} {_shown(path)} is not a usable path: it must be relative, its parts of letters, digits and "
                ". _ + -, beginning with a letter, a digit or _"
            )
    return check_key(path)


def check_digest(digest: str) -> str:
    """Returns `digest` if it is 64 lower-case hexadecimal characters."""
    if not _DIGEST.fullmatch(digest):
        raise UserError(f"{_shown(digest)} is not a sha256 digest: 64 characters of 0-9 and a-f")
    return digest


def _shown(name: str) -> str:
    # ascii() keeps the line one line whatever the name contains.
    shown = ascii(name)
    return shown if len(shown) <= 120 else shown[:117] + "..."
