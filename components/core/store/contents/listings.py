"""Listings: blobs that name files of an artifact, so that the manifest of an artifact of very many files stays small.

A manifest holds `"listings": [{"sha256": ..., "bytes": ..., ...}, ...]`, and the blob of each is
`{"files": [{"path": ..., "bytes": ..., "sha256": ...}, ...]}`. A listing names files only, never other listings.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from components.core.json_documents import parse_json
from components.core.store.contents.blobs import Blobs
from components.core.store.errors import Damaged

MOST_BYTES = 8 << 20
"""A larger blob is no listing, and is not read: a thousand files with the longest paths that a disk can have."""

_DIGEST = re.compile(r"[0-9a-f]{64}")


def listings_in(document: Any) -> Iterator[str]:
    """Digest of each listing that the manifests in a JSON document name, wherever they stand in it."""
    if isinstance(document, list):
        for value in document:
            yield from listings_in(value)
    elif isinstance(document, dict):
        named = document.get("listings")
        for one in named if isinstance(named, list) else ():
            if isinstance(one, dict) and isinstance(one.get("sha256"), str) and _DIGEST.fullmatch(one["sha256"]):
                yield one["sha256"]
        for value in document.values():
            yield from listings_in(value)


def read_listing(blobs: Blobs, digest: str, *, num_bytes: int | None = None) -> list[Any]:
    """The entries of a listing, unchecked.

    Args:
        blobs: the store's.
        digest: sha256 of the listing.
        num_bytes: its size, if it is known.

    Raises:
        Damaged: its size is another one, or more than `MOST_BYTES`; or it is damaged, or no listing.
        BlobMissing: it is not there.
    """
    actual = blobs.size(digest)
    if actual > MOST_BYTES or num_bytes not in (None, actual):
        allowed = f"at most {MOST_BYTES}" if num_bytes is None or actual > MOST_BYTES else str(num_bytes)
        raise Damaged(f"listing {digest} has {actual} bytes instead of {allowed}")
    try:
        document = parse_json(blobs.get(digest))
    except ValueError as error:
        raise Damaged(f"listing {digest} is not JSON: {error}") from error
    files = document.get("files") if isinstance(document, dict) else None
    if not isinstance(files, list):
        raise Damaged(f"listing {digest} holds no list of files")
    return files
