"""A ref that points at the data set that was prepared last, so that the next preparation writes only what is new."""

from contextlib import suppress
from typing import TYPE_CHECKING

from components.core.artifacts.listings import listed_files
from components.core.artifacts.manifest import Manifest, parse_manifest
from components.core.store.errors import BlobDamaged, NotFound, RefConflict

if TYPE_CHECKING:
    from components.core.store import Store


def save_last_prepared(store: "Store", ref: str, manifest: Manifest) -> None:
    """Points the ref at the data set. If another run does so at the same moment, either will do."""
    with suppress(RefConflict):
        store.refs.move(ref, {"dataset": manifest.to_json()}, expected=store.refs.read(ref))


def load_last_prepared(store: "Store", ref: str) -> Manifest | None:
    """The data set that was prepared last; None if there is none, or its bytes are not all there any more.

    It only saves writing the same again, so whatever is wrong with it is no error.
    """
    found = store.refs.read(ref)
    if found is None:
        return None
    try:
        manifest = parse_manifest(found.value.get("dataset"))
        whole = all(store.blobs.size(entry.sha256) == entry.bytes for entry in listed_files(manifest, store))
    except (ValueError, NotFound, BlobDamaged):
        return None
    return manifest if whole and manifest.kind == "dataset" else None
