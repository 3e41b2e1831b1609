"""Files of an artifact that has too many for one manifest: blobs list them, and the manifest names these blobs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from components.core.artifacts.entries import FileEntry, Listing, files_and_folders, parse_entries
from components.core.errors import UserError
from components.core.store.concurrency import run_all
from components.core.store.contents.listings import read_listing
from components.core.store.errors import Damaged
from components.core.store.keys import canonical_json

if TYPE_CHECKING:
    from components.core.store import Store

LISTED_FILES = 1000
"""Files per listing; an artifact with no more shards than these needs no listing."""


class Listed(Protocol):
    """The part of a manifest that names files."""

    @property
    def kind(self) -> str: ...
    @property
    def files(self) -> tuple[FileEntry, ...]: ...
    @property
    def listings(self) -> tuple[Listing, ...]: ...


def write_listings(entries: Sequence[FileEntry], store: "Store") -> list[Listing]:
    """Put the entries into the store as listings of `LISTED_FILES` each, in the order given."""
    groups = [entries[start : start + LISTED_FILES] for start in range(0, len(entries), LISTED_FILES)]
    contents = [canonical_json({"files": [vars(entry) for entry in group]}) for group in groups]
    return [
        Listing(
            bytes=len(content),
            sha256=digest,
            num_files=len(group),
            total_bytes=sum(entry.bytes for entry in group),
        )
        for group, content, digest in zip(groups, contents, store.blobs.put_many(contents), strict=True)
    ]


def listed_files(manifest: Listed, store: "Store") -> tuple[FileEntry, ...]:
    """All files of an artifact, those in its listings too.

    Raises:
        UserError: a listing is malformed, or is not what the manifest says of it.
        StoreError: a listing is missing or damaged, or the store does not answer.
    """

    def read(listing: Listing) -> list[FileEntry]:
        try:
            entries = parse_entries(FileEntry, read_listing(store.blobs, listing.sha256, num_bytes=listing.bytes))
        except (ValueError, TypeError, Damaged) as error:
            raise UserError(f"listing {listing.sha256} of the {manifest.kind} artifact: {error}") from error
        if (len(entries), sum(entry.bytes for entry in entries)) != (listing.num_files, listing.total_bytes):
            raise UserError(
                f"listing {listing.sha256} of the {manifest.kind} artifact does not hold the {listing.num_files} files "
                f"of {listing.total_bytes} bytes that the manifest says"
            )
        return entries

    files = [*manifest.files, *(entry for entries in run_all(read, manifest.listings) for entry in entries)]
    paths = {entry.path for entry in files}
    if len(paths) != len(files):
        raise UserError(f"the listings of the {manifest.kind} artifact name a file twice")
    if both := files_and_folders(paths):
        raise UserError(f"the listings of the {manifest.kind} artifact name {both[0]!r} as a file and as a folder")
    return tuple(files)
