"""Reads a user's own files (a catalog, a mirror of weights) from object storage."""

from collections.abc import Iterator
from pathlib import Path

from components.core.errors import UserError
from components.core.store.errors import NotFound
from components.core.store.files import replacing, write_new


def read_object(uri: str, *, most_bytes: int) -> bytes:
    """The bytes of the small object at `s3://BUCKET/KEY`, or a little more than `most_bytes` of them.

    Raises:
        UserError: it is not there or cannot be reached.
    """
    found = bytearray()
    for chunk in _stream(uri):
        found += chunk
        if len(found) > most_bytes:
            break
    return bytes(found)


def fetch_object(uri: str, path: Path) -> None:
    """Atomic: `path` holds the object at `s3://BUCKET/KEY`, whole, or is not made. UserError as for `read_object`."""
    with replacing(path) as partial:
        write_new(partial, _stream(uri), is_synced=True)


def _stream(uri: str) -> Iterator[bytes]:
    from components.core.store import open_objects

    folder, _, name = uri.removeprefix("s3://").rpartition("/")
    if not folder or not name:
        raise UserError(f"an object's address is s3://BUCKET/KEY, got {uri!r}")
    try:
        yield from open_objects(f"s3://{folder}").stream(name)
    except NotFound:
        raise UserError(f"there is no object {uri}") from None
