"""Files that stand for Kubernetes secrets and config maps: `--secret name=file-or-folder`.

No message of this module ever shows a value, nor a line of a file.
"""

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from components.core.errors import UserError

_KEY = re.compile(r"[A-Za-z0-9._-]{1,253}")
_MOST_BYTES = 2**20
"""As in Kubernetes, where a secret with all its keys has at most 1 MiB."""


def read_objects(given: Mapping[str, Path]) -> dict[str, dict[str, bytes]]:
    """Name → key → value of everything that was given.

    Raises:
        UserError: naming the option and the file, never what is in it.
    """
    return {name: _read(path, f"--secret {name}={path}") for name, path in given.items()}


def _read(path: Path, where: str) -> dict[str, bytes]:
    try:
        if path.is_dir():
            found = _folder(path)
        elif path.is_file():
            _check_size(path.stat().st_size, where)
            found = _file(path.read_text(encoding="utf-8"), path.suffix, where)
        else:
            raise UserError(f"{where}: there is no such file or folder")
    except UnicodeDecodeError:
        raise UserError(f"{where}: the file is not text; give bytes as a folder with one file per key") from None
    except OSError as error:
        raise UserError(f"{where} cannot be read: {error.strerror}") from None
    if not found:
        raise UserError(f"{where} holds no keys")
    for number, key in enumerate(found, 1):
        if not _KEY.fullmatch(key):
            # Not shown: of a malformed file the key may be the secret.
            raise UserError(f"{where}: key {number} is not a name of letters, digits, '-', '_' and '.'")
    _check_size(sum(map(len, found.values())), where)
    return found


def _check_size(size: int, where: str) -> None:
    if size > _MOST_BYTES:
        raise UserError(f"{where} holds {size} bytes; a secret or config map has at most {_MOST_BYTES}")


def _folder(path: Path) -> dict[str, bytes]:
    """One file per key. A mounted secret has links to `..data` beside its keys; those are left out."""
    files = [item for item in sorted(path.iterdir()) if item.is_file() and not item.name.startswith("..")]
    return {item.name: item.read_bytes() if item.stat().st_size <= _MOST_BYTES else b"" for item in files}


def _file(text: str, suffix: str, where: str) -> dict[str, bytes]:
    if suffix not in (".json", ".yaml", ".yml"):
        return _dotenv(text, where)
    try:
        value = json.loads(text) if suffix == ".json" else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError, RecursionError):
        raise UserError(f"{where}: the file is not {suffix.lstrip('.').upper()}") from None
    if not isinstance(value, dict):
        raise UserError(f"{where}: the file must hold a mapping of keys to texts")
    if value.get("kind") in ("Secret", "ConfigMap"):
        return _manifest(value, where)
    return {str(key): _text(item, number, where) for number, (key, item) in enumerate(value.items(), 1)}


def _manifest(value: Mapping[str, Any], where: str) -> dict[str, bytes]:
    """The values in the output of `kubectl get secret … -o yaml`.

    `data` of a secret is base64; `stringData` and a config map's `data` are plain.
    """
    found: dict[str, bytes] = {}
    for part in ("data", "binaryData", "stringData"):
        listed = value.get(part) or {}
        if not isinstance(listed, dict):
            raise UserError(f"{where}: {part!r} must be a mapping")
        encoded = part == "binaryData" or (part == "data" and value["kind"] == "Secret")
        for number, (key, item) in enumerate(listed.items(), 1):
            text = _text(item, number, where)
            try:
                found[str(key)] = base64.b64decode(text, validate=True) if encoded else text
            except binascii.Error:
                raise UserError(f"{where}: key {number} of {part!r} is not base64") from None
    return found


def _text(value: Any, number: int, where: str) -> bytes:
    if isinstance(value, bool):
        value = "true" if value else "false"
    if not isinstance(value, str | int | float):
        raise UserError(f"{where}: the value of key {number} must be text, found {type(value).__name__}")
    return str(value).encode()


def _dotenv(text: str, where: str) -> dict[str, bytes]:
    """`KEY=value` lines, perhaps with `export` before and quotes around the value; `#` starts a comment line."""
    found: dict[str, bytes] = {}
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip().removeprefix("export ")
        if not line or line.startswith("#"):
            continue
        key, equals, value = line.partition("=")
        if not equals:
            raise UserError(f"{where}: line {number} is not of the form KEY=value")
        value = value.strip()
        if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        found[key.strip()] = value.encode()
    return found


@cache
def value_digest(value: bytes) -> str:
    """Stands for a value in a cache key. Slow on purpose: a short password must not be found by trying."""
    return hashlib.pbkdf2_hmac("sha256", value, b"trimtab cache key", 100_000).hex()
