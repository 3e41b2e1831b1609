"""Class names of a model as its user writes them down: a text file, a JSON file, or a list with commas."""

import json
from collections import Counter
from pathlib import Path

from components.core.data.ingestion.labels import check_lengths, class_name
from components.core.errors import UserError
from components.core.models.remote import read_object

_MOST_BYTES = 2**22
_SUFFIXES = (".txt", ".json", ".names", ".csv")


def read_class_names(labels: str) -> list[str]:
    """The names in the order of the outputs; none for an empty text.

    Args:
        labels: the path or ``s3://`` URI of a text file with one name per line, or of a JSON file: a list of names,
            `{"name": 0}` or `{"0": "name"}`; or the names themselves with commas between them.

    Raises:
        UserError: no such file, no names in it, or a name that occurs twice or is too long.
    """
    if not labels.strip():
        return []
    if not labels.startswith("s3://") and "," in labels and not _path(labels).is_file():
        names = [part.strip() for part in labels.split(",")]
    else:
        text = _text(labels)
        names = _of_json(text, labels) if labels.endswith(".json") else [line.strip() for line in text.splitlines()]
    names = [class_name(name) for name in names if name]
    check_lengths(names, f"labels {labels}")
    if len(names) < 2:
        raise UserError(f"labels {labels} has {len(names)} class names; at least two are needed, one per line")
    if len(set(names)) < len(names):
        ((name, _),) = Counter(names).most_common(1)
        raise UserError(f"labels {labels} names the class {name!r} twice")
    return names


def _path(labels: str) -> Path:
    try:
        return Path(labels).expanduser()
    except RuntimeError:
        raise UserError(f"labels {labels} names an unknown home folder") from None


def _text(labels: str) -> str:
    try:
        if labels.startswith("s3://"):
            content = read_object(labels, most_bytes=_MOST_BYTES)
        else:
            with _path(labels).open("rb") as file:
                content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise UserError(
                f"labels {labels} is larger than {_MOST_BYTES // 2**20} MB, too large for a list of class names"
            )
        return content.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = "there is no such file" if isinstance(error, FileNotFoundError) else error
        raise UserError(f"labels {labels} cannot be read: {reason}") from None


def _of_json(text: str, labels: str) -> list[str]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"labels {labels} is not valid JSON: {error}") from None
    if isinstance(found, list) and all(isinstance(name, str) for name in found):
        return found
    if isinstance(found, dict):
        pairs = [(number, name) if str(number).isdigit() else (name, number) for number, name in found.items()]
        if sorted(str(number) for number, _ in pairs) == sorted(map(str, range(len(pairs)))):
            return [str(name) for _, name in sorted(pairs, key=lambda pair: int(pair[0]))]
    raise UserError(
        f"labels {labels} must hold a list of class names, or an object that gives each name its number from 0"
    )
